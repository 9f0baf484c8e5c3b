import { createHash } from "node:crypto";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

/** What the server replaces by the JSON of a `TraceAnswer`: a JSON string, quotes included. */
const MARKER = '"__TRACER_EXPORT__"';

/** Puts script and style into the page, and allows exactly them: the file loads nothing, from anywhere. */
function oneFile(): Plugin {
  return {
    name: "one-file",
    enforce: "post",
    generateBundle(_options, bundle) {
      let script = "";
      let style = "";
      for (const [name, file] of Object.entries(bundle)) {
        if (file.type === "chunk") script += file.code;
        else if (name.endsWith(".css")) style += asText(file.source);
      }
      // HTML Standard, 13.2.5: within a script only these change where it ends.
      if (/<\/?script/i.test(script)) this.error("the script would end the element that holds it");
      if (script.includes(MARKER)) this.error(`the script holds the marker ${MARKER}`);
      const page = bundle["export.html"];
      if (page?.type !== "asset") return this.error("there is no export.html");
      const policy = `default-src 'none'; script-src '${hash(script)}'; style-src '${hash(style)}'; base-uri 'none'; form-action 'none'`;
      const html = asText(page.source)
        .replace(/\s*<script type="module"[^>]*src=[^>]*><\/script>/, "")
        .replace(/\s*<link rel="(?:stylesheet|modulepreload)"[^>]*>/g, "")
        .replace("<!--policy-->", () => `<meta http-equiv="Content-Security-Policy" content="${policy}">`)
        .replace("<!--style-->", () => `<style>${style}</style>`)
        .replace("<!--script-->", () => `<script type="module">${script}</script>`);
      if (html.split(MARKER).length !== 2) this.error(`the page must hold ${MARKER} once`);
      for (const name of Object.keys(bundle)) Reflect.deleteProperty(bundle, name);
      this.emitFile({ type: "asset", fileName: "index.html", source: html });
    },
  };
}

function asText(source: string | Uint8Array): string {
  return typeof source === "string" ? source : new TextDecoder().decode(source);
}

function hash(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}

/** One trace as one file that is opened from disk. */
export default defineConfig({
  base: "./",
  publicDir: false,
  plugins: [svelte(), oneFile()],
  build: {
    target: "es2022",
    outDir: "dist-export",
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    rollupOptions: { input: "export.html", output: { codeSplitting: false } },
  },
});
