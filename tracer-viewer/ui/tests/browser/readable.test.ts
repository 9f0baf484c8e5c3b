import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { MapAnswer, SearchAnswer, ServicesAnswer, TraceAnswer } from "../../src/api/types";
import { stage, visit, type Stage, type Visit } from "./harness";

let on: Stage;
beforeAll(async () => {
  on = await stage();
});
afterAll(() => on.stop());

/** A visit whose answers to requests of a path are changed before they come. */
async function changed<Answer>(hash: string, path: string, change: (answer: Answer) => void): Promise<Visit> {
  const visited = await visit(on, "#/agent");
  await visited.page.route(`**/api/tracer/${path}*`, async (asked) => {
    const response = await asked.fetch();
    const answer = (await response.json()) as Answer;
    change(answer);
    await asked.fulfill({ response, json: answer });
  });
  await visited.page.goto(on.mock.address + hash);
  return visited;
}

/** Heights of the letters of texts as they are seen, pixels. */
const letters = (page: Page, selector: string) =>
  page.evaluate((selector) => {
    const scaleOf = (text: SVGTextElement) => text.getScreenCTM()?.a ?? 1;
    return [...document.querySelectorAll<SVGTextElement>(selector)]
      .filter((text) => getComputedStyle(text).display !== "none")
      .map((text) => parseFloat(getComputedStyle(text).fontSize) * scaleOf(text));
  }, selector);

test("each text of a map with few nodes can be read at once", async () => {
  const { page, context, problems } = await changed<MapAnswer>("#/map", "map", (answer) => {
    const ids = ["gateway", "cart", "search", "payment"].map((name) => `service:${name}`);
    answer.nodes = answer.nodes.filter((node) => ids.includes(node.id));
    const [first] = answer.edges;
    if (first === undefined) throw new Error("no edge");
    answer.edges = ids.slice(1).map((to, at) => ({ ...first, from: ids[at] ?? "", to }));
  });
  await expect.poll(() => page.locator("[data-node]").count()).toBe(4);
  const heights = await letters(page, ".graph text");
  expect(heights.length).toBe(4 * 2 + 3);
  expect(Math.min(...heights)).toBeGreaterThanOrEqual(10.9);
  expect(problems).toEqual([]);
  await context.close();
});

test("a map with many nodes has names that can be read, and no numbers that cannot", async () => {
  const large = await stage({ services: 60, traces: 20 });
  const { page, context } = await visit(large, "#/map");
  await page.locator("[data-node]").first().waitFor();
  expect(Math.min(...(await letters(page, ".graph .name, .graph .numbers")))).toBeGreaterThanOrEqual(9);
  await context.close();
  await large.stop();
});

test("badges of a row are whole or not there, and names give way to them", async () => {
  for (const width of [1000, 1280, 1600]) {
    const { page, context, settled } = await changed<TraceAnswer>(
      `#/trace/${on.mock.world.fixed.middle}`,
      "traces/",
      (answer) => {
        for (const service of answer.services) service.name = `${service.name}-with-a-name-that-is-far-too-long`;
        for (const span of answer.spans) {
          span.percentile = 0.9995;
          span.compared_spans = 1000;
          span.network = { request_ns: 1_230_000, response_ns: 111_000 };
          span.target = `${span.target}/and/a/path/that/is/far/too/long/for/any/row/of/this/table`;
        }
      },
    );
    await page.setViewportSize({ width, height: 800 });
    await page.getByRole("treegrid").waitFor();
    await settled();
    const found = await page.evaluate(() => {
      const badges = [...document.querySelectorAll(".row .tag")];
      const part = badges.filter((badge) => {
        const [box, frame] = [badge.getBoundingClientRect(), badge.closest(".tags")?.getBoundingClientRect()];
        const row = badge.closest(".name")?.getBoundingClientRect();
        if (frame === undefined || row === undefined) return true;
        const isSeen = box.top < frame.bottom && box.bottom > frame.top;
        return isSeen && (box.right > frame.right + 0.5 || box.right > row.right || box.bottom > frame.bottom + 0.5);
      });
      const shallow = [...document.querySelectorAll(".row")].slice(0, 4);
      const missing = shallow.flatMap((row) => {
        const frame = row.querySelector(".tags")?.getBoundingClientRect();
        return [...row.querySelectorAll(".tag")].filter(
          (tag) => tag.getBoundingClientRect().top >= (frame?.bottom ?? 0),
        );
      });
      return {
        badges: badges.length,
        part: part.map((tag) => tag.textContent),
        missing: missing.map((tag) => tag.parentElement?.textContent),
      };
    });
    expect(found.badges).toBeGreaterThan(10);
    expect([width, found.part]).toEqual([width, []]);
    // A narrower row has no room for all of them.
    if (width >= 1280) expect([width, found.missing]).toEqual([width, []]);
    await context.close();
  }
});

