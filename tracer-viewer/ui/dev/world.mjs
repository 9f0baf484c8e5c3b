// What a viewer would hold and answer, made of generated traces.

import { HOSTILE, makeTrace, random, serviceName } from "./generate.mjs";

const HOUR_US = 3_600_000_000;

/** A viewer with traces over the last hour. `size`: `empty`, `small` or `full`; `services`: 5 to 100. */
export class World {
  constructor({ services = 12, traces = 200, nowUs = Date.now() * 1000 } = {}) {
    this.services = services;
    this.nowUs = nowUs;
    this.traces = new Map();
    this.received = 0;
    for (let i = 0; i < traces; i++) {
      const next = random(i + 77);
      this.add(
        makeTrace({
          seed: i + 1,
          wanted: 3 + Math.floor(next() ** 3 * 60),
          services,
          slow: next() < 0.1 ? 8 : 0.5 + next(),
          errors: 0.02,
          startUs: nowUs - next() * HOUR_US,
        }),
      );
    }
    if (traces > 0) {
      this.fixed = {
        three: this.add(makeTrace({ seed: 9001, wanted: 3, services: 2, errors: 0, startUs: nowUs - 50e6 })),
        middle: this.add(
          makeTrace({ seed: 9002, wanted: 300, services: 12, isMissing: true, hasSkew: true, startUs: nowUs - 40e6 }),
        ),
        large: this.add(makeTrace({ seed: 9003, wanted: 5000, services: 25, startUs: nowUs - 30e6 })),
        hostile: this.add(
          makeTrace({ seed: 9004, wanted: 40, services: 6, hostile: true, errors: 0.2, startUs: nowUs - 20e6 }),
        ),
        before: this.add(makeTrace({ seed: 9005, wanted: 30, services: 6, errors: 0, startUs: nowUs - 900e6 })),
        outgoing: this.add(
          makeTrace({ seed: 9007, wanted: 12, services: 4, errors: 0, isOutgoing: true, startUs: nowUs - 5e6 }),
        ),
        corrected: this.add(
          makeTrace({ seed: 9008, wanted: 12, services: 4, errors: 0, isCorrected: true, startUs: nowUs - 4e6 }),
        ),
        after: this.add(makeTrace({ seed: 9006, wanted: 44, services: 6, errors: 0, slow: 3, startUs: nowUs - 10e6 })),
      };
    }
  }

  add(trace) {
    this.traces.set(trace.summary.trace_id, trace);
    this.received += trace.spans.length;
    return trace.summary.trace_id;
  }

  /** A trace of 50,000 spans, the most that a page shows; the answer is its id. */
  huge() {
    return this.add(makeTrace({ seed: 9010, wanted: 50_000, services: 25, startUs: this.nowUs - 60e6 }));
  }

  fresh(seed) {
    const trace = makeTrace({ seed, wanted: 3 + (seed % 20), services: this.services, startUs: Date.now() * 1000 });
    this.add(trace);
    return trace.summary;
  }

  found({ q, start, end }) {
    const sides = sidesOf(q);
    return [...this.traces.values()].filter((trace) => {
      const { summary } = trace;
      if (start !== null && summary.start_unix_us < start) return false;
      if (end !== null && summary.start_unix_us > end) return false;
      return sides.some((side) => side.every((term) => meets(trace, term)));
    });
  }

  search({ q, start, end, limit, order }) {
    const found = this.found({ q, start, end });
    const key = { newest: "start_unix_us", slowest: "duration_ns", errors: "errors", spans: "spans" }[order];
    found.sort((a, b) => b.summary[key] - a.summary[key]);
    return {
      traces: found.slice(0, limit).map((trace) => trace.summary),
      has_more: found.length > limit,
      examined_spans: this.received,
      incomplete: null,
      empty_terms:
        found.length > 0
          ? []
          : sidesOf(q)
              .flat()
              .filter((term) => ![...this.traces.values()].some((trace) => meets(trace, term))),
    };
  }

