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
    not_followed: 0,
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

/** A trace that shows something. */
function shown(world) {
  const [trace] = world.traces.values();
  return {
    trace_id: trace.summary.trace_id,
    span_id: trace.spans[0].span_id,
    start_unix_us: trace.summary.start_unix_us,
    duration_ns: trace.summary.duration_ns,
  };
}

const HOSTILE = "<img src=x onerror=alert(1)>";
const buckets = (make) => Array.from({ length: 60 }, (_, at) => make(at));

/** Answer of `analysis/retries`. */
export function retries(world) {
  const exemplars = [shown(world)];
  const { sample } = report(world);
  const onset = sample.window.start_unix_us;
  const goodput = (most) =>
    buckets((at) => ({ attempts: at < 30 ? 20 : 20 * most, logical_calls: 20, succeeded: at < 30 ? 20 : 4 }));
  const edge = (from, to, factor) => ({
    edge: { from, to, to_kind: "service" },
    attempts: Math.round(1200 * factor),
    logical_calls: 1200,
    provable: 12,
    retry_ratio: 1 - 1 / factor,
    factor,
    saved: 40,
    exhausted: 310,
    by_attempts: [800, 100, 300],
    causes: [
      { failure: "no_response", count: 512 },
      { failure: "server", count: 100 },
    ],
    is_over_budget: factor > 1.1,
    goodput: goodput(factor),
    exemplars,
  });
  const layers = [
    { from: "frontend", to: "orders", factor: 1, peak_factor: 1, fan_out: 1 },
    { from: "orders", to: "carts", factor: 2.8, peak_factor: 3, fan_out: 1.5 },
    { from: "carts", to: HOSTILE, factor: 2.9, peak_factor: 3, fan_out: 1 },
  ];
  const top = { service: "frontend", name: "GET /orders", kind: "server" };
  return {
    sample,
    too_little: null,
    budget: 0.1,
    attempts: 14_284,
    logical_calls: 9103,
    retry_ratio: 0.3627,
    uncertain: 4,
    start_unix_us: onset,
    bucket_us: 1_000_000,
    goodput: goodput(3),
    edges: [edge("carts", HOSTILE, 2.9), edge("orders", "carts", 2.8), edge("frontend", "orders", 1.02)],
    paths: [{ top, requests: 517, layers, amplification: 12.2, peak: 27, peak_unix_us: onset, most: 27, exemplars }],
    storms: [
      {
        sentence: `carts tries calls to ${HOSTILE} again: 5450 attempts for 1886 calls, 2 % of which succeed.`,
        onset_unix_us: onset,
        end_unix_us: null,
        bottom: { from: "carts", to: HOSTILE, to_kind: "service" },
        edges: [],
        attempts: 5450,
        logical_calls: 1886,
        goodput: 0.02,
        goodput_before: 0.97,
        top,
        amplification: 12.2,
        amplification_before: 1.5,
        layers,
        trigger: null,
        is_self_sustaining: true,
        p_value: 1e-9,
        exemplars,
      },
    ],
    left_out: 3,
  };
}

/** Answer of `analysis/cascades`. */
export function cascades(world) {
  const exemplars = [shown(world)];
  const { sample } = report(world);
  const { start_unix_us, end_unix_us } = sample.window;
  const at = (part) => Math.round(start_unix_us + (end_unix_us - start_unix_us) * part);
  const hit = (service, from, to, signals, because_of) => ({
    service,
    onset_unix_us: at(from),
    end_unix_us: to === null ? null : at(to),
    signals,
    because_of,
  });
  const edge = { from: "orders", to: "carts", to_kind: "service" };
  return {
    sample,
    too_little: null,
    start_unix_us,
    bucket_us: 1_000_000,
    origins: [
      {
        service: "cart",
        kind: "slower",
        sentence: `cart is slower by itself: its own time is 12 times as long; because of it, ${HOSTILE} is hit.`,
        onset_unix_us: at(0.4),
        end_unix_us: at(0.8),
        reaches: ["checkout"],
      },
    ],
    wave: [
      hit("cart", 0.4, 0.8, ["latency", "own_time"], []),
      hit("checkout", 0.45, null, ["latency", "errors"], ["cart"]),
      hit(HOSTILE, 0.5, 0.9, ["abandoned"], ["checkout"]),
    ],
    changes: [],
    timeouts: [
      { edge, value_ns: 193e6, calls: 4505, of: 5425, first_unix_us: at(0.4), last_unix_us: at(0.8), exemplars },
    ],
    mismatches: [
      {
        edge,
        sentence: "orders leaves calls to carts after 193 ms, and carts works on them for 1.0 s.",
        timeout_ns: 193e6,
        needed_ns: 1e9,
        attempts: 1,
        attempt_ns: null,
        calls: 5425,
        exemplars,
      },
    ],
    wasted: [{ service: "cart", requests: 5425, of: 5770, wasted_ns: 4427e9, exemplars }],
    saturated: [
      {
        service: "checkout",
        onset_unix_us: at(0.45),
        end_unix_us: null,
        open_before: 0.8,
        open: 25.6,
        throughput_before: 30.2,
        throughput: 30.9,
        own_before_ns: 1e6,
        own_ns: 1e6,
        is_own: false,
      },
    ],
    left_out: 0,
  };
}

