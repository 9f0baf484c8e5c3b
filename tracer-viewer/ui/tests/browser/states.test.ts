import { afterAll, beforeAll, expect, test } from "vitest";
import type { TraceAnswer } from "../../src/api/types";
import { axe, stage, visit, type Stage } from "./harness";

let on: Stage;
beforeAll(async () => {
  on = await stage();
});
afterAll(() => on.stop());

test("an address that the viewer does not have says so and leads to the pages that there are", async () => {
  for (const path of ["nope", "a/b/c", "#/nonsense"]) {
    const { page, context } = await visit(on, path);
    await page.getByRole("heading", { name: "There is no such page" }).waitFor();
    await page.getByText(path.startsWith("#") ? path : `/${path}`, { exact: true }).waitFor();
    expect(await axe(page)).toEqual([]);
    await page.getByRole("main").getByRole("link", { name: "Services" }).click();
    await page.getByRole("heading", { name: "Services" }).waitFor();
    expect(page.url()).toBe(`${on.mock.address}#/services`);
    await context.close();
  }
});

test("a path that names a trace leads to it", async () => {
  const id = on.mock.world.fixed.three;
  const { page, context } = await visit(on, `trace/${id}?view=table`);
  await page.getByRole("region", { name: "Totals" }).waitFor();
  expect(page.url()).toBe(`${on.mock.address}#/trace/${id}?view=table`);
  await context.close();
});

test("without the token the page says what it needs, and takes it", async () => {
  const locked = await stage({ traces: 20, token: "s3cret & more" });
  const { page, context } = await visit(locked, "#/services");
  await page.getByRole("heading", { name: "This page needs a token" }).waitFor();
  await page.getByText(`${locked.mock.address}?token=…`).waitFor();
  expect(await axe(page)).toEqual([]);
  await page.getByLabel("Token").fill("s3cret & more");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Services" }).waitFor();
  expect(page.url()).toBe(`${locked.mock.address}#/services`);
  await context.close();
  await locked.stop();
});

test("a search that finds nothing says which term finds nothing alone, and takes it away", async () => {
  const { page, context, problems } = await visit(on, "#/traces?q=service:FRONT+status:error");
  const terms = page.getByRole("list", { name: "Terms of the query, each alone" });
  await terms.getByRole("listitem").filter({ hasText: "service:FRONT" }).getByText("met by no trace").waitFor();
  await terms.getByRole("listitem").filter({ hasText: "status:error" }).getByText("met by some traces").waitFor();
  await page.getByText("One term alone finds nothing.").waitFor();
  await terms.getByRole("button", { name: "Clear service:FRONT" }).click();
  await page.getByRole("list", { name: "Traces" }).waitFor();
  expect(new URL(page.url()).hash).toBe("#/traces?q=status%3Aerror");
  expect(problems).toEqual([]);
  await context.close();
});

test("a query that is wrong leaves no heatmap that seems to be its answer", async () => {
  const { page, context } = await visit(on, "#/traces");
  const map = page.getByRole("region", { name: "Durations over time" });
  await map.waitFor();
  await page.getByRole("combobox", { name: /^Query/ }).fill("a+((b");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").first().waitFor();
  await map.waitFor({ state: "detached" });
  await context.close();
});

test("a search that finds nothing in its window leads to all that is held", async () => {
  const { page, context } = await visit(on, "#/traces?q=service:gateway&from=1000&to=2000");
  await page.getByText("There are traces that meet it outside of the window of time.").waitFor();
  await page.getByText("met outside of the window only").waitFor();
  await page.getByRole("button", { name: "Search all that is held" }).click();
  await page.getByRole("list", { name: "Traces" }).waitFor();
  await context.close();
});

test("OR stands between chips, and goes with its term", async () => {
  const { page, context } = await visit(on, "#/traces?q=service:nobody+OR+service:cart");
  const chips = page.getByRole("list", { name: "Terms of the query" });
  expect(await chips.getByRole("listitem").allInnerTexts()).toEqual(
    expect.arrayContaining([expect.stringContaining("service:nobody"), "or", expect.stringContaining("service:cart")]),
  );
  await page.getByRole("list", { name: "Traces" }).waitFor();
  await page.getByRole("button", { name: "Take away service:nobody" }).click();
  await page.waitForFunction(() => location.hash === "#/traces?q=service%3Acart");
  await context.close();
});

