import { afterAll, beforeAll, expect, test } from "vitest";
import { stage, visit, type Stage } from "./harness";

let on: Stage;
beforeAll(async () => {
  on = await stage();
});
afterAll(() => on.stop());

test("a query is searched, told as chips, and stands in the address", async () => {
  const { page, context, problems } = await visit(on, "#/traces");
  await page.getByRole("combobox", { name: /^Query/ }).fill("service:cart status:error");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Enter");
  await page.getByRole("list", { name: "Terms of the query" }).getByText("service:cart").waitFor();
  expect(new URL(page.url()).hash).toBe("#/traces?q=service%3Acart+status%3Aerror");
  const wanted = [...on.mock.world.traces.values()].filter(
    (trace) => trace.summary.errors > 0 && trace.services.some((service) => service.name === "cart"),
  );
  await page.getByText(`${wanted.length} traces`).first().waitFor();
  await page.getByRole("button", { name: "Take away status:error" }).click();
  await page.waitForFunction(() => location.hash === "#/traces?q=service%3Acart");
  await page.goBack();
  await page.getByRole("button", { name: "Take away status:error" }).waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test("a suggestion is chosen by keys", async () => {
  const { page, context } = await visit(on, "#/traces");
  const field = page.getByRole("combobox", { name: /^Query/ });
  await field.pressSequentially("serv");
  await page
    .getByRole("option", { name: /service:/ })
    .first()
    .waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.getByRole("option", { name: /service:gateway/ }).waitFor();
  expect(await field.inputValue()).toBe("service:");
  await context.close();
});

test("an error in the query is told with its place", async () => {
  const { page, context } = await visit(on, "#/traces?q=a%20((b");
  await page.getByRole("alert").getByText("opening parenthesis").waitFor();
  expect(await page.getByRole("alert").locator("mark").textContent()).toBe("((b");
  await context.close();
});

test("a box of the heatmap is searched", async () => {
  const { page, context } = await visit(on, "#/traces");
  const plot = page.getByRole("application", { name: /^Spans by start and duration/ });
  const box = await plot.boundingBox();
  if (box === null) throw new Error("no heatmap");
  await page.mouse.move(box.x + box.width * 0.2, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 100, { steps: 4 });
  await page.mouse.up();
  await page.waitForFunction(() => location.hash.includes("from="));
  const state = new URLSearchParams(new URL(page.url()).hash.split("?")[1]);
  expect(Number(state.get("to"))).toBeGreaterThan(Number(state.get("from")));
  expect(state.get("q")).toMatch(/^duration>=[\d.]+(us|ms|s) duration<[\d.]+(us|ms|s)$/);
  await context.close();
});

test("the heatmap says what a cell is, and tells each by keys", async () => {
  const { page, context, problems } = await visit(on, "#/traces");
  await page.getByRole("heading", { name: "Spans by start and duration" }).waitFor();
  const map = page.getByRole("region", { name: "Durations over time" });
  await map.getByText("Spans in a cell").waitFor();
  await map.getByText("with an error").waitFor();
  await map.getByText("Start, a column is").waitFor();
  const plot = map.getByRole("application");
  await plot.focus();
  await page.keyboard.press("n");
  const told = async () => (await map.getByRole("status").innerText()).trim();
  expect(await told()).toMatch(/^\d\d:\d\d:\d\d – \d\d:\d\d:\d\d, .+ – .+: [\d,]+ spans?/);
  const first = await told();
  await page.keyboard.press("Shift+N");
  await expect.poll(told).not.toBe(first);
  await page.keyboard.press("n");
  await expect.poll(told).toBe(first);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash.includes("from="));
  expect(problems).toEqual([]);
  await context.close();
});

test("new traces come while the list is live", async () => {
  const { page, context } = await visit(on, "#/traces?live=1");
  await page.getByText("live", { exact: false }).first().waitFor();
  await expect.poll(() => on.mock.readers.size).toBeGreaterThan(0);
  const summary = on.mock.send();
  await page.locator(`a[href*="${summary.trace_id}"]`).waitFor();
  await context.close();
});

test("two traces are chosen and compared", async () => {
  const { page, context, problems } = await visit(on, "#/traces");
  const boxes = page.getByRole("checkbox");
  await boxes.nth(0).check();
  await boxes.nth(1).check();
  await page.getByRole("link", { name: "Compare the two" }).click();
  await page.getByRole("heading", { name: "Two traces" }).waitFor();
  const { before, after } = on.mock.world.fixed;
  await page.goto(`${on.mock.address}#/compare?a=${before}&b=${after}`);
  const [a, b] = [on.mock.world.traces.get(before), on.mock.world.traces.get(after)];
  const longer = ((b?.summary.duration_ns ?? 0) - (a?.summary.duration_ns ?? 0)) / 1e6;
  await page.getByText(`${longer.toFixed(1)} ms longer`).waitFor();
  expect(await page.getByRole("row").count()).toBeGreaterThan(10);
  expect(problems).toEqual([]);
  await context.close();
});

test("a node of the map leads to its traces, by pointer and by keys", async () => {
  const { page, context, problems } = await visit(on, "#/map");
  await page.locator('[data-node="service:cart"]').click();
  await page.waitForFunction(() => location.hash.includes("node=service%3Acart"));
  await page.getByRole("complementary").getByRole("link", { name: "Traces" }).click();
  await page.getByRole("list", { name: "Terms of the query" }).getByText("service:cart").waitFor();
  await page.goto(`${on.mock.address}#/map?node=service%3Agateway`);
  await page.locator('[data-node="service:gateway"]').focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => !location.hash.includes("gateway"));
  expect(problems).toEqual([]);
  await context.close();
});

