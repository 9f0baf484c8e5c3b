import { expect, test } from "vitest";
import type { Ability } from "../api/types";
import { byVerdict } from "./abilities";

const ability = (over: Partial<Ability>): Ability => ({ name: "", is_there: true, detail: "", ...over });

test("abilities are grouped by their verdict, and by whether they are there without one", () => {
  const groups = byVerdict([
    ability({ name: "a", verdict: "ok" }),
    ability({ name: "b", verdict: "less", is_there: false }),
    ability({ name: "c", verdict: "missing", is_there: false }),
    ability({ name: "d", is_there: false }),
    ability({ name: "e" }),
  ]);
  expect([groups.ok, groups.less, groups.missing].map((group) => group.map((one) => one.name))).toEqual([
    ["a", "e"],
    ["b"],
    ["c", "d"],
  ]);
});
