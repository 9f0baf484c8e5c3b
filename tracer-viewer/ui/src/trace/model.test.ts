import { expect, test } from "vitest";
import type { TraceAnswer, TraceSpan } from "../api/types";
import { asSent, isCorrected } from "./clocks";
import { find } from "./find";
import { lanesOf } from "./lanes";
import { ticks } from "./ticks";
import { sorted, totals } from "./totals";
import { ancestors, openRows, rowOf, treeOf } from "./tree";
import { callersErrorWords, linkWords, otherLinkWords, slowLabel } from "./words";

function span(over: Partial<TraceSpan>): TraceSpan {
  return {
    span_id: "0",
    parent_span_id: null,
    parent: null,
    depth: 0,
    service: 0,
    scope: "",
    name: "GET /",
    target: "GET /",
    kind: "server",
    start_ns: 0,
    duration_ns: 10,
    end_known: true,
    self_ns: 10,
    is_error: false,
    status_message: "",
    http_status: null,
    evidence: null,
    likely: null,
    peer: null,
    network: null,
    critical: [],
    gaps: [],
    percentile: null,
    compared_spans: 0,
    attributes: [],
    events: [],
    links: [],
    clock_skew_ns: null,
    ...over,
  };
}

/** a ─ b ─ c(error), a ─ d, and a second root e. */
const SPANS = [
  span({ span_id: "a", duration_ns: 100, self_ns: 20 }),
  span({
    span_id: "b",
    parent: 0,
    parent_span_id: "a",
    depth: 1,
    start_ns: 10,
    duration_ns: 40,
    self_ns: 10,
    name: "call",
    evidence: "unit",
  }),
  span({
    span_id: "c",
    parent: 1,
    parent_span_id: "b",
    depth: 2,
    start_ns: 20,
    duration_ns: 30,
    self_ns: 30,
    service: 1,
    is_error: true,
    critical: [{ start_ns: 20, end_ns: 25 }],
  }),
  span({
    span_id: "d",
    parent: 0,
    parent_span_id: "a",
    depth: 1,
    start_ns: 30,
    duration_ns: 30,
    self_ns: 30,
    likely: 0.8,
    evidence: "sole-request",
  }),
  span({ span_id: "e", start_ns: 200, parent_span_id: "gone" }),
];
const TRACE = {
  services: [
    { name: "cart", attributes: [{ key: "host.name", value: "Node-7", kind: "string" }], scope: "" },
    { name: "stock", attributes: [], scope: "" },
  ],
  spans: SPANS,
} as unknown as TraceAnswer;

test("a tree knows its ends, children, siblings and the errors below", () => {
  const tree = treeOf(SPANS);
  expect([...tree.end]).toEqual([4, 3, 3, 4, 5]);
  expect([...tree.children]).toEqual([2, 1, 0, 0, 0]);
  expect([...tree.errorsBelow]).toEqual([1, 1, 0, 0, 0]);
  expect([...tree.position]).toEqual([1, 1, 1, 2, 2]);
  expect([...tree.siblings]).toEqual([2, 2, 1, 2, 2]);
  expect(tree.levels).toBe(3);
});

test("a parent that stands behind its child does not break the tree", () => {
  const tree = treeOf([span({ parent: 1 }), span({ parent: 0, depth: 1 })]);
  expect([...openRows(tree, () => false)]).toEqual([0, 1]);
});

test("what is below a closed span is not shown", () => {
  const tree = treeOf(SPANS);
  const rows = openRows(tree, (at) => at === 1);
  expect([...rows]).toEqual([0, 1, 3, 4]);
  expect(rowOf(rows, 3)).toBe(2);
  expect(rowOf(rows, 2)).toBe(-1);
  expect(ancestors(SPANS, 2)).toEqual([0, 1]);
});

test("spans of the same time lie in different lanes, those after one another in the same", () => {
  const { lane, count } = lanesOf(SPANS);
  expect([...lane]).toEqual([0, 1, 2, 3, 0]);
  expect(count).toBe(4);
});

test("spans are found by words, attributes of resources and fields", () => {
  expect([...find(TRACE, "stock")]).toEqual([2]);
  expect([...find(TRACE, "host.name=node-7 call")]).toEqual([1]);
  expect([...find(TRACE, "error")]).toEqual([2]);
  expect([...find(TRACE, 'service:cart operation:"get /"')]).toEqual([0, 3, 4]);
  expect([...find(TRACE, "  ")]).toEqual([]);
});

