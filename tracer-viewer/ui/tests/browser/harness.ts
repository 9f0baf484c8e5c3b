import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import { start, type Mock } from "../../dev/server.mjs";

/** A browser and a viewer with generated traces. */
export interface Stage {
  browser: Browser;
  mock: Mock;
  stop: () => Promise<void>;
}

export async function stage(options: Parameters<typeof start>[0] = {}): Promise<Stage> {
  const mock = await start(options);
  const browser = await chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--no-sandbox"],
  });
  return {
    browser,
    mock,
    stop: async () => {
      await browser.close();
      await mock.stop();
    },
  };
}

/** A page of the viewer, and what went wrong on it. */
export interface Visit {
  page: Page;
  context: BrowserContext;
  problems: string[];
  /** Waits until the answers that the page has asked for are drawn. */
  settled: () => Promise<void>;
}

export async function visit(
  on: Stage,
  hash: string,
  options: Parameters<Browser["newContext"]>[0] = {},
): Promise<Visit> {
  const context = await on.browser.newContext({
    viewport: { width: 1280, height: 800 },
    reducedMotion: "reduce",
    ...options,
  });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("request", (request) => {
    if (!request.url().startsWith(on.mock.address)) problems.push(`request to ${request.url()}`);
  });
  const isAwaited = (url: string) => url.includes("/api/tracer/") && !url.includes("/live");
  const asked = new Set<object>();
  let answers = 0;
  page.on("request", (request) => isAwaited(request.url()) && asked.add(request));
  const answered = (request: object) => {
    if (asked.delete(request)) answers++;
  };
  page.on("requestfinished", answered);
  page.on("requestfailed", answered);
  const drawn = () =>
    page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const settled = async () => {
    // A drawn answer may ask for another one.
    for (let quiet = 0; quiet < 3; quiet = answers > 0 && asked.size === 0 ? quiet + 1 : 0) await drawn();
  };
  await page.goto(on.mock.address + hash);
  return { page, context, problems, settled };
}

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds wrong: rule, and the elements. Run by the debugger, which the content security policy does not bind. */
export async function axe(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const run = (
      globalThis as unknown as {
        axe: {
          run: () => Promise<{ violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] }>;
        };
      }
    ).axe;
    const { violations } = await run.run();
    return violations.flatMap((violation) =>
      violation.nodes
        .slice(0, 3)
        .map((node) => `${violation.id}: ${node.html.slice(0, 160)} ${node.failureSummary ?? ""}`),
    );
  });
}
