import type { Bounds } from "../api/client";
import { route } from "./route.svelte";

/** Windows of time that end now, seconds. */
export const LAST: [number, string][] = [
  [300, "5 min"],
  [900, "15 min"],
  [3600, "1 h"],
  [21_600, "6 h"],
  [86_400, "24 h"],
];

/** The window that the address asks for: `last` seconds, or `from` and `to` in microseconds; nothing is everything. */
export function boundsOf(nowMs: number): Bounds {
  const from = route.number("from");
  const to = route.number("to");
  if (from !== null || to !== null) return { start_us: from, end_us: to };
  const last = route.number("last");
  if (last !== null && last > 0) return { start_us: Math.round((nowMs - last * 1000) * 1000), end_us: null };
  return { start_us: null, end_us: null };
}
