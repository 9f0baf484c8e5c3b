import type { TraceSpan } from "../api/types";
import { parentPlace } from "./tree";

/** Lanes of a flame graph: a span lies below its parent, and beside no span of the same time. */
export interface Lanes {
  /** Lane of each span. */
  lane: Uint32Array;
  /** Lanes. */
  count: number;
}

export function lanesOf(spans: readonly TraceSpan[]): Lanes {
  const lane = new Uint32Array(spans.length);
  /** Of each lane: starts and ends of its spans, ascending. */
  const taken: { start: number; end: number }[][] = [];
  spans.forEach((span, at) => {
    const parent = parentPlace(spans, at);
    let place = parent >= 0 ? (lane[parent] ?? 0) + 1 : 0;
    const stretch = { start: span.start_ns, end: span.start_ns + span.duration_ns };
    while (!take((taken[place] ??= []), stretch)) place++;
    lane[at] = place;
  });
  return { lane, count: taken.length };
}

/** Puts a stretch among others if it overlaps none. */
function take(lane: { start: number; end: number }[], stretch: { start: number; end: number }): boolean {
  let low = 0;
  let high = lane.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((lane[middle]?.start ?? 0) < stretch.start) low = middle + 1;
    else high = middle;
  }
  const before = lane[low - 1];
  const after = lane[low];
  if (before !== undefined && before.end > stretch.start) return false;
  if (after !== undefined && (after.start < stretch.end || after.start === stretch.start)) return false;
  lane.splice(low, 0, stretch);
  return true;
}