test("axes of the heatmap have round durations and moments that differ", async () => {
  const now = Date.now() * 1000;
  for (const length_us of [2e6, 60e6, 3600e6]) {
    const { page, context } = await visit(on, `#/traces?from=${now - length_us}&to=${now}&q=`);
    await page.goto(`${on.mock.address}#/services/cart?from=${now - length_us}&to=${now}`);
    await page.getByRole("application").waitFor();
    const durations = await page.locator(".heatmap .rows span").allInnerTexts();
    expect(durations.length).toBeGreaterThan(1);
    for (const label of durations) expect(label).toMatch(/^[1-9]0{0,2} (ns|µs|ms|s|m|h)$/);
    const times = await page.locator(".heatmap .times span").allInnerTexts();
    expect(times.length).toBeGreaterThan(2);
    expect(new Set(times).size).toBe(times.length);
    await context.close();
  }
});

test("the list of traces has heads, and the day of each trace that is not of today", async () => {
  const { page, context, problems } = await changed<SearchAnswer>("#/traces", "search", (answer) => {
    const [first, second] = answer.traces;
    if (first !== undefined) first.start_unix_us = 86_400e6 * 1.5;
    if (second !== undefined) second.start_unix_us = Date.UTC(2554, 6, 21, 12) * 1000;
  });
  const heads = page.locator(".heads span");
  await heads.first().waitFor();
  expect(await heads.allInnerTexts()).toEqual([
    "Started",
    "First service and request",
    "Status",
    "Errors",
    "Spans",
    "Own time by service",
    "Duration",
  ]);
  const rows = page.getByRole("list", { name: "Traces" }).getByRole("link");
  expect(await rows.nth(0).locator("time").innerText()).toMatch(/^Jan 2, 1970, \d\d:\d\d$/);
  expect(await rows.nth(1).locator("time").innerText()).toMatch(/^Jul 2\d, 2554, \d\d:\d\d$/);
  expect(await rows.nth(2).locator("time").innerText()).toMatch(/\d\d:\d\d:\d\d/);
  const [head, cell] = [await heads.nth(6).boundingBox(), await rows.nth(2).locator(".duration").boundingBox()];
  expect((head?.x ?? 0) + (head?.width ?? 0)).toBeCloseTo((cell?.x ?? 0) + (cell?.width ?? 0), 0);
  await page.setViewportSize({ width: 360, height: 740 });
  expect(await heads.first().isVisible()).toBe(false);
  expect(problems).toEqual([]);
  await context.close();
});

test("two traces with nothing in common are said to be such, with a factor and no wild percentage", async () => {
  const { before, three } = on.mock.world.fixed;
  const { page, context } = await changed<TraceAnswer>(`#/compare?a=${three}&b=${before}`, "traces/", (answer) => {
    if (answer.summary.trace_id !== three) {
      answer.summary.duration_ns = 230e9;
      for (const span of answer.spans) span.name = `other ${span.name}`;
      for (const service of answer.services) service.name = `other-${service.name}`;
    } else answer.summary.duration_ns = 1e9;
  });
  await page.getByText("These traces have nothing in common").waitFor();
  await page.getByText("(×230)").waitFor();
  await context.close();
});

test("rates say how much of the window has no request", async () => {
  const { page, context } = await changed<ServicesAnswer>("#/services", "services", (answer) => {
    for (const row of answer.services)
      row.sparkline = row.sparkline.map((value, at) => (at > 5 && at < 25 ? 0 : value));
  });
  await page.getByText(/rates include about 3\d m \d\d s without a request/).waitFor();
  await page.goto(`${on.mock.address}#/map`);
  await page.getByText(/rates include about 3\d m \d\d s without a request/).waitFor();
  await context.close();
});

test("an error of the caller alone is explained in the details, on the map and with the services", async () => {
  const { page, context } = await changed<TraceAnswer>(
    `#/trace/${on.mock.world.fixed.three}?details=1`,
    "traces/",
    (answer) => {
      for (const span of answer.spans) Object.assign(span, { kind: "server", is_error: false, http_status: 404 });
    },
  );
  await page.locator("#row-0").click();
  const details = page.getByRole("complementary", { name: "Details of the span" });
  await details.getByText("the span of its caller has one").waitFor();
  const edge = on.mock.world
    .map({ start: null, end: null }, false)
    .edges.find((one) => one.from.startsWith("service:") && one.red.errors > 0);
  if (edge === undefined) throw new Error("no edge with an error");
  await page.goto(
    `${on.mock.address}#/map?from_node=${encodeURIComponent(edge.from)}&to_node=${encodeURIComponent(edge.to)}`,
  );
  await page.getByRole("complementary").getByText("Errors as the caller has them.").waitFor();
  await page.goto(`${on.mock.address}#/services`);
  await page.getByText("OpenTelemetry counts an answer 4xx as an error of the one who called").waitFor();
  await context.close();
});
