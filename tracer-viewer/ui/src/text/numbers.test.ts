import { expect, test } from "vitest";
import { briefCount, bytes, changeOf, duration, durationTerm, percent, plural, rate } from "./numbers";

test("a duration has the unit that suits it", () => {
  expect([0, 840, 12_340, 4_560_000, 1_200_000_000, 185e9, 7260e9].map(duration)).toEqual([
    "0 ms",
    "840 ns",
    "12.3 µs",
    "4.56 ms",
    "1.20 s",
    "3 m 05 s",
    "2 h 01 m",
  ]);
});

test("a duration that rounds up to the next unit is told in it", () => {
  expect(duration(999_700)).toBe("1.00 ms");
  expect(duration(999_999_999)).toBe("1.00 s");
});

test("a duration as a term of a query has no space", () => {
  expect(durationTerm(1_500_000)).toBe("1.5ms");
  expect(durationTerm(250)).toBe("250ns");
  expect(durationTerm(2_000_000_000)).toBe("2s");
});

test("small parts are never told as nothing, and not quite all never as all", () => {
  expect(percent(0.00001)).toBe("<0.01 %");
  expect(percent(0.9999)).toBe(">99.9 %");
  expect(percent(1)).toBe("100 %");
  expect(percent(17.9)).toBe("1,790 %");
});

test("rates, counts and sizes have three digits", () => {
  expect(rate(0.001)).toBe("<0.01/s");
  expect(rate(1234)).toBe("1.23k/s");
  expect(briefCount(4_500_000)).toBe("4.50M");
  expect(bytes(67_108_864)).toBe("64.0 MiB");
  expect(plural(1, "span")).toBe("1 span");
  expect(plural(1200, "span")).toBe("1,200 spans");
});

test("a change is a percentage while one can imagine it, else a factor", () => {
  expect([changeOf(100, 112.5), changeOf(100, 60), changeOf(100, 950), changeOf(100, 100)]).toEqual([
    "+12.5 %",
    "−40.0 %",
    "+850 %",
    "+0 %",
  ]);
  expect([changeOf(1, 230.4), changeOf(230, 1), changeOf(0, 5), changeOf(5, 0)]).toEqual([
    "×230",
    "1/230",
    "",
    "−100 %",
  ]);
});
