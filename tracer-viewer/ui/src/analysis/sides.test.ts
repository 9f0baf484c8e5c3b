import { expect, test } from "vitest";
import { chosenOf, fieldOf, momentOf, sidesOf } from "./sides";

const of = (state: Record<string, string>, nowMs = 10_000_000) =>
  sidesOf(
    chosenOf((name) => state[name] ?? ""),
    nowMs,
  );

test("without anything chosen the last quarter of an hour is compared with the one before", () => {
  expect(of({})).toEqual({
    before_start_us: 8_200_000_000,
    before_end_us: 9_100_000_000,
    after_start_us: 9_100_000_000,
    after_end_us: 10_000_000_000,
  });
  expect(of({ span: "60" })).toMatchObject({ before_start_us: 9_880_000_000 });
});

test("versions need both, and windows a right order", () => {
  expect(of({ service: "shop", before_version: "1", after_version: "2" })).toMatchObject({
    service: "shop",
    before_version: "1",
    after_version: "2",
  });
  expect(of({ service: "shop", before_version: "1" })).toBeNull();
  expect(of({ before_from: "1", before_to: "2", after_from: "2" })).toMatchObject({ after_end_us: null });
  expect(of({ before_from: "3", before_to: "2", after_from: "2" })).toBeNull();
  expect(of({ before_from: "1" })).toBeNull();
  expect(of({ span: "x", before_from: "-1" })).not.toBeNull();
});

test("a field for date and time says the same moment when it is read", () => {
  const us = 1_700_000_000_000_000;
  expect(momentOf(fieldOf(us))).toBe(us);
  expect([fieldOf(null), momentOf(""), momentOf("x"), fieldOf(NaN)]).toEqual(["", null, null, ""]);
});