test("totals add time by service and operation", () => {
  const rows = totals(TRACE, true);
  expect(rows.map((row) => [row.service, row.operation, row.spans, row.self_ns, row.critical_ns, row.errors])).toEqual([
    ["cart", "GET /", 3, 60, 0, 0],
    ["stock", "GET /", 1, 30, 5, 1],
    ["cart", "call", 1, 10, 0, 0],
  ]);
  expect(sorted(rows, "errors")[0]?.service).toBe("stock");
});

test("each link has a label, and a guess says that it is one", () => {
  const kinds = SPANS.map(linkWords).map((words) => [words.kind, words.label]);
  expect(kinds).toEqual([
    ["root", "root"],
    ["sure", "unit"],
    ["sure", "by the program"],
    ["likely", "sole-request 80.0 %"],
    ["missing", "parent missing"],
  ]);
});

test("only spans that were compared with enough others are called slow", () => {
  expect(slowLabel(span({ percentile: 0.995, compared_spans: 500 }))).toBe("p99");
  expect(slowLabel(span({ percentile: 0.995, compared_spans: 5 }))).toBe("");
});

test("marks of the ruler are round and in one unit", () => {
  expect(ticks(0, 10_000_000, 5).map((tick) => tick.label)).toEqual(["0 ms", "2 ms", "4 ms", "6 ms", "8 ms", "10 ms"]);
  expect(ticks(1_000_000, 1_004_000, 4).map((tick) => tick.label)).toEqual([
    "1,000 µs",
    "1,001 µs",
    "1,002 µs",
    "1,003 µs",
    "1,004 µs",
  ]);
});

test("times as they were sent are counted from the earliest of them", () => {
  const corrected = {
    summary: { start_unix_us: 1000, duration_ns: 100 },
    spans: [
      span({ start_ns: 0, duration_ns: 100 }),
      span({
        start_ns: 40,
        duration_ns: 20,
        clock_shift_ns: 3040,
        gaps: [{ start_ns: 45, end_ns: 50, name: "network" }],
        critical: [{ start_ns: 40, end_ns: 60 }],
      }),
    ],
  } as unknown as TraceAnswer;
  expect(isCorrected(corrected)).toBe(true);
  const sent = asSent(corrected);
  expect(sent.spans.map((one) => one.start_ns)).toEqual([3000, 0]);
  expect(sent.spans[1]?.gaps[0]).toMatchObject({ start_ns: 5, end_ns: 10 });
  expect(sent.spans[1]?.critical).toEqual([{ start_ns: 0, end_ns: 20 }]);
  expect([sent.summary.start_unix_us, sent.summary.duration_ns]).toEqual([997, 3100]);
  const right = { ...corrected, spans: [span({})] };
  expect(asSent(right)).toBe(right);
});

test("a link with a probability is a guess, one without is not", () => {
  const link = (attributes: Record<string, string>) => ({
    trace_id: "0",
    span_id: "0",
    is_stored: false,
    attributes: Object.entries(attributes).map(([key, value]) => ({ key, value, kind: "string" })),
  });
  const guess = otherLinkWords(link({ "tracer.link.probability": "0.5", "tracer.link.evidence": "sole-request" }));
  expect(guess.isGuess).toBe(true);
  expect(guess.sentence).toContain("50.0 %. The parent was the only request under way.");
  expect(otherLinkWords(link({})).isGuess).toBe(false);
});

test("an answer 4xx is explained at both ends of the call, and nothing else is", () => {
  const words = (over: Partial<TraceSpan>) => callersErrorWords(span(over)) ?? "";
  expect(words({ kind: "client", is_error: true, http_status: 404 })).toContain(
    "the span of the called service has none",
  );
  expect(words({ kind: "server", is_error: false, http_status: 404 })).toContain("the span of its caller has one");
  expect(words({ kind: "client", is_error: true, http_status: 503 })).toBe("");
  expect(words({ kind: "server", is_error: true, http_status: 404 })).toBe("");
  expect(words({ kind: "client", is_error: true, http_status: null })).toBe("");
});
