import { durationTerm } from "../text/numbers";
import { withDuration } from "./query";

/** What a box of cells of a heatmap bounds. */
export interface Box {
  start_us: number;
  end_us: number;
  least_ns: number;
  /** Null if it reaches to the longest durations. */
  most_ns: number | null;
}

/** The state of the list of traces that shows what is in a box, of what meets a query. */
export function stateOf(query: string, box: Box): { q: string; from: number; to: number } {
  const least = box.least_ns > 0 ? durationTerm(box.least_ns) : null;
  const most = box.most_ns === null ? null : durationTerm(box.most_ns);
  return { q: withDuration(query, least, most), from: box.start_us, to: box.end_us };
}