/** Answer of `analysis/compare`. */
export function comparison(world) {
  const { sample } = report(world);
  const exemplar = shown(world);
  const estimate = (value, low, high) => ({ value, interval: { low, high } });
  const operation = (name, verdict, factor, sentence) => {
    const time = {
      p50_ns: [41e6, 41e6 * factor],
      p95_ns: [60e6, 60e6 * factor],
      ratio: estimate(factor, factor * 0.97, factor * 1.03),
      p_value: verdict === "unchanged" ? 0.4 : 1e-9,
      p95_ratio: null,
      tolerance: 0.1,
      verdict,
      detectable_ratio: 1.12,
    };
    const failures = { failed: [2, 5], difference: null, p_value: 1, tolerance: 0.01, verdict: "not_enough" };
    return {
      operation: { service: "carts", name, kind: "server" },
      requests: [2059, 1551],
      own_time: time,
      duration: time,
      own_failures: failures,
      failures,
      verdict,
      sentence,
      exemplars: [exemplar, exemplar],
    };
  };
  const side = (name, requests) => ({ name, sample, requests, seconds: 60 });
  const edge = { from: "carts", to: "db.example:5432", to_kind: "database" };
  return {
    before: side("carts@1.0.0", 2059),
    after: side("carts@1.1.0", 1551),
    verdict: "worse",
    sentence: `1 operation became worse: carts GET /carts/{id}: its own time is 62 ms instead of 41 ms. ${HOSTILE}`,
    operations: [
      operation("GET /carts/{id}", "worse", 1.5, "It is worse."),
      operation(HOSTILE, "unchanged", 1.01, "It is unchanged."),
    ],
    calls: [
      {
        operation: { service: "carts", name: "GET /carts/{id}", kind: "server" },
        edge,
        call: "SELECT carts",
        per_request: [1, 10.2],
        requests: [2059, 1551],
        difference: estimate(9.2, 9, 9.4),
        p_value: 0,
        verdict: "worse",
        exemplar,
      },
    ],
    queries: [
      {
        edge,
        divergence: 0.2,
        p_value: 0,
        queries: [{ query: "SELECT carts", before: 0.5, after: 0.9 }],
      },
    ],
    new_operations: [
      { what: { service: "carts", name: "GET /new", kind: "server" }, count: 12, is_certain: true, exemplar },
    ],
    lost_operations: [],
    new_edges: [{ what: { ...edge, to: HOSTILE }, count: 3, is_certain: false, exemplar }],
    lost_edges: [],
    new_errors: [{ what: { service: "carts", error: "timeout" }, count: 31, is_certain: true, exemplar }],
    lost_errors: [],
    left_out: 0,
    omitted: 0,
  };
}

/** Answer of `analysis/deployments`. */
export function deployments(world) {
  const { sample } = report(world);
  return {
    sample,
    deployments: [
      {
        service: "carts",
        old_version: "1.0.0",
        new_version: "1.1.0",
        first_seen_unix_us: sample.window.start_unix_us,
        old_last_seen_unix_us: sample.window.end_unix_us,
        kind: "rolling",
        instances: 2,
        share_over_time: buckets((at) => (at < 30 ? 0 : Math.min(1, (at - 30) / 10))),
        comparison: comparison(world),
      },
      {
        service: "orders",
        old_version: HOSTILE,
        new_version: "2.0.0",
        first_seen_unix_us: sample.window.start_unix_us,
        old_last_seen_unix_us: sample.window.end_unix_us,
        kind: "together",
        instances: 0,
        share_over_time: buckets(() => null),
        comparison: null,
      },
    ],
    services_of_one_version: ["frontend"],
    services_of_too_many: ["builder"],
    left_out_services: 0,
    start_unix_us: sample.window.start_unix_us,
    bucket_us: 1_000_000,
  };
}

