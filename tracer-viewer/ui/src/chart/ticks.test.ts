import { expect, test } from "vitest";
import { durationTicks, timeTicks } from "./ticks";

const ROWS = Array.from({ length: 30 }, (_, row) => 1000 * 2 ** row);

test("durations of the axis are round and lie where the logarithm puts them", () => {
  const ticks = durationTicks(ROWS, 0, 9, 0.05);
  expect(ticks.map((tick) => tick.label)).toEqual([
    "1 µs",
    "2 µs",
    "5 µs",
    "10 µs",
    "20 µs",
    "50 µs",
    "100 µs",
    "200 µs",
    "500 µs",
    "1 ms",
  ]);
  for (const { value, part } of ticks) expect(part).toBeCloseTo(Math.log2(value / 1000) / 10, 9);
});

test("where durations would crowd only powers of ten are kept", () => {
  expect(durationTicks(ROWS, 0, 19, 0.12).map((tick) => tick.label)).toEqual([
    "1 µs",
    "10 µs",
    "100 µs",
    "1 ms",
    "10 ms",
    "100 ms",
    "1 s",
  ]);
});

test("rows from nothing, of minutes and hours, and absurd ones have round durations too", () => {
  expect(durationTicks([0, 60e9, 600e9, 3_600e9], 0, 3, 0.05).map((tick) => tick.label)).toContain("10 m");
  expect(durationTicks([0, 60e9, 600e9, 3_600e9], 0, 3, 0.05).map((tick) => tick.label)).toContain("1 h");
  expect(durationTicks([], 0, 0, 0.1).length).toBeLessThan(20);
  expect(durationTicks([0, 0, 0], 0, 2, 0.1).every((tick) => Number.isFinite(tick.part))).toBe(true);
});

test("moments of the axis are round in local time", () => {
  const hour = 3600e6;
  expect(timeTicks(100.3e6, 102.3e6, 8, 0)).toEqual({ step_us: 500_000, at_us: [100.5e6, 101e6, 101.5e6, 102e6] });
  expect(timeTicks(0, 10 * hour, 5, hour / 2).at_us.map((at) => at / hour)).toEqual([1.5, 3.5, 5.5, 7.5, 9.5]);
  expect(timeTicks(5, 5, 8, 0).at_us).toEqual([5]);
  expect(timeTicks(0, 1.8e19, 8, 0).at_us.length).toBeLessThan(10);
});