  heatmap({ q, start, end, columns, rows }) {
    const from = start ?? this.nowUs - HOUR_US;
    const width = Math.max(1, Math.ceil(((end ?? Date.now() * 1000) - from) / columns));
    const row_ns = Array.from({ length: rows }, (_, i) => Math.round(1e5 * 1.5 ** i));
    const cells = new Map();
    const spans = this.found({ q, start, end }).flatMap((trace) =>
      trace.spans.map((span) => ({ ...span, start_us: trace.summary.start_unix_us + span.start_ns / 1000 })),
    );
    for (const span of spans) {
      const column = Math.floor((span.start_us - from) / width);
      if (column < 0 || column >= columns) continue;
      let row = 0;
      while (row + 1 < rows && row_ns[row + 1] <= span.duration_ns) row++;
      const cell = cells.get(`${column}/${row}`) ?? { column, row, count: 0, errors: 0 };
      cell.count++;
      if (span.is_error) cell.errors++;
      cells.set(`${column}/${row}`, cell);
    }
    return {
      start_unix_us: Math.round(from),
      column_us: width,
      columns,
      row_ns,
      cells: [...cells.values()],
      incomplete: null,
    };
  }

  window({ start, end }) {
    return {
      start_unix_us: Math.round(start ?? this.nowUs - HOUR_US),
      end_unix_us: Math.round(end ?? Date.now() * 1000),
    };
  }

  serviceRow(place) {
    const next = random(place + 5);
    return {
      service: serviceName(place),
      red: red(next),
      sparkline: Array.from({ length: 30 }, (_, i) => Math.max(0, 5 + 3 * Math.sin(i / 4 + place) + next() * 2)),
    };
  }

  servicesAnswer(bounds) {
    const rows =
      this.traces.size === 0 ? [] : Array.from({ length: this.services }, (_, place) => this.serviceRow(place));
    return { window: this.window(bounds), services: rows.sort((a, b) => (a.service < b.service ? -1 : 1)) };
  }

  serviceAnswer(name, bounds) {
    const place = Array.from({ length: this.services }, (_, i) => serviceName(i)).indexOf(name);
    if (place < 0) return null;
    const next = random(place + 50);
    const window = this.window(bounds);
    const columns = 60;
    return {
      window,
      service: this.serviceRow(place),
      operations: ["GET /api/orders/{id}", "POST /api/cart", "GET /items/{id}", "SELECT shop.items", "GET"].map(
        (name, i) => ({ name, kind: i < 3 ? "server" : "client", red: red(next), self_ns: Math.round(next() * 4e10) }),
      ),
      series: {
        start_unix_us: window.start_unix_us,
        column_us: Math.round((window.end_unix_us - window.start_unix_us) / columns),
        columns: Array.from({ length: columns }, (_, i) => red(next, 1 + 0.4 * Math.sin(i / 9))),
      },
    };
  }

  map(bounds, compare) {
    const nodes = [];
    const edges = [];
    const window = this.window(bounds);
    const before = compare
      ? { start_unix_us: 2 * window.start_unix_us - window.end_unix_us, end_unix_us: window.start_unix_us }
      : null;
    const node = (name, kind, system, place) => {
      const next = random(place * 3 + 1);
      nodes.push({
        id: `${kind}:${name}`,
        name,
        kind,
        system,
        red: red(next),
        before: compare ? red(next) : null,
        change: compare && place % 11 === 4 ? "slower" : null,
      });
    };
    if (this.traces.size === 0) return { window, before, nodes, edges };
    const edge = (from, to, place) => {
      const next = random(place + 700);
      const change = compare ? ({ 3: "new", 9: "lost", 14: "more-errors", 20: "slower" }[place % 25] ?? null) : null;
      edges.push({
        from,
        to,
        red: red(next, 2 ** (place % 8) / 8),
        before: compare && change !== "new" ? red(next) : null,
        change,
      });
    };
    node("outside", "outside", null, 500);
    let edgeAt = 0;
    for (let i = 0; i < this.services; i++) node(serviceName(i), "service", null, i);
    edge("outside:outside", "service:gateway", edgeAt++);
    for (let i = 1; i < this.services; i++) {
      edge(`service:${serviceName(Math.floor((i - 1) / 3))}`, `service:${serviceName(i)}`, edgeAt++);
      if (i % 4 === 0 && i > 6) edge(`service:${serviceName(i - 5)}`, `service:${serviceName(i)}`, edgeAt++);
    }
    node("10.0.3.7:5432", "database", "postgresql", 300);
    node("10.0.3.9:6379", "database", "redis", 301);
    node("orders-topic", "broker", "kafka", 302);
    node("api.stripe.example:443", "peer", null, 303);
    for (let i = 1; i < this.services; i += 4) edge(`service:${serviceName(i)}`, "database:10.0.3.7:5432", edgeAt++);
    for (let i = 2; i < this.services; i += 6) edge(`service:${serviceName(i)}`, "database:10.0.3.9:6379", edgeAt++);
    edge(`service:${serviceName(2)}`, "broker:orders-topic", edgeAt++);
    edge("broker:orders-topic", `service:${serviceName(this.services - 1)}`, edgeAt++);
    edge(`service:${serviceName(this.services - 1)}`, "peer:api.stripe.example:443", edgeAt++);
    return { window, before, nodes, edges };
  }

