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

/** Where the time goes. */
function shares(world) {
  const [trace] = world.traces.values();
  const operation = { service: "carts", name: "GET /carts/{id}", kind: "server" };
  const exemplar = {
    trace_id: trace.summary.trace_id,
    span_id: trace.spans[0].span_id,
    start_unix_us: trace.summary.start_unix_us,
    duration_ns: trace.summary.duration_ns,
  };
  const share = { operation, asked: null, query: null, spans: 412, path_ns: 9e9, part: 0.62, beside_ns: 0, exemplar };
  const asked = { from: "orders", to: "db.example:5432", to_kind: "database" };
  const other = { service: "orders", name: "SELECT orders", kind: "client" };
  return {
    rooted_traces: 208,
    services: [{ service: "carts", path_ns: 9e9, part: 0.62 }],
    operations: [share, { ...share, operation: other, asked, query: "SELECT orders", part: 0.21 }],
    network_part: 0.03,
    help: [
      {
        operation,
        p50_ns: 62e6,
        helped_p50_ns: 34e6,
        p95_ns: 110e6,
        helped_p95_ns: 61e6,
        part: 0.29,
        traces: 412,
      },
    ],
    hidden_errors: [
      { edge: { ...asked, from: "carts" }, calls: 12, of: 500, requests: 9, path_ns: 1e8, exemplars: [exemplar] },
    ],
  };
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
    ...shares(world),
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
