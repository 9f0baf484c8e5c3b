import { expect, test } from "vitest";
import { axisTimes, briefMoment, moment, stretch } from "./moments";

const NOW = new Date(2026, 11, 1, 12, 0, 0).getTime();
const at = (...parts: [number, number, number, number, number, number, number?]) => new Date(...parts).getTime() * 1000;

test("a moment that is not today has its day, and its year if that is another", () => {
  expect(briefMoment(at(2026, 11, 1, 8, 59, 52, 120), NOW)).toBe("08:59:52.120");
  expect(briefMoment(at(2026, 10, 30, 8, 59, 52), NOW)).toBe("Nov 30, 08:59:52");
  expect(briefMoment(at(1970, 0, 2, 8, 59, 52), NOW)).toBe("Jan 2, 1970, 08:59");
  expect(briefMoment(at(2554, 6, 21, 23, 34, 33), NOW)).toBe("Jul 21, 2554, 23:34");
  expect(moment(at(2554, 6, 21, 23, 34, 33), NOW)).toBe("Jul 21, 2554, 23:34:33.000");
  expect(briefMoment(1.8e19, NOW)).toBe("beyond the calendar");
});

test("labels of an axis are told apart, however short the step", () => {
  const from = at(2026, 11, 1, 8, 59, 52);
  expect(axisTimes([from, from + 500_000, from + 1e6], 500_000, NOW)).toEqual([
    "08:59:52.0",
    "08:59:52.5",
    "08:59:53.0",
  ]);
  expect(axisTimes([from, from + 20_000], 20_000, NOW)).toEqual(["08:59:52.00", "08:59:52.02"]);
  expect(axisTimes([from, from + 1000], 1000, NOW)).toEqual(["08:59:52.000", "08:59:52.001"]);
  expect(axisTimes([from, from + 60e6], 60e6, NOW)).toEqual(["08:59", "09:00"]);
});

test("labels of an axis say each day that is not today, once", () => {
  const hour = 3600e6;
  const from = at(2026, 10, 30, 22, 0, 0);
  expect(axisTimes([from, from + hour, from + 2 * hour], hour, NOW)).toEqual([
    "Nov 30, 22:00",
    "23:00",
    "Dec 1, 00:00",
  ]);
  expect(axisTimes([at(1970, 0, 2, 0, 0, 0)], 86_400e6, NOW)).toEqual(["Jan 2, 1970"]);
});

test("a stretch says the day that is not today, and both ends of a short one differ", () => {
  const from = at(2026, 11, 1, 8, 59, 52);
  expect(stretch(from, from + 3e6, NOW)).toBe("08:59:52 – 08:59:55");
  expect(stretch(from, from + 50_000, NOW)).toBe("08:59:52.00 – 08:59:52.05");
  expect(stretch(at(2026, 10, 30, 8, 0, 0), at(2026, 10, 30, 9, 0, 0), NOW)).toBe("Nov 30, 08:00:00 – 09:00:00");
  expect(stretch(at(1970, 0, 2, 8, 0, 0), at(2026, 11, 1, 9, 0, 0), NOW)).toBe(
    "Jan 2, 1970, 08:00:00 – Dec 1, 09:00:00",
  );
});
