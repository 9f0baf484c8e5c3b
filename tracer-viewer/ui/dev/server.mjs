// The viewer's API and pages without the viewer: generated data, and the headers that the real server sends.
// `node dev/server.mjs [--port 8378] [--services 12] [--traces 200] [--prefix /tools/tracer]`

import { createReadStream, existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import * as analysis from "./analysis.mjs";
import { World } from "./world.mjs";

const UI = join(dirname(fileURLToPath(import.meta.url)), "..");
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
};

/** Starts it; the answer has its address, its world, and what was reported against the policy. */
export function start({ port = 0, services = 12, traces = 200, prefix = "", token = "" } = {}) {
  const world = new World({ services, traces });
  const readers = new Set();
  const reports = [];

  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://127.0.0.1");
    if (url.pathname === "/csp-report") {
      let body = "";
      request
        .on("data", (part) => (body += part))
        .on("end", () => {
          reports.push(body);
          response.writeHead(204).end();
        });
      return;
    }
    if (!url.pathname.startsWith(`${prefix}/`)) return response.writeHead(404).end();
    const path = url.pathname.slice(prefix.length + 1);
    if (token !== "" && path === "" && url.searchParams.get("token") === token)
      return response.writeHead(303, { location: `${prefix}/`, "set-cookie": `token=${token}; SameSite=Strict` }).end();
    if (token !== "" && path.startsWith("api/") && !(request.headers.cookie ?? "").includes(`token=${token}`))
      return response
        .writeHead(401, { "content-type": "application/json" })
        .end(JSON.stringify({ error: "a token is needed", at: null }));
    if (path.startsWith("api/tracer/")) return api(path.slice("api/tracer/".length), url.searchParams, response);
    page(path === "" ? "index.html" : path, response);
  });

  function page(path, response) {
    const asked = normalize(join(UI, "dist", path));
    const isThere = asked.startsWith(join(UI, "dist")) && existsSync(asked);
    // A path that the viewer does not have is answered by the page, which says so. Its files are named from where it is.
    const file = isThere ? asked : join(UI, "dist", "index.html");
    const up = "../".repeat(isThere ? 0 : path.split("/").length - 1);
    response.writeHead(isThere ? 200 : 404, {
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "content-security-policy": `${POLICY}; report-uri /csp-report`,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    });
    if (up === "") createReadStream(file).pipe(response);
    else response.end(readFileSync(file, "utf8").replaceAll('="./', `="${up}`));
  }

  function api(path, parameters, response) {
    const number = (name) => (parameters.has(name) ? Number(parameters.get(name)) : null);
    const bounds = {
      q: parameters.get("q") ?? "",
      start: number("start_us"),
      end: number("end_us"),
      columns: number("columns") ?? 100,
      rows: number("rows") ?? 30,
      limit: number("limit") ?? 50,
      order: parameters.get("order") ?? "newest",
    };
    const json = (value, status = 200) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    const [first, second, third] = path.split("/").map(decodeURIComponent);
    if (bounds.q.includes("(("))
      return json(
        { error: "The query has an opening parenthesis that nothing closes.", at: bounds.q.indexOf("((") },
        400,
      );
    switch (first) {
      case "search":
        return json(world.search(bounds));
      case "heatmap":
        return json(world.heatmap(bounds));
      case "status":
        return json(world.status());
      case "agent":
        return json(world.agent());
      case "analysis":
        if (second === "report") return json(analysis.report(world));
        if (second === "incidents") return json(analysis.incidents(world));
        if (second === "retries") return json(analysis.retries(world));
        if (second === "cascades") return json(analysis.cascades(world));
        if (second === "compare") return json(analysis.comparison(world));
        if (second === "deployments") return json(analysis.deployments(world));
        if (second === "operations") return json(analysis.operations(world));
        if (second === "slow") return json(analysis.slow(world, parameters));
        if (second === "dependencies") return json(analysis.dependencies(world));
        return json({ error: `There is no ${path}.`, at: null }, 404);
      case "map":
        return json(world.map(bounds, parameters.get("compare") === "true"));
      case "complete":
        return json(world.complete(bounds.q, number("at") ?? bounds.q.length));
      case "services": {
        if (second === undefined) return json(world.servicesAnswer(bounds));
        const answer = world.serviceAnswer(second, bounds);
        return answer ? json(answer) : json({ error: `The store has no service ${second}.`, at: null }, 404);
      }
      case "traces": {
        const trace = world.traces.get(second);
        if (!trace)
          return json(
            { error: "The store has no such trace. It may have been let go for want of space.", at: null },
            404,
          );
        if (third === "export" && parameters.get("format") === "html") {
          const html = readFileSync(join(UI, "dist-export", "index.html"), "utf8");
          const data = JSON.stringify(trace).replaceAll("<", "\\u003c");
          return response
            .writeHead(200, { "content-type": TYPES[".html"] })
            .end(html.replace('"__TRACER_EXPORT__"', () => data));
        }
        return json(trace);
      }
      case "live": {
        response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
        response.write(": hello\n\n");
        readers.add(response);
        return response.on("close", () => readers.delete(response));
      }
      default:
        return json({ error: `There is no ${path}.`, at: null }, 404);
    }
  }

  let seed = 50_000;
  /** A new trace, told to all who follow. */
  function send() {
    const summary = world.fresh(seed++);
    for (const reader of readers) reader.write(`event: trace\ndata: ${JSON.stringify(summary)}\n\n`);
    return summary;
  }

  /** One span more comes, below the root of a trace: told to all who follow. */
  function grow(id) {
    const trace = world.traces.get(id);
    const last = {
      ...trace.spans[0],
      span_id: `ffff${String(trace.spans.length).padStart(12, "0")}`,
      parent: 0,
      parent_span_id: trace.spans[0].span_id,
      depth: 1,
      name: "late",
      target: "late",
      critical: [],
      gaps: [],
      events: [],
      links: [],
    };
    const grown = {
      ...trace,
      spans: [...trace.spans, last],
      summary: { ...trace.summary, spans: trace.spans.length + 1 },
    };
    world.traces.set(id, grown);
    for (const reader of readers) reader.write(`event: trace\ndata: ${JSON.stringify(grown.summary)}\n\n`);
  }

  return new Promise((resolve) => {
    server.listen(port, "127.0.0.1", () => {
      resolve({
        address: `http://127.0.0.1:${server.address().port}${prefix}/`,
        world,
        reports,
        send,
        grow,
        readers,
        stop: () =>
          new Promise((done) => {
            for (const reader of readers) reader.end();
            server.close(done);
            server.closeAllConnections();
          }),
      });
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (name, otherwise) => {
    const at = process.argv.indexOf(`--${name}`);
    return at < 0 ? otherwise : process.argv[at + 1];
  };
  const mock = await start({
    port: Number(option("port", 8378)),
    services: Number(option("services", 12)),
    traces: Number(option("traces", 200)),
    prefix: option("prefix", ""),
  });
  console.log(mock.address);
  console.log(JSON.stringify(mock.world.fixed ?? {}, null, 2));
  if (option("live", "yes") === "yes") setInterval(mock.send, 700);
}
