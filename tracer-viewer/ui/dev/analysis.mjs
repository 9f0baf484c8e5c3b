// Findings as the analyses tell them, of the generated world.

/** The findings of a world: two, one with text from traffic that means harm. */
function findings(world) {
  const [trace] = world.traces.values();
  const exemplar = {
    trace_id: trace.summary.trace_id,
    span_id: trace.spans[0].span_id,
    start_unix_us: trace.summary.start_unix_us,
    duration_ns: trace.summary.duration_ns,
  };
  const onset = trace.summary.start_unix_us;
  return [
    {
      kind: "slower",
      sentence: "carts became slower by its own work: GET /carts/{id} took 62 ms in the median, 11 ms before.",
      service: "carts",
      operation: "GET /carts/{id}",
      edge: null,
      onset_unix_us: onset,
      end_unix_us: null,
      affected: 412,
      of: 412,
      services: ["frontend", "orders"],
      evidence: ["Its own time grew from 9 ms to 60 ms in the median, of 412 requests after and 1,903 before."],
      exemplars: [exemplar, exemplar],
      next: ["Compare a slow trace with one from before."],
      p_value: 0.00001,
    },
    {
      kind: "errors",
      sentence: "orders fails <img src=x onerror=alert(1)>: 18 % of POST /orders, 0.4 % before.",
      service: "orders",
      operation: null,
      edge: { from: "frontend", to: "orders", to_kind: "service" },
      onset_unix_us: onset,
      end_unix_us: onset + 60_000_000,
      affected: 90,
      of: 500,
      services: [],
      evidence: [],
      exemplars: [exemplar],
      next: [],
      p_value: 0.0001,
    },
  ];
}

/** Answer of `analysis/report`. */
export function report(world) {
  const traces = [...world.traces.values()];
  const times = traces.map((trace) => trace.summary.start_unix_us);
  return {
    sample: {
      traces: traces.length,
      spans: traces.reduce((sum, trace) => sum + trace.spans.length, 0),
      window: { start_unix_us: Math.min(...times), end_unix_us: Math.max(...times) },
      omitted_traces: 0,
      broken_traces: 3,
      incomplete: null,
    },
    too_little: null,
    findings: findings(world),
  };
}

/** Answer of `analysis/incidents`. */
export function incidents(world) {
  const [first, second] = findings(world);
  const of = (number, finding, state) => ({
    number,
    state,
    found_unix_us: finding.onset_unix_us + 20_000_000,
    seen_unix_us: finding.onset_unix_us + 60_000_000,
    finding,
  });
  return {
    is_watching: true,
    incidents: [of(2, first, "open"), of(1, second, "ended")],
    suppressed: 0,
    rounds: 41,
    last_round_unix_us: first.onset_unix_us + 90_000_000,
    last_round_ns: 31_000_000,
  };
}