  complete(q, at) {
    let from = at;
    while (from > 0 && !/\s/.test(q[from - 1])) from--;
    const word = q.slice(from, at);
    const all = [
      "service:",
      "status:error",
      "duration>",
      "kind:server",
      "http.request.method=",
      "http.response.status_code=",
      "db.system.name=",
      "url.path=",
    ];
    const values = word.startsWith("service:")
      ? Array.from({ length: this.services }, (_, i) => `service:${serviceName(i)}`)
      : all;
    return {
      from,
      to: at,
      suggestions: values
        .filter((text) => text.startsWith(word) && text !== word)
        .slice(0, 12)
        .map((text) => ({ text, kind: /[=:]$/.test(text) ? "key" : "value", detail: "1,204 spans" })),
    };
  }

  status() {
    const isEmpty = this.traces.size === 0;
    return {
      version: "0.9.0",
      source: { kind: "otlp", names: ["127.0.0.1:4317 (gRPC)", "127.0.0.1:4318 (HTTP)"] },
      store: {
        spans: this.received,
        traces: this.traces.size,
        bytes: this.received * 310,
        max_bytes: 268_435_456,
        oldest_unix_us: isEmpty ? 0 : Math.round(this.nowUs - HOUR_US),
        received_spans: this.received + 1200,
        evicted_spans: isEmpty ? 0 : 1200,
        evicted_traces: isEmpty ? 0 : 40,
        revived_traces: 0,
        unwritten_spans: 0,
        cut_bytes: 0,
        refused: isEmpty ? [] : [{ reason: "the span has no valid trace id", spans: 3 }],
        directory: null,
        problem: null,
      },
      hints: isEmpty
        ? [
            "Send OTLP to http://127.0.0.1:4318 (HTTP) or 127.0.0.1:4317 (gRPC).",
            "Try: OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 python3 app.py",
            "Or run a service under the agent: sudo tracer run --view -- ./service",
          ]
        : [],
    };
  }

