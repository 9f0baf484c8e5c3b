import type { TraceAnswer } from "../api/types";

/** Time of a service, or of one operation of it, in a trace. */
export interface Total {
  service: string;
  /** Name of the spans; empty if this is the whole service. */
  operation: string;
  spans: number;
  errors: number;
  /** Sum of the durations: spans that run at once count each. */
  duration_ns: number;
  self_ns: number;
  /** Time on the critical path. */
  critical_ns: number;
  longest_ns: number;
  /** Place of the longest span. */
  longest: number;
}

/** What the table can be sorted by. */
export type TotalKey =
  "service" | "operation" | "spans" | "errors" | "duration_ns" | "self_ns" | "critical_ns" | "longest_ns";

/** Totals by service, or by service and operation; the most time of its own first. */
export function totals(trace: TraceAnswer, byOperation: boolean): Total[] {
  const found = new Map<string, Total>();
  trace.spans.forEach((span, at) => {
    const service = trace.services[span.service]?.name ?? "";
    const operation = byOperation ? span.name : "";
    const key = `${service}\u0000${operation}`;
    let total = found.get(key);
    if (total === undefined) {
      total = {
        service,
        operation,
        spans: 0,
        errors: 0,
        duration_ns: 0,
        self_ns: 0,
        critical_ns: 0,
        longest_ns: -1,
        longest: at,
      };
      found.set(key, total);
    }
    total.spans++;
    if (span.is_error) total.errors++;
    total.duration_ns += span.duration_ns;
    total.self_ns += span.self_ns;
    for (const stretch of span.critical) total.critical_ns += stretch.end_ns - stretch.start_ns;
    if (span.duration_ns > total.longest_ns) {
      total.longest_ns = span.duration_ns;
      total.longest = at;
    }
  });
  return sorted([...found.values()], "self_ns");
}

/** Totals by a column: text ascending, numbers descending. */
export function sorted(rows: Total[], key: TotalKey): Total[] {
  return [...rows].sort((one, other) => {
    const a = one[key];
    const b = other[key];
    if (typeof a === "string" || typeof b === "string")
      return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : other.self_ns - one.self_ns;
    return b - a || other.self_ns - one.self_ns;
  });
}
