import type { Stretch, TraceAnswer, TraceSpan } from "../api/types";

/** Whether any span of a trace was moved since clocks differ. */
export function isCorrected(trace: TraceAnswer): boolean {
  return trace.spans.some((span) => (span.clock_shift_ns ?? 0) !== 0);
}

/** The trace as its spans were sent: each where its own clock put it, counted from the earliest. */
export function asSent(trace: TraceAnswer): TraceAnswer {
  if (!isCorrected(trace)) return trace;
  let first = Infinity;
  let last = -Infinity;
  for (const span of trace.spans) {
    const start = span.start_ns - (span.clock_shift_ns ?? 0);
    first = Math.min(first, start);
    last = Math.max(last, start + span.duration_ns);
  }
  return {
    ...trace,
    spans: trace.spans.map((span) => moved(span, -(span.clock_shift_ns ?? 0) - first)),
    summary: {
      ...trace.summary,
      start_unix_us: trace.summary.start_unix_us + Math.floor(first / 1000),
      duration_ns: last - first,
    },
  };
}

function moved(span: TraceSpan, by: number): TraceSpan {
  if (by === 0) return span;
  const move = <T extends Stretch>(stretch: T): T => ({
    ...stretch,
    start_ns: stretch.start_ns + by,
    end_ns: stretch.end_ns + by,
  });
  return {
    ...span,
    start_ns: span.start_ns + by,
    critical: span.critical.map(move),
    gaps: span.gaps.map(move),
    events: span.events.map((event) => ({ ...event, time_ns: Math.max(0, event.time_ns + by) })),
  };
}