test("a map of a hundred services is large enough to be read, and a search goes to a node", async () => {
  const large = await stage({ services: 100, traces: 20 });
  const { page, context, problems } = await visit(large, "#/map");
  const name = page.locator('[data-node="service:gateway"] .name');
  await name.waitFor();
  expect((await name.boundingBox())?.height).toBeGreaterThan(7);
  await page.keyboard.press("/");
  await page.keyboard.type("fraud-3");
  await page.keyboard.press("Enter");
  await page.getByRole("complementary").getByRole("heading", { name: "fraud-3" }).waitFor();
  const box = await page.locator('[data-node="service:fraud-3"]').boundingBox();
  expect(box?.x).toBeGreaterThan(0);
  expect((box?.y ?? 0) + (box?.height ?? 0)).toBeLessThan(800);
  expect(problems).toEqual([]);
  await context.close();
  await large.stop();
});

test("the map says what changed against the window before", async () => {
  const { page, context } = await visit(on, "#/map?compare=1");
  await page.getByRole("heading", { name: "Against the window before" }).waitFor();
  for (const change of ["new", "lost", "slower", "more errors"]) {
    expect(await page.getByRole("complementary").getByText(change, { exact: true }).count()).toBeGreaterThan(0);
  }
  await context.close();
});

test("a cell of a service leads to the traces behind it", async () => {
  const { page, context, problems } = await visit(on, "#/services");
  await page.getByRole("link", { name: "cart" }).click();
  await page.getByRole("figure", { name: /^Duration\. p50: now/ }).waitFor();
  const plot = page.getByRole("application");
  await plot.focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Shift+ArrowLeft");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash.startsWith("#/traces?q=service%3Acart"));
  expect(problems).toEqual([]);
  await context.close();
});

test("the agent tells losses with their meaning and remedy", async () => {
  const { page, context, problems } = await visit(on, "#/agent");
  await page.getByText("Events were lost because the ring of the kernel was full.").waitFor();
  await page.getByText("Enlarge it: --ring-size 64MiB.").waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test("without a trace each page says what to do next", async () => {
  const empty = await stage({ traces: 0 });
  for (const hash of ["#/traces", "#/map", "#/services"]) {
    const { page, context, problems } = await visit(empty, hash);
    await page.getByRole("heading", { name: "Waiting for the first request" }).waitFor();
    await page.getByText("Send OTLP to http://127.0.0.1:4318").waitFor();
    expect(problems).toEqual([]);
    await context.close();
  }
  const { page, context } = await visit(empty, "#/agent");
  await page.getByText("sudo tracer run --view").waitFor();
  await context.close();
  await empty.stop();
});

test("the pages work below a path prefix", async () => {
  const prefixed = await stage({ prefix: "/tools/tracer", traces: 20 });
  const { page, context, problems } = await visit(prefixed, "#/traces");
  await page.getByRole("list", { name: "Traces" }).getByRole("link").first().click();
  await page.getByRole("treegrid").waitFor();
  expect(page.url()).toContain("/tools/tracer/#/trace/");
  expect(problems).toEqual([]);
  await context.close();
  await prefixed.stop();
});
