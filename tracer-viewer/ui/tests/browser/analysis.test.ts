import { afterAll, beforeAll, expect, test } from "vitest";
import { stage, visit, type Stage } from "./harness";

let on: Stage;
beforeAll(async () => {
  on = await stage();
});
afterAll(() => on.stop());

test("a finding says what is wrong, as text, and leads to its traces", async () => {
  const { page, context, problems } = await visit(on, "#/analysis");
  const findings = page.getByRole("region", { name: "Findings of this window" });
  await findings.getByText("orders fails <img src=x onerror=alert(1)>: 18 % of POST /orders, 0.4 % before.").waitFor();
  expect(await findings.getByText(/GET \/carts\/\{id\} took 62 ms/).count()).toBe(1);
  expect(await page.locator("img").count()).toBe(0);
  const [id] = on.mock.world.traces.keys();
  await findings
    .getByRole("link", { name: new RegExp(`^${String(id).slice(0, 8)}`) })
    .first()
    .click();
  await page.waitForFunction((id) => location.hash.startsWith(`#/trace/${id}?span=`), String(id));
  expect(problems).toEqual([]);
  await context.close();
});

test("incidents that go on are told first, and those that have ended with them", async () => {
  const { page, context } = await visit(on, "#/analysis");
  await page.getByRole("link", { name: "1 incident going on" }).click();
  await page.getByRole("heading", { name: "1 incident going on" }).waitFor();
  const ended = page.getByRole("region", { name: "Incidents that have ended" });
  expect(await ended.getByText("incident 1").count()).toBe(1);
  const watch = page.getByRole("region", { name: "Incidents that go on" });
  expect(await watch.getByText(/was looked through 41 times for faults/).count()).toBe(1);
  await context.close();
});

test("tabs keep the window of time, and one that is not known is told", async () => {
  const { page, context } = await visit(on, "#/analysis/retries?last=3600");
  await page.getByRole("link", { name: "Dependencies" }).click();
  await page.waitForFunction(() => location.hash === "#/analysis/dependencies?last=3600");
  await page.goto(`${on.mock.address}#/analysis/nope`);
  await page.getByText("There is no such analysis").waitFor();
  await context.close();
});

