// Traces as the API answers them, made up but the same for the same seed: for work on the page, and for its tests.

/** Numbers from 0 to 1, always the same for one seed (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}

const WORDS = [
  "gateway",
  "checkout",
  "cart",
  "catalog",
  "search",
  "pricing",
  "stock",
  "orders",
  "payment",
  "shipping",
  "accounts",
  "sessions",
  "reviews",
  "images",
  "mail",
  "recommend",
  "coupons",
  "tax",
  "ledger",
  "fraud",
  "geo",
  "audit",
  "feeds",
  "profiles",
  "notify",
];
const PATHS = [
  "/api/orders/{id}",
  "/api/cart",
  "/items/{id}",
  "/v2/quote",
  "/search",
  "/users/{id}/addresses",
  "/health",
];
const METHODS = ["GET", "GET", "GET", "POST", "PUT"];
export const HOSTILE = [
  "<img src=x onerror=\"document.title='owned'\">",
  "</script><script>document.title='owned'</script>",
  "user\u202etxt.exe\u202c \u0000\u0007\u001b[31mred",
  "{{constructor.constructor('alert(1)')()}}",
];

/** Name of the service at a place: 25 words, then numbered. */
export function serviceName(place) {
  const word = WORDS[place % WORDS.length];
  return place < WORDS.length ? word : `${word}-${Math.floor(place / WORDS.length) + 1}`;
}

const hex = (next, digits) => Array.from({ length: digits }, () => Math.floor(next() * 16).toString(16)).join("");
const attribute = (key, value, kind = typeof value === "number" ? "int" : "string") => ({
  key,
  value: String(value),
  kind,
});

/**
 * A trace of `wanted` spans over `services` services.
 * `errors`: part of the calls that fail; `hostile`: text that a page must not believe.
 */
