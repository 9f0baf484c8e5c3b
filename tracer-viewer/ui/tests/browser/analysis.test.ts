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
  await page.getByRole("heading", { name: "1 incident going on" }).waitFor();
  const ended = page.getByRole("region", { name: "The watch" });
  expect(await ended.getByText("incident 1").count()).toBe(1);
  expect(await ended.getByText(/was looked through 41 times for faults/).count()).toBe(1);
  await context.close();
});
