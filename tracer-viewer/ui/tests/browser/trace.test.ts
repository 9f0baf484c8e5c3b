import { afterAll, beforeAll, expect, test } from "vitest";
import { duration } from "../../src/text/numbers";
import { treeOf } from "../../src/trace/tree";
import { criticalTime } from "../../src/trace/words";
import type { TraceAnswer } from "../../src/api/types";
import { stage, visit, type Stage } from "./harness";

let on: Stage;
let middle: TraceAnswer;
beforeAll(async () => {
  on = await stage();
  middle = on.mock.world.traces.get(on.mock.world.fixed.middle) as TraceAnswer;
});
afterAll(() => on.stop());

const hashOf = (trace: TraceAnswer, state = "") => `#/trace/${trace.summary.trace_id}${state}`;
const rowCount = (page: import("playwright-core").Page) =>
  page.getByRole("treegrid").getAttribute("aria-rowcount").then(Number);

test("a trace opens from the list with all of its rows", async () => {
  const { page, context, problems } = await visit(on, "#/traces");
  await page.locator(`a[href*="${middle.summary.trace_id}"]`).click();
  await page.getByRole("treegrid").waitFor();
  expect(await rowCount(page)).toBe(301);
  await page.getByText("1 span names a parent that is not in this trace").waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test("keys move, close and open rows, and errors show on closed parents", async () => {
  const { page, context } = await visit(on, hashOf(middle));
  const tree = treeOf(middle.spans);
  await page.getByRole("treegrid").focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowLeft");
  const root = page.locator("#row-0");
  await expect.poll(() => root.getAttribute("aria-expanded")).toBe("false");
  expect(await rowCount(page)).toBe(1 + 300 - ((tree.end[0] ?? 1) - 1));
  const errors = tree.errorsBelow[0] ?? 0;
  expect(errors).toBeGreaterThan(0);
  await root.getByText(`${errors} errors below`).waitFor();
  await page.keyboard.press("ArrowRight");
  await expect.poll(() => rowCount(page)).toBe(301);
  await page.keyboard.press("ArrowRight");
  expect(await page.getByRole("treegrid").getAttribute("aria-activedescendant")).toBe("row-1");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  await expect.poll(() => page.getByRole("treegrid").getAttribute("aria-activedescendant")).toBe("row-0");
  await context.close();
});

test("levels are closed by keys and buttons and stand in the address", async () => {
  const { page, context } = await visit(on, hashOf(middle));
  await page.getByRole("treegrid").focus();
  await page.keyboard.press("2");
  const shown = middle.spans.filter((span) => span.depth < 2).length;
  await expect.poll(() => rowCount(page)).toBe(shown + 1);
  await page.getByRole("button", { name: "Open one level" }).click();
  await expect.poll(() => rowCount(page)).toBe(middle.spans.filter((span) => span.depth < 3).length + 1);
  await page.waitForFunction(() => location.hash.includes("level=3"));
  await page.reload();
  await expect.poll(() => rowCount(page)).toBe(middle.spans.filter((span) => span.depth < 3).length + 1);
  await context.close();
});

test("a search is walked by n and N, and opens what hides a match", async () => {
  const { page, context } = await visit(on, hashOf(middle, "?level=1"));
  await page.getByRole("treegrid").focus();
  await page.keyboard.press("/");
  await page.keyboard.type("SELECT");
  await page.keyboard.press("Enter");
  const matches = middle.spans.flatMap((span, at) => (span.name.includes("SELECT") ? [at] : []));
  await page.getByText(`1 of ${matches.length}`).waitFor();
  await page.keyboard.press("ArrowDown");
  const active = () => page.getByRole("treegrid").getAttribute("aria-activedescendant");
  await expect.poll(active).toBe(`row-${matches[0]}`);
  await page.keyboard.press("n");
  await expect.poll(active).toBe(`row-${matches[1]}`);
  await page.keyboard.press("N");
  await page.keyboard.press("N");
  await expect.poll(active).toBe(`row-${matches.at(-1)}`);
  await context.close();
});

test("the question mark opens the list of keys", async () => {
  const { page, context } = await visit(on, hashOf(middle));
  await page.getByRole("treegrid").focus();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  await context.close();
});

test("the details tell critical path, own time, network, evidence and place", async () => {
  const at = middle.spans.findIndex((span) => span.network && criticalTime(span) > 0 && span.evidence);
  const span = middle.spans[at];
  if (span === undefined) throw new Error("no such span");
  const { page, context } = await visit(on, hashOf(middle, `?span=${span.span_id}&details=1`));
  const details = page.getByRole("complementary", { name: "Details of the span" });
  await details.waitFor();
  const facts = (await details.locator("dl").first().innerText()).replaceAll("\n", " ");
  expect(facts).toContain(`Critical path ${duration(criticalTime(span))}`);
  expect(facts).toContain(`Own time ${duration(span.self_ns)}`);
  expect(facts).toContain(
    `${duration(span.network?.request_ns ?? 0)} there, ${duration(span.network?.response_ns ?? 0)} back`,
  );
  expect(facts).toContain("spans of this operation");
  await context.close();
});

test("the critical path is drawn where the trace says, and can be put away", async () => {
  const three = on.mock.world.traces.get(on.mock.world.fixed.three) as TraceAnswer;
  const { page, context } = await visit(on, hashOf(three));
  await page.getByRole("treegrid").waitFor();
  /** Colour of the line below a bar at a moment. */
  const pixel = (row: number, at_ns: number) =>
    page.evaluate(
      ([row, part]) => {
        const canvas = document.querySelector<HTMLCanvasElement>(".body canvas");
        const context = canvas?.getContext("2d");
        if (!canvas || !context) return "";
        const ratio = devicePixelRatio;
        const [r, g, b, a] = context.getImageData(
          Math.round(canvas.width * (part as number)),
          Math.round(((row as number) * 26 + 21) * ratio),
          1,
          1,
        ).data;
        return `${r},${g},${b},${a}`;
      },
      [row, at_ns / three.summary.duration_ns] as const,
    );
  const stretch = three.spans[1]?.critical[0];
  if (stretch === undefined) throw new Error("no critical path");
  const middleOf = (stretch.start_ns + stretch.end_ns) / 2;
  await expect.poll(() => pixel(1, middleOf)).toBe("27,34,43,255");
  await page.getByRole("button", { name: "Critical path" }).click();
  await expect.poll(() => pixel(1, middleOf)).not.toBe("27,34,43,255");
  await context.close();
});

test("a likely link is drawn dashed and labelled with its probability", async () => {
  const at = middle.spans.findIndex((span) => span.likely);
  const span = middle.spans[at];
  const { page, context } = await visit(on, hashOf(middle, `?span=${span?.span_id}`));
  const row = page.locator(`#row-${at}`);
  await row.locator(".elbow.likely").waitFor();
  await row
    .locator(".linked")
    .getByText(`${span?.evidence} ${((span?.likely ?? 0) * 100).toFixed(1)} %`)
    .waitFor();
  await context.close();
});

test("a drag on the small picture chooses a window, and the whole trace comes back", async () => {
  const { page, context } = await visit(on, hashOf(middle));
  const box = await page.locator(".minimap .box").boundingBox();
  if (box === null) throw new Error("no minimap");
  await page.mouse.move(box.x + box.width * 0.25, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 20, { steps: 5 });
  await page.mouse.up();
  await page.waitForFunction(() => location.hash.includes("window="));
  const [from, to] = (new URLSearchParams(new URL(page.url()).hash.split("?")[1]).get("window") ?? "")
    .split("-")
    .map(Number);
  expect((from ?? 0) / middle.summary.duration_ns).toBeCloseTo(0.25, 2);
  expect((to ?? 0) / middle.summary.duration_ns).toBeCloseTo(0.5, 2);
  await page.getByRole("button", { name: "Whole trace" }).click();
  await page.waitForFunction(() => !location.hash.includes("window="));
  await context.close();
});

test("the table adds own time, and leads back to the spans", async () => {
  const { page, context } = await visit(on, hashOf(middle, "?view=table&group=service"));
  const most = middle.summary.services[0];
  const row = page.getByRole("row").nth(1);
  await row.getByText(most?.service ?? "").waitFor();
  expect(await row.innerText()).toContain(duration(most?.self_ns ?? 0));
  await row.getByRole("button").click();
  await page.getByRole("treegrid").waitFor();
  await page.getByText(`of ${most?.spans}`).first().waitFor();
  await context.close();
});

test("an attribute leads to a search for it, and out of it", async () => {
  const span = middle.spans[0];
  const { page, context } = await visit(on, hashOf(middle, `?span=${span?.span_id}&details=1`));
  await page.getByRole("button", { name: "Filter out this value of server.port" }).click();
  await page.waitForFunction(() => location.hash === "#/traces?q=-server.port%3D8080");
  await page.goBack();
  await page.getByRole("button", { name: "Filter for this value of server.port" }).click();
  await page.waitForFunction(() => location.hash === "#/traces?q=server.port%3D8080");
  await context.close();
});

test("a flame graph is walked by keys", async () => {
  const { page, context, problems } = await visit(on, hashOf(middle, `?view=flame&span=${middle.spans[0]?.span_id}`));
  await page.getByRole("application", { name: /^Flame graph/ }).focus();
  await page.keyboard.press("ArrowDown");
  await page.waitForFunction((id) => location.hash.includes(`span=${id}`), middle.spans[1]?.span_id);
  expect(problems).toEqual([]);
  await context.close();
});

test("a trace that is open grows when a late span comes, and keeps what is chosen", async () => {
  const id = on.mock.world.fixed.before;
  const trace = on.mock.world.traces.get(id) as TraceAnswer;
  const { page, context, problems } = await visit(on, hashOf(trace, `?span=${trace.spans[2]?.span_id}`));
  await expect.poll(() => rowCount(page)).toBe(trace.spans.length + 1);
  await expect.poll(() => on.mock.readers.size).toBeGreaterThan(0);
  on.mock.grow(id);
  await expect.poll(() => rowCount(page), { timeout: 10_000 }).toBe(trace.spans.length + 2);
  expect(await page.getByRole("treegrid").getAttribute("aria-activedescendant")).toBe("row-2");
  expect(problems).toEqual([]);
  await context.close();
});

test("arrows work at once, and the column of names can be made wider by keys", async () => {
  const { page, context } = await visit(on, hashOf(middle));
  await page.getByRole("treegrid").waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await expect.poll(() => page.getByRole("treegrid").getAttribute("aria-activedescendant")).toBe("row-1");
  const border = page.getByRole("separator", { name: "Width of the names" });
  const before = Number(await border.getAttribute("aria-valuenow"));
  await border.focus();
  await page.keyboard.press("ArrowRight");
  await expect.poll(() => border.getAttribute("aria-valuenow")).toBe(String(before + 20));
  await page.waitForFunction((names) => location.hash.includes(`names=${names}`), before + 20);
  await context.close();
});