export function makeTrace({
  seed = 1,
  wanted = 30,
  services = 6,
  errors = 0.03,
  hostile = false,
  startUs = Date.now() * 1000 - 60e6,
  isMissing = false,
  hasSkew = false,
  isOutgoing = false,
  isCorrected = false,
  slow = 1,
}) {
  const next = random(seed);
  const spans = [];
  const used = new Map();
  const place = (name) => {
    if (!used.has(name)) used.set(name, used.size);
    return used.get(name);
  };
  const evidence = () => ["header", "unit", "goroutine", "context", "packet"][Math.floor(next() * 5)];

  function push(parent, service, name, kind, start) {
    const span = {
      span_id: hex(next, 16),
      parent_span_id: parent === null ? null : spans[parent].span_id,
      parent,
      depth: parent === null ? 0 : spans[parent].depth + 1,
      service: place(service),
      scope: "tracer 0.9.0",
      name,
      target: name,
      kind,
      start_ns: Math.round(start),
      duration_ns: 0,
      end_known: true,
      self_ns: 0,
      is_error: false,
      status_message: "",
      http_status: null,
      evidence: parent === null ? null : evidence(),
      likely: null,
      peer: null,
      network: null,
      critical: [],
      gaps: [],
      percentile: Math.round(next() * 1000) / 1000,
      compared_spans: 200 + Math.floor(next() * 4000),
      attributes: [],
      events: [],
      links: [],
      clock_skew_ns: null,
    };
    spans.push(span);
    return spans.length - 1;
  }

  /** A request served: its own work, calls one after another or at once. The answer is its end. */
  function serve(parent, serviceAt, start, budget, level) {
    const service = serviceName(serviceAt);
    const method = METHODS[Math.floor(next() * METHODS.length)];
    const path =
      hostile && next() < 0.3
        ? `/${HOSTILE[Math.floor(next() * HOSTILE.length)]}`
        : PATHS[Math.floor(next() * PATHS.length)];
    const at = push(parent, service, `${method} ${path}`, "server", start);
    const span = spans[at];
    span.attributes.push(
      attribute("http.request.method", method),
      attribute("url.path", path.replace("{id}", "4711")),
      attribute("server.port", 8080),
      attribute("network.protocol.version", "1.1"),
      attribute("user_agent.original", "okhttp/4.12.0"),
    );
    let now = start + (0.1 + next() * 0.8) * 1e6 * slow;
    let left = budget - 1;
    const wide = level === 0 ? Math.max(3, Math.ceil(Math.sqrt(budget) / 2)) : 2 + Math.floor(next() * 4);
    for (let i = 0; i < wide && left >= 1; i++) {
      const part = i === wide - 1 ? left : Math.max(1, Math.floor((left / (wide - i)) * (0.4 + next() * 1.2)));
      const given = Math.min(left, part);
      if (given === 1 || level > 14) {
        // A statement of a database: no server's span, for nobody sees into it.
        const query = push(at, service, "SELECT shop.items", "client", now);
        const statement =
          hostile && next() < 0.4 ? `SELECT '${HOSTILE[1]}'` : "SELECT id, name, price FROM items WHERE id = ?";
        spans[query].attributes.push(
          attribute("db.system.name", "postgresql"),
          attribute("db.query.text", statement),
          attribute("server.address", "10.0.3.7"),
          attribute("server.port", 5432),
        );
        spans[query].duration_ns = Math.round((0.2 + next() * 3) * 1e6 * slow);
        if (next() < 0.2)
          spans[query].gaps.push({
            start_ns: Math.round(now),
            end_ns: Math.round(now + spans[query].duration_ns * 0.4),
            name: "connection set-up",
          });
        now += spans[query].duration_ns + next() * 2e5;
        left -= 1;
        continue;
      }
      const isAtOnce = next() < 0.25;
      const end = call(at, (serviceAt * 3 + 1 + Math.floor(next() * services)) % services, now, given, level);
      left -= given;
      now = isAtOnce ? now + 2e5 : end + next() * 4e5 * slow;
    }
    const latest =
      Math.max(now, ...childrenOf(at).map((i) => spans[i].start_ns + spans[i].duration_ns)) +
      (0.1 + next() * 0.5) * 1e6 * slow;
    span.duration_ns = Math.round(latest - start);
    const fails = next() < errors;
    span.http_status = fails ? 500 : 200;
    span.attributes.push(attribute("http.response.status_code", span.http_status));
    if (fails) {
      span.is_error = true;
      span.status_message = hostile ? HOSTILE[0] : "upstream connect error or disconnect/reset before headers";
      span.attributes.push(attribute("error.type", "500"));
      span.events.push({
        time_ns: Math.round(latest - 1e5),
        name: "exception",
        attributes: [
          attribute("exception.type", "java.net.SocketTimeoutException"),
          attribute(
            "exception.stacktrace",
            "java.net.SocketTimeoutException: Read timed out\n\tat shop.Client.read(Client.java:88)\n\tat shop.Cart.load(Cart.java:41)",
          ),
        ],
      });
    }
    if (level === 0)
      span.gaps.push({
        start_ns: Math.round(latest - 3e5),
        end_ns: Math.round(latest),
        name: "waiting for the client",
      });
    return latest;
  }

  const childrenOf = (at) => {
    const found = [];
    for (let i = at + 1; i < spans.length; i++) if (spans[i].parent === at) found.push(i);
    return found;
  };

  function call(parent, serviceAt, now, budget, level) {
    const from = spans[parent];
    const caller = [...used.keys()][from.service];
    const client = push(parent, caller, "GET", "client", now);
    spans[client].target = `GET ${serviceName(serviceAt)}:8080`;
    spans[client].attributes.push(
      attribute("http.request.method", "GET"),
      attribute("server.address", serviceName(serviceAt)),
      attribute("url.full", `http://${serviceName(serviceAt)}:8080/x?id=${Math.floor(next() * 1000)}`),
    );
    if (next() < 0.08) spans[client].likely = 0.5 + Math.round(next() * 45) / 100;
    const there = (0.05 + next() * 0.6) * 1e6;
    const back = (0.05 + next() * 0.3) * 1e6;
    const end =
      budget > 1 ? serve(client, serviceAt, now + there, budget - 1, level + 1) : now + 1e6 * (1 + next() * 3);
    const span = spans[client];
    span.duration_ns = Math.round(end + back - now);
    if (budget > 1) {
      const server = client + 1;
      span.peer = server;
      spans[server].peer = client;
      span.network = { request_ns: Math.round(there), response_ns: Math.round(back) };
      span.http_status = spans[server].http_status;
      span.is_error = spans[server].is_error;
      spans[server].evidence = "header";
      span.gaps.push(
        { start_ns: span.start_ns, end_ns: Math.round(now + there), name: "network" },
        { start_ns: Math.round(end), end_ns: span.start_ns + span.duration_ns, name: "network" },
      );
    }
    return end + back;
  }

  serve(null, 0, 0, wanted, 0);
  const duration = Math.max(...spans.map((span) => span.start_ns + span.duration_ns));
  const byParent = new Map();
  spans.forEach((span, i) => {
    if (span.parent !== null) byParent.set(span.parent, [...(byParent.get(span.parent) ?? []), i]);
  });
  spans.forEach(
    (span, i) =>
      (span.self_ns = ownTime(
        span,
        (byParent.get(i) ?? []).map((child) => spans[child]),
      )),
  );
  critical(spans, byParent, 0, duration);

  const notes = [];
  if (isMissing && spans.length > 4) {
    const lost = spans.findIndex((span, i) => i > 2 && span.kind === "server");
    if (lost > 0) {
      uproot(spans, lost);
      notes.push(
        "1 span names a parent that is not in this trace: it is drawn as a root. Its service may not be traced, or its spans may still be on their way.",
      );
    }
  }
  if (hasSkew && spans.length > 4) {
    const skewed = spans.find((span, i) => i > 3 && span.kind === "server");
    if (skewed) {
      skewed.clock_skew_ns = 4_200_000;
      notes.push(
        "The clock of one service differs from its caller's by about 4.2 ms. Its spans are drawn as they were told.",
      );
    }
  }
  if (isOutgoing) spans[0].kind = "client";
  if (isCorrected) {
    const shifted = spans.findIndex((span, i) => i > 1 && span.kind === "server");
    for (let i = shifted; i > 0 && i < spans.length && (i === shifted || spans[i].depth > spans[shifted].depth); i++)
      spans[i].clock_shift_ns = 700_000_000;
    if (shifted > 0)
      spans[shifted].clock_evidence =
        "Its clock was 700 ms behind its caller's: it would have answered before it was asked.";
  }
  if (hostile) {
    spans[0].attributes.push(
      attribute("http.request.header.x-evil", HOSTILE.join(" ")),
      attribute("big", "0123456789abcdef".repeat(65536)),
      attribute(HOSTILE[0], "key"),
    );
    spans[0].events.push({ time_ns: 1000, name: HOSTILE[0], attributes: [] });
  }
  spans[0].links.push({
    trace_id: hex(next, 32),
    span_id: hex(next, 16),
    is_stored: false,
    attributes: [
      attribute("tracer.link.probability", "0.83", "double"),
      attribute("tracer.link.evidence", "sole-request"),
    ],
  });

  const names = [...used.keys()];
  const shares = names.map((service, at) => {
    const own = spans.filter((span) => span.service === at);
    return {
      service: hostile && at === 1 ? HOSTILE[0] : service,
      spans: own.length,
      self_ns: own.reduce((sum, span) => sum + span.self_ns, 0),
      errors: own.filter((span) => span.is_error).length,
    };
  });
  const summary = {
    trace_id: hex(next, 32),
    root_service: names[0],
    root_name: spans[0].name,
    root_target: spans[0].target,
    has_root: true,
    root_kind: spans[0].kind,
    start_unix_us: Math.round(startUs),
    duration_ns: duration,
    spans: spans.length,
    errors: spans.filter((span) => span.is_error).length,
    http_status: spans[0].http_status,
    services: [...shares].sort((a, b) => b.self_ns - a.self_ns),
    matched_span_id: null,
  };
  return {
    summary,
    omitted_spans: 0,
    notes,
    spans,
    services: names.map((name, at) => ({
      name: hostile && at === 1 ? HOSTILE[0] : name,
      scope: "tracer 0.9.0",
      attributes: [
        attribute("service.name", name),
        attribute("service.instance.id", hex(next, 8)),
        attribute("host.name", "node-7"),
        attribute("process.pid", 4000 + at),
        attribute("telemetry.sdk.name", "tracer"),
      ],
    })),
  };
}

