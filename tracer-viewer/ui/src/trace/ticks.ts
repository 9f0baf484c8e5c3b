import { scaleLinear } from "d3-scale";

/** A mark of the ruler. */
export interface Tick {
  at_ns: number;
  label: string;
}

const UNITS: [string, number][] = [
  ["s", 1e9],
  ["ms", 1e6],
  ["µs", 1e3],
  ["ns", 1],
];

/** Round moments of a window, in one unit that suits its width. */
export function ticks(from_ns: number, to_ns: number, wanted: number): Tick[] {
  const width = to_ns - from_ns;
  if (!(width > 0)) return [];
  const [unit, size] = UNITS.find(([, size]) => width >= size * 2) ?? ["ns", 1];
  const scale = scaleLinear().domain([from_ns / size, to_ns / size]);
  const values = scale.ticks(Math.max(2, wanted));
  const format = scale.tickFormat(Math.max(2, wanted));
  return values.map((value) => ({ at_ns: value * size, label: `${format(value)} ${unit}` }));
}
