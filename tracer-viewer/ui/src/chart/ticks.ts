/** Places of an axis: round durations on a logarithmic one, round moments on a linear one. */

/** A mark of an axis, and where it lies: 0 at the axis' begin, 1 at its end. */
export interface AxisTick {
  value: number;
  part: number;
  label: string;
}

const UNITS: [string, number][] = [
  ["h", 3_600e9],
  ["m", 60e9],
  ["s", 1e9],
  ["ms", 1e6],
  ["µs", 1e3],
  ["ns", 1],
];

/** Round durations, nanoseconds: powers of ten up to a second, then minutes and hours, each times `factors`. */
function roundDurations(factors: readonly number[]): number[] {
  const within = (unit: number, powers: number[], last: number) =>
    powers.flatMap((power) => factors.map((factor) => factor * power * unit)).filter((value) => value < last);
  return [
    ...within(1, [1, 10, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10], 60e9),
    ...within(60e9, [1, 10], 3_600e9),
    ...within(3_600e9, [1, 10, 1e2, 1e3, 1e4, 1e5, 1e6], Infinity),
  ];
}

const TIGHT = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const USUAL = [1, 2, 5];
const SPARSE = [1];

function roundLabel(ns: number): string {
  const [unit, size] = UNITS.find(([, size]) => ns >= size) ?? ["ns", 1];
  return `${Math.round(ns / size)} ${unit}`;
}

/**
 * Round durations on an axis of rows, whose lower bounds are `row_ns` from the row `lowest` to the row `highest`: as many
 * of 1, 2 and 5 times a power of ten as stand `least` of the axis apart.
 */
export function durationTicks(row_ns: readonly number[], lowest: number, highest: number, least: number): AxisTick[] {
  const rows = highest - lowest + 1;
  const bound = (row: number) => {
    const known = row_ns[row];
    if (known !== undefined) return known;
    // The last row has no upper bound: it is drawn as high as the one below.
    const [last, before] = [row_ns[row - 1] ?? 1, row_ns[row - 2] ?? 1];
    return last * Math.max(2, last / Math.max(1, before));
  };
  const partOf = (ns: number): number | null => {
    for (let row = lowest; row <= highest; row++) {
      const [from, to] = [bound(row), bound(row + 1)];
      if (ns < from || ns >= to) continue;
      const within = from <= 0 ? ns / Math.max(1, to) : Math.log(ns / from) / Math.log(to / from);
      return (row - lowest + within) / rows;
    }
    return null;
  };
  const marks = (factors: readonly number[]) => {
    const found: AxisTick[] = [];
    for (const value of roundDurations(factors)) {
      const part = partOf(value);
      if (part !== null) found.push({ value, part, label: roundLabel(value) });
    }
    return found;
  };
  const isRoomy = (found: AxisTick[]) =>
    found.every((tick, at) => at === 0 || tick.part - (found[at - 1]?.part ?? 0) >= least);
  const usual = marks(USUAL);
  if (usual.length < 2) {
    const tight = marks(TIGHT);
    return isRoomy(tight) ? tight : usual;
  }
  if (isRoomy(usual)) return usual;
  // The lowest row that has a bound of 0 is not logarithmic: what crowds there is left out.
  return marks(SPARSE).reduce<AxisTick[]>((kept, tick) => {
    const before = kept.at(-1);
    return before === undefined || tick.part - before.part >= least ? [...kept, tick] : kept;
  }, []);
}

const SECOND_US = 1e6;
const DAY_US = 86_400e6;
/** Steps between moments that a clock shows as round, microseconds. */
const STEPS_US = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map((ms) => ms * 1000),
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800].map((s) => s * SECOND_US),
  ...[1, 2, 3, 6, 12].map((hours) => hours * 3600 * SECOND_US),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 1e4, 1e5, 1e6].map((days) => days * DAY_US),
];

/** Round moments of a stretch of time, at most `most`, and the step between them. `offsetUs` is how far local time is ahead. */
export function timeTicks(
  fromUs: number,
  toUs: number,
  most: number,
  offsetUs = -new Date(Math.min(8.64e15, fromUs / 1000)).getTimezoneOffset() * 60e6,
): { step_us: number; at_us: number[] } {
  const step_us = STEPS_US.find((step) => (toUs - fromUs) / step <= Math.max(1, most)) ?? Infinity;
  if (!(toUs > fromUs) || !Number.isFinite(step_us)) return { step_us: Math.max(1, toUs - fromUs), at_us: [fromUs] };
  const at_us: number[] = [];
  for (let place = Math.ceil((fromUs + offsetUs) / step_us); place * step_us - offsetUs <= toUs; place++) {
    at_us.push(place * step_us - offsetUs);
    if (at_us.length > most) break;
  }
  return { step_us, at_us };
}