test("the terms of the language are listed, and proposed while one is written", async () => {
  const { page, context, problems } = await visit(on, "#/traces");
  await page.getByRole("button", { name: "What a query can have" }).click();
  const list = page.getByRole("region", { name: "What a query can have" });
  for (const example of ["trace.duration>1s", "calls:cart>stock", "status:error OR duration>1s"])
    await list.getByRole("button", { name: example, exact: true }).waitFor();
  expect(await axe(page)).toEqual([]);
  await list.getByRole("button", { name: "trace.spans>100" }).click();
  const field = page.getByRole("combobox", { name: /^Query/ });
  expect(await field.inputValue()).toBe("trace.spans>100");
  await field.fill("");
  await field.pressSequentially("trace.d");
  await page.getByRole("option", { name: /trace\.duration>/ }).click();
  expect(await field.inputValue()).toBe("trace.duration>");
  expect(problems).toEqual([]);
  await context.close();
});

test("a trace that begins with a call is told from a request that was received", async () => {
  const { outgoing, three } = on.mock.world.fixed;
  const { page, context } = await visit(on, "#/traces");
  await page.locator(`a[href*="${outgoing}"]`).getByText("outgoing call").waitFor();
  expect(await page.locator(`a[href*="${three}"]`).getByText("outgoing call").count()).toBe(0);
  await page.locator(`a[href*="${outgoing}"]`).click();
  await page.getByRole("heading", { level: 1 }).getByText("outgoing call").waitFor();
  await context.close();
});

test("times of skewed clocks are shown corrected, and as they were sent", async () => {
  const trace = on.mock.world.traces.get(on.mock.world.fixed.corrected) as TraceAnswer;
  const at = trace.spans.findIndex((span) => span.clock_evidence);
  const span = trace.spans[at];
  const { page, context, problems } = await visit(
    on,
    `#/trace/${trace.summary.trace_id}?details=1&span=${span?.span_id}`,
  );
  const details = page.getByRole("complementary", { name: "Details of the span" });
  await details.getByText("It is drawn 700 ms later than it was sent.").waitFor();
  await page.locator(`#row-${at}`).getByText("clock").waitFor();
  await page.getByRole("button", { name: "As sent" }).click();
  await details.getByText("corrected it is 700 ms later").waitFor();
  await page.waitForFunction(() => location.hash.includes("times=sent"));
  // It is the earliest now, and the trace begins with it.
  await details.locator("dd", { hasText: "+0 ms" }).first().waitFor();
  expect(await axe(page)).toEqual([]);
  expect(problems).toEqual([]);
  await context.close();
});

test("abilities that are missing stand first with their remedy, the others are counted", async () => {
  const { page, context } = await visit(on, "#/agent");
  await page.getByText("Start the agent with CAP_NET_ADMIN, or as root.").waitFor();
  await page.getByText("Use Linux 6.6 or later.").waitFor();
  await page.getByText("8 abilities that are there").click();
  await page.getByText("Needed for: reading the kernel's structures").waitFor();
  await page.getByText("processor time of the agent, per event read").waitFor();
  await page.getByText("The only request being handled was already answered").waitFor();
  expect(await axe(page)).toEqual([]);
  await context.close();
});

test("a link is told in a sentence, and a guess is called one", async () => {
  const trace = on.mock.world.traces.get(on.mock.world.fixed.middle) as TraceAnswer;
  const { page, context } = await visit(
    on,
    `#/trace/${trace.summary.trace_id}?details=1&span=${trace.spans[0]?.span_id}`,
  );
  await page.getByText("A guess, so it is no parent: that span is its cause with a probability of 83.0 %.").waitFor();
  await page.getByText("parent likely, not certain").waitFor();
  await context.close();
});

test("each page says which window of time its numbers are of", async () => {
  for (const hash of ["#/traces", "#/map", "#/services", "#/services/cart"]) {
    const { page, context } = await visit(on, hash);
    await page.locator(".shown", { hasText: /\d\d:\d\d:\d\d – (.+, )?\d\d:\d\d:\d\d\s+\(\d/ }).waitFor();
    await context.close();
  }
});