/** Answer of `analysis/dependencies`. */
export function dependencies(world) {
  const { sample } = report(world);
  const exemplar = shown(world);
  const dependency = (from, to, to_kind, calls, failed_calls, verdict) => ({
    edge: { from, to, to_kind },
    from_kind: "service",
    system: to_kind === "database" ? "postgresql" : null,
    calls,
    failed_calls,
    operations: ["GET /carts/{id}"],
    p50_ns: 12e6,
    p95_ns: 61e6,
    traces: calls,
    path_part: 0.41,
    failures: { requests: calls, with_failed_call: failed_calls, failed: failed_calls, verdict, failing: null },
    first_unix_us: sample.window.start_unix_us,
    last_unix_us: sample.window.end_unix_us,
    new_since_unix_us: to_kind === "peer" ? sample.window.start_unix_us : null,
    gone_since_unix_us: null,
    over_time: buckets((at) => at % 7),
    exemplar,
  });
  return {
    sample,
    rooted_traces: 208,
    edges: [
      dependency("frontend", "orders", "service", 2724, 191, "passes"),
      dependency("orders", "db.example:5432", "database", 900, 0, "never_failed"),
      dependency("orders", HOSTILE, "peer", 12, 2, "not_enough"),
    ],
    left_out: 2,
    omitted_calls: 0,
    parties: [],
    left_out_parties: 0,
    cycles: [{ services: ["orders", "frontend"], traces: 4, exemplar }],
    single_points: [
      {
        name: "orders",
        kind: "service",
        traces: 190,
        part: 0.9,
        instances: 1,
        failures: { requests: 9, with_failed_call: 9, failed: 9, verdict: "passes", failing: null },
        sentence: `90 % of the requests wait for orders; one instance of it was seen. ${HOSTILE}`,
      },
    ],
    start_unix_us: sample.window.start_unix_us,
    bucket_us: 1_000_000,
  };
}

/** Answer of `analysis/operations`. */
export function operations(world) {
  const { sample } = report(world);
  const operation = (service, name, requests, factor) => ({
    operation: { service, name, kind: "server" },
    requests,
    p50_ns: 12e6,
    p95_ns: 12e6 * factor,
    p99_ns: 20e6 * factor,
    spread: factor,
    path_ns: 9e9,
    lost_ns: requests * 6e5 * factor,
    is_enough: requests >= 400,
  });
  return {
    sample,
    operations: [
      operation("carts", "GET /carts/{id}", 4120, 5.2),
      operation("orders", HOSTILE, 517, 2.1),
      operation("cart", "GET /cart", 31, 1.4),
    ],
    omitted: 0,
  };
}

/** Answer of `analysis/slow`: little is known of any operation but `GET /carts/{id}`. */
export function slow(world, parameters) {
  const { sample } = report(world);
  const exemplar = shown(world);
  const operation = { service: parameters.get("service"), name: parameters.get("operation"), kind: "server" };
  const least_ns = Number(parameters.get("least_ns") ?? 48e6);
  const group = (requests, p50_ns) => ({
    requests,
    compared: requests,
    p50_ns,
    mean_ns: p50_ns,
    exemplars: requests > 0 ? [exemplar] : [],
  });
  const empty = { sample, operation, least_ns, summary: "", differences: [], tests: 0, parts: [], attributes_of: 0 };
  if (operation.name !== "GET /carts/{id}") {
    return {
      ...empty,
      too_little:
        "2 slow requests and 29 others are too few to tell a cause from chance: 20 of each are needed at least",
      slow: group(2, 20e6),
      rest: group(29, 12e6),
      no_attributes: null,
    };
  }
  const difference = (kind, sentence, effect, of_slow, of_rest, more = {}) => ({
    kind,
    sentence,
    effect,
    slow: of_slow,
    rest: of_rest,
    p_value: 1e-9,
    slow_requests: 206,
    rest_requests: 3000,
    operation: null,
    attribute: null,
    window: null,
    same: [],
    slow_exemplars: [exemplar],
    rest_exemplars: [exemplar],
    ...more,
  });
  const part = (kind, slow_ns, rest_ns, explained, more = {}) => ({
    kind,
    operation,
    asked: null,
    query: null,
    slow_ns,
    rest_ns,
    slow_p50_ns: slow_ns,
    rest_p50_ns: rest_ns,
    slow_requests: 206,
    rest_requests: 3000,
    explained,
    p_value: 1e-6,
    ...more,
  });
  return {
    ...empty,
    too_little: null,
    slow: group(206, 63e6),
    rest: group(3914, 12e6),
    summary: `Slow requests take 63 ms instead of 12 ms: 71 % of the difference is SELECT carts. ${HOSTILE}`,
    differences: [
      difference("attribute", "tenant.id is 17 in 92 % of the slow requests, 4 % of the rest.", 0.88, 0.92, 0.04, {
        attribute: { place: "request", key: "tenant.id", value: "17" },
        same: [`user.name=${HOSTILE}`],
        p_value: 0.004,
      }),
      difference("repeated_calls", `SELECT carts is called 10.4 times, 1 time by the rest. ${HOSTILE}`, 0.71, 10.4, 1),
      difference("bunched", "They come close together in time.", 0.3, 0.5, 0.2, { window: sample.window }),
    ],
    tests: 84,
    parts: [
      part("call", 36e6, 2e6, 0.67, {
        asked: { from: "carts", to: "db.example:5432", to_kind: "database" },
        query: "SELECT carts",
      }),
      part("own", 25e6, 8e6, 0.34),
      part("other", 1e6, 2e6, -0.01, { operation: null }),
    ],
    attributes_of: 400,
    no_attributes: null,
  };
}
