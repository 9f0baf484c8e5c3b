import svelte from "eslint-plugin-svelte";
import typescript from "typescript-eslint";

export default typescript.config(
  { ignores: ["dist", "dist-export", "node_modules", "src/api/schema.ts"] },
  ...typescript.configs.strict,
  ...svelte.configs.recommended,
  {
    files: ["**/*.svelte", "**/*.svelte.ts"],
    languageOptions: { parserOptions: { parser: typescript.parser } },
  },
  {
    rules: {
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "All text comes from traffic: it is data, never markup." },
        { property: "outerHTML", message: "All text comes from traffic: it is data, never markup." },
        { property: "insertAdjacentHTML", message: "All text comes from traffic: it is data, never markup." },
      ],
      // `{@html}` would make markup of traffic.
      "svelte/no-at-html-tags": "error",
      // The content security policy refuses `style="…"` in markup; `style:name={…}` is set by script and is fine.
      "no-restricted-syntax": [
        "error",
        {
          selector: "SvelteAttribute[key.name='style']",
          message: "Write `style:name={…}`: the policy refuses style attributes.",
        },
      ],
      // Maps and sets here are made anew and never changed once they are seen.
      "svelte/prefer-svelte-reactivity": "off",
      // There is no SvelteKit here: an address is text.
      "svelte/no-navigation-without-resolve": "off",
    },
  },
);