/** Takes the parent of a span away: it and what is below it come last, as a root. */
function uproot(spans, at) {
  let end = at + 1;
  while (end < spans.length && spans[end].depth > spans[at].depth) end++;
  const depth = spans[at].depth;
  const order = spans.map((_, i) => i);
  const moved = order.splice(at, end - at);
  order.push(...moved);
  const placeOf = new Map(order.map((old, now) => [old, now]));
  const copy = order.map((old) => spans[old]);
  for (const span of copy) {
    if (span.parent !== null) span.parent = placeOf.get(span.parent);
    if (span.peer !== null) span.peer = placeOf.get(span.peer);
  }
  for (const old of moved) spans[old].depth -= depth;
  spans[at].parent = null;
  spans[at].parent_span_id = "00000000deadbeef";
  spans.splice(0, spans.length, ...copy);
}

function ownTime(span, children) {
  let covered = 0;
  let until = span.start_ns;
  const end = span.start_ns + span.duration_ns;
  for (const child of [...children].sort((a, b) => a.start_ns - b.start_ns)) {
    const from = Math.max(until, child.start_ns);
    const to = Math.min(end, child.start_ns + child.duration_ns);
    if (to > from) covered += to - from;
    until = Math.max(until, to);
  }
  return span.duration_ns - covered;
}

/** Backwards from the end: the child that ended last is what was waited for. */
function critical(spans, byParent, at, end) {
  const span = spans[at];
  let now = Math.min(end, span.start_ns + span.duration_ns);
  const children = [...(byParent.get(at) ?? [])].sort((a, b) => ends(spans[b]) - ends(spans[a]));
  for (const child of children) {
    if (now <= span.start_ns) break;
    const childEnd = Math.min(ends(spans[child]), now);
    if (spans[child].start_ns >= now || ends(spans[child]) > now) continue;
    if (childEnd < now) span.critical.push({ start_ns: childEnd, end_ns: now });
    critical(spans, byParent, child, childEnd);
    now = spans[child].start_ns;
  }
  if (now > span.start_ns) span.critical.push({ start_ns: span.start_ns, end_ns: now });
  span.critical.reverse();
}

const ends = (span) => span.start_ns + span.duration_ns;