test("a wave is shown moment by moment, as bars and over the map", async () => {
  const { page, context, problems, settled } = await visit(on, "#/analysis/incidents");
  await settled();
  const lanes = page.getByRole("list", { name: "Who was hit when" }).getByRole("listitem");
  expect(await lanes.count()).toBe(3);
  expect(await lanes.first().textContent()).toMatch(/^\s*cart\s*origin: takes longer, works longer since/);
  // At first the moment is shown at which all are hit.
  await page.locator(".node.origin").first().waitFor();
  expect(await page.locator(".node.hit").count()).toBeGreaterThan(0);
  const moment = page.getByRole("slider", { name: "Moment of the wave" });
  await moment.press("Home");
  await page.waitForFunction(() => document.querySelectorAll(".node.origin, .node.hit").length === 0);
  expect(await page.locator(".lane.yet").count()).toBe(3);
  await page.getByRole("button", { name: "Play" }).click();
  await page.locator(".node.over").first().waitFor({ timeout: 15_000 });
  await page.getByRole("button", { name: "Play" }).waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test("retries tell who multiplies, and lead to the calls", async () => {
  const { page, context } = await visit(on, "#/analysis/retries");
  await page
    .getByRole("heading", { name: "36.3 % of all calls are retries, more than the 10.0 % that they may be" })
    .waitFor();
  const storm = page.getByRole("region", { name: "Retry storms" });
  expect((await storm.getByRole("list", { name: "Layers" }).textContent())?.replace(/\s+/g, " ")).toContain(
    "×2.8 of 1.5 calls →",
  );
  expect(await storm.getByText("feeds itself").count()).toBe(1);
  await page
    .getByRole("region", { name: "Calls that are tried again" })
    .getByRole("link", { name: "orders → carts" })
    .click();
  await page.waitForFunction(() => decodeURIComponent(location.hash).includes("calls:orders>carts"));
  await context.close();
});

test("a comparison shows what changed, all on demand, and its sides stand in the address", async () => {
  const { page, context, settled } = await visit(on, "#/analysis/compare");
  await settled();
  const rows = page.getByRole("region", { name: "Operations before and after" }).locator("tbody tr");
  expect(await rows.count()).toBe(1);
  await page.getByRole("button", { name: "All 2 operations" }).click();
  expect(await rows.count()).toBe(2);
  await page.getByRole("combobox", { name: "What is compared" }).selectOption("versions");
  await page.getByRole("combobox", { name: "Service" }).selectOption("carts");
  await page.getByText("Choose a service and both versions.").waitFor();
  await page.getByRole("combobox", { name: "Version before" }).selectOption("1.0.0");
  await page.getByRole("combobox", { name: "Version after" }).selectOption("1.1.0");
  await page.waitForFunction(() => location.hash.endsWith("?service=carts&before_version=1.0.0&after_version=1.1.0"));
  await rows.first().waitFor();
  expect(await page.locator("img").count()).toBe(0);
  await context.close();
});

test("dependencies are told with what becomes of failures, and exported", async () => {
  const { page, context } = await visit(on, "#/analysis/dependencies?last=900");
  await page.getByRole("heading", { name: "3 dependencies" }).waitFor();
  const row = page.getByRole("row").filter({ hasText: "frontend → orders" });
  expect(await row.textContent()).toContain("pass through");
  const mermaid = await page.getByRole("link", { name: "Mermaid" }).getAttribute("href");
  expect(mermaid).toMatch(/\/api\/tracer\/analysis\/dependencies\?start_us=\d+&format=mermaid$/);
  await context.close();
});

test("a release is told with how it went and what it changed", async () => {
  const { page, context } = await visit(on, "#/analysis/deployments");
  await page.getByRole("heading", { name: "2 releases" }).waitFor();
  await page.getByText("took over step by step, 2 instances").waitFor();
  expect(await page.getByText("It has served too few requests to be compared.").count()).toBe(1);
  expect(await page.getByText("builder").count()).toBe(1);
  await context.close();
});

test("slow requests of an operation are compared with the rest, and lead to their traces", async () => {
  const { page, context, problems } = await visit(on, "#/analysis/slow");
  const rows = page.getByRole("region", { name: "Operations by what their slow requests lose" });
  await rows.getByRole("link", { name: "GET /carts/{id}" }).click();
  const differences = page.getByRole("region", { name: "What differs" });
  await differences.getByRole("heading", { name: "3 differences" }).waitFor();
  const second = await differences.getByRole("listitem").nth(1).textContent();
  expect(second?.replace(/\s+/g, " ")).toContain(
    "effect 0.71 p < 0.001 10.4 of slow ones (206), 1 of the rest (3,000)",
  );
  expect(await page.locator("img").count()).toBe(0);
  await page.getByRole("combobox", { name: "Which requests are slow" }).selectOption("Slowest 1 %");
  await page.waitForFunction(() => location.hash.endsWith("&kind=server&quantile=0.99"));
  await page.getByRole("link", { name: "206 requests" }).click();
  await page.waitForFunction(() => decodeURIComponent(location.hash).includes("duration>=48ms"));
  expect(problems).toEqual([]);
  await context.close();
});

test("too few requests are told, and nothing is claimed of them", async () => {
  const { page, context } = await visit(on, "#/analysis/slow?service=cart&operation=GET+/cart");
  await page.getByText("2 slow requests and 29 others are too few").waitFor();
  expect(await page.getByRole("region", { name: "What differs" }).count()).toBe(0);
  await context.close();
});

test("durations that were chosen lead to what makes them slow", async () => {
  const { page, context } = await visit(on, "#/traces?q=service:carts+duration>=48ms&from=1&to=9000000000000000");
  await page.getByRole("link", { name: "Why slow?" }).click();
  await page.waitForFunction(() => location.hash.startsWith("#/analysis/slow?service=carts&box_from=1"));
  await page.getByRole("link", { name: "GET /carts/{id}" }).click();
  await page.getByRole("heading", { name: "3 differences" }).waitFor();
  const which = page.getByRole("combobox", { name: "Which requests are slow" });
  expect(await which.inputValue()).toBe("box");
  await context.close();
});
