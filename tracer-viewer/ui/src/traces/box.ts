import { formatAddress } from "../route/address";
import { durationTerm } from "../text/numbers";
import { sides, withDuration } from "./query";

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

/**
 * The address of what makes the requests of a box slow; null if the query bounds no duration from below, or has several sides.
 * The window of the analysis stays open: the rest of the requests may lie outside of the box.
 */
export function slowAddress(query: string, from: number | null, to: number | null): string | null {
  const all = sides(query);
  const side = all[0]?.map(({ text }) => text) ?? [];
  const least = bound(side, /^duration>=?(.+)$/);
  if (all.length !== 1 || least === null) return null;
  return formatAddress("analysis", "slow", {
    service: valueOf(side, "service:"),
    operation: valueOf(side, "operation:"),
    box_from: from,
    box_to: to,
    least,
    most: bound(side, /^duration<=?(.+)$/),
  });
}

const UNITS: Record<string, number> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, m: 60e9 };

/** A bound of the duration, nanoseconds. */
function bound(side: string[], pattern: RegExp): number | null {
  const text = side.map((term) => pattern.exec(term)?.[1]).find((value) => value !== undefined);
  const [, digits, unit] = /^([\d.]+)(ns|us|ms|s|m)$/.exec(text ?? "") ?? [];
  const value = Number(digits) * (UNITS[unit ?? ""] ?? NaN);
  return Number.isFinite(value) ? Math.round(value) : null;
}

/** The value of a term, without its quotes; null if there is none, or if it is only the beginning of a value. */
function valueOf(side: string[], key: string): string | null {
  const value = side.find((term) => term.startsWith(key))?.slice(key.length) ?? "";
  if (value === "" || value.endsWith("*")) return null;
  return value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value;
}