  agent() {
    if (this.traces.size === 0)
      return { is_here: false, processes: [], selectors: [], cost: null, losses: [], abilities: [] };
    const ability = (name, verdict, detail, why, remedy) => ({
      name,
      is_there: verdict === "ok",
      verdict,
      detail,
      why,
      remedy,
    });
    const line = (name, count, meaning, remedy) => ({ name, count, meaning, remedy });
    const process = (pid, service, program, works_by, losses) => ({
      pid,
      service,
      program,
      ports: [8080],
      works_by,
      server_requests: pid * 3,
      client_requests: pid * 2,
      linked: Math.round(pid * 4.9),
      injected: pid,
      losses,
    });
    return {
      is_here: true,
      processes: [
        process(4001, "gateway", "/usr/bin/envoy", "threads", []),
        process(4002, "checkout", "/srv/checkout", "goroutines", [
          line(
            "selected_late",
            2,
            "Requests were under way before the process was selected.",
            "Select by exact path: then the kernel sees it from its first request.",
          ),
        ]),
        process(4003, "cart", "/usr/bin/java", "tasks", [
          line(
            "links.earlier",
            41,
            "calls without a parent: the request in flight was answered, or they may be for an earlier one",
            "",
          ),
        ]),
        process(4004, HOSTILE[0], "/usr/bin/python3", "event loop", []),
      ],
      selectors: ["--port 8080", "--exe /srv/*"],
      cost: { cpu: 0.034, memory_bytes: 31_457_280, events_per_second: 18_200, ns_per_event: 1870 },
      losses: [
        line(
          "ring_full",
          12,
          "Events were lost because the ring of the kernel was full.",
          "Enlarge it: --ring-size 64MiB.",
        ),
      ],
      abilities: [
        ability("kernel", "ok", "6.6.12", "every part of the agent", ""),
        ability("privileges", "ok", "CAP_BPF, CAP_PERFMON", "loading the kernel programs", ""),
        ability("type information", "ok", "/sys/kernel/btf/vmlinux", "reading the kernel's structures", ""),
        ability("BPF JIT", "ok", "on", "programs that cost little", ""),
        ability("lockdown", "ok", "none", "reading the memory of processes", ""),
        ability("process ids", "ok", "of the host", "telling processes apart", ""),
        ability("ring", "ok", "16 MiB", "taking events from the kernel", ""),
        ability("Go programs", "ok", "uprobes", "linking calls of goroutines", ""),
        ability("Node", "less", "uprobe_multi is missing", "linking calls of callbacks", "Use Linux 6.6 or later."),
        ability(
          "trace headers",
          "missing",
          "CAP_NET_ADMIN is missing",
          "adding trace headers to calls",
          "Start the agent with CAP_NET_ADMIN, or as root.",
        ),
      ],
    };
  }
}

/** The terms of each side of OR. */
function sidesOf(q) {
  const sides = [[]];
  for (const term of q.match(/(?:[^\s"]|"(?:\\.|[^"])*")+/g) ?? []) {
    if (term === "OR") sides.push([]);
    else sides.at(-1).push(term.replaceAll('"', ""));
  }
  return sides;
}

function meets(trace, term) {
  const not = term.startsWith("-");
  const text = not ? term.slice(1) : term;
  const [, key, operator, value] = /^([\w.-]+)(!=|>=|<=|=|>|<|:)(.*)$/.exec(text) ?? [];
  let yes;
  if (key === "service") yes = trace.services.some((service) => service.name === value);
  else if (key === "operation") yes = trace.spans.some((span) => span.name === value);
  else if (key === "status") yes = trace.summary.errors > 0 === (value === "error");
  else if (key === "duration") yes = compare(trace.summary.duration_ns, operator, nanoseconds(value));
  else if (key === undefined) yes = trace.spans.some((span) => span.name.includes(text));
  else
    yes = trace.spans.some(
      (span) => span[key] === value || span.attributes.some((a) => a.key === key && a.value === value),
    );
  return (yes && operator !== "!=") !== not;
}

function compare(one, operator, other) {
  return operator === ">"
    ? one > other
    : operator === ">="
      ? one >= other
      : operator === "<"
        ? one < other
        : one <= other;
}

function nanoseconds(text) {
  const [, value, unit] = /^([\d.]+)(ns|us|µs|ms|s)?$/.exec(text) ?? [, "0", "ns"];
  return Number(value) * ({ ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9 }[unit] ?? 1);
}

function red(next, factor = 1) {
  const p50 = Math.round((1 + next() * 9) * 1e6);
  const count = Math.round((500 + next() * 4000) * factor);
  return {
    count,
    rate: count / 360,
    errors: next() < 0.5 ? 0 : Math.round(count * next() * 0.05),
    p50_ns: p50,
    p95_ns: Math.round(p50 * (2 + next() * 3)),
    p99_ns: Math.round(p50 * (6 + next() * 8)),
  };
}
