import { expect, test } from "vitest";
import { quietTime } from "./quiet";

const HOUR = 3600e6;

test("the time between two runs is told, whichever service was asked", () => {
  const first = [3, 2, 0, 0, 0, 0, 0, 0, 0, 0];
  const second = [0, 0, 0, 0, 0, 0, 0, 0, 1, 4];
  expect(quietTime([first, second], 10 * HOUR)).toBe(6 * HOUR);
  expect(quietTime([second], 10 * HOUR)).toBe(8 * HOUR);
});

test("short pauses of seldom requests are not told, nor is a window with nothing", () => {
  expect(quietTime([[1, 0, 1, 0, 1, 0, 1, 0, 1, 0]], HOUR)).toBe(0);
  expect(quietTime([[0, 0, 0, 0]], HOUR)).toBe(0);
  expect(quietTime([], HOUR)).toBe(0);
  expect(quietTime([[], []], HOUR)).toBe(0);
});
