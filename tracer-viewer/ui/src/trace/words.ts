import type { SpanLink, TraceSpan } from "../api/types";
import { duration, percent } from "../text/numbers";
import { short } from "../text/visible";

/** How the parent of a span is known, in words. Every link has a label: a reader must see what is sure and what is not. */
export interface LinkWords {
  /** For the row: one word or two. */
  label: string;
  /** For the details: a sentence. */
  sentence: string;
  kind: "root" | "sure" | "likely" | "missing";
}

const EVIDENCE: Record<string, string> = {
  header: "The request carried the parent's id in a trace header.",
  packet: "Another agent wrote the parent's id into a packet of the connection.",
  wire: "Both ends of the connection were seen: the same bytes left one and reached the other.",
  "forwarded-header": "A proxy passed the parent's trace header on.",
  context: "The parent's context was found in the process.",
  goroutine: "The request was sent by the goroutine that served the parent.",
  "goroutine-child": "The request was sent by a goroutine that the parent's goroutine had started.",
  task: "The request was sent by the task that served the parent.",
  "event-loop": "The event loop ran the parent's callback when the request was sent.",
  "request-structure": "Both requests hang on one structure of the server.",
  unit: "The request was sent by the thread that served the parent.",
  "virtual-thread": "The request was sent by the virtual thread that served the parent.",
  proxy: "The proxy's two ends of one request were paired.",
  "sole-request": "The parent was the only request under way.",
  message: "The message carried the parent's id.",
};

/** A link to another span as a sentence: how sure it is, and why. */
export function otherLinkWords(link: SpanLink): { sentence: string; isGuess: boolean } {
  const of = (key: string) => link.attributes.find((attribute) => attribute.key === key)?.value;
  const evidence = of("tracer.link.evidence");
  const how = evidence === undefined ? "" : ` ${EVIDENCE[evidence] ?? `Evidence: ${evidence}.`}`;
  const probability = Number(of("tracer.link.probability") ?? NaN);
  if (Number.isFinite(probability))
    return {
      sentence: `A guess, so it is no parent: that span is its cause with a probability of ${percent(probability)}.${how}`,
      isGuess: true,
    };
  if (evidence !== undefined) return { sentence: `That span belongs to it.${how}`, isGuess: false };
  return { sentence: "The program itself named that span as one that belongs to it.", isGuess: false };
}

export function linkWords(span: TraceSpan): LinkWords {
  const parentId = span.parent_span_id ?? null;
  if (parentId === null) return { label: "root", sentence: "A root: it has no parent.", kind: "root" };
  const evidence = span.evidence ?? null;
  const known = evidence === null ? undefined : EVIDENCE[evidence];
  const how =
    evidence === null
      ? `The program itself named its parent${span.scope ? ` (recorded by ${span.scope})` : ""}.`
      : (known ?? `Evidence: ${evidence}.`);
  if ((span.parent ?? null) === null) {
    return {
      label: "parent missing",
      sentence: `Its parent ${parentId} is not in this trace. ${how}`,
      kind: "missing",
    };
  }
  const likely = span.likely ?? null;
  if (likely !== null) {
    const label = evidence === null ? "likely" : evidence;
    return {
      label: `${label} ${percent(likely)}`,
      sentence: `Likely, not certain: ${percent(likely)}. ${how}`,
      kind: "likely",
    };
  }
  return { label: evidence ?? "by the program", sentence: how, kind: "sure" };
}

/** Why an answer 4xx is an error at one end of a call and none at the other. */
export const CALLERS_ERROR =
  "OpenTelemetry counts an answer 4xx as an error of the one who called, not of the service that answered.";

/** What is to be known of a span whose answer is an error at the other end of the call alone; null if it is not so. */
export function callersErrorWords(span: TraceSpan): string | null {
  const status = span.http_status ?? 0;
  if (status < 400 || status > 499) return null;
  if (span.kind === "client" && span.is_error)
    return `${CALLERS_ERROR} So this call has an error, and the span of the called service has none.`;
  if (span.kind === "server" && !span.is_error)
    return `${CALLERS_ERROR} So this span has no error, and the span of its caller has one.`;
  return null;
}

/** Place of a span in the distribution of its operation, in words; null if it was compared with nothing. */
export function percentileWords(span: TraceSpan): string | null {
  const part = span.percentile ?? null;
  if (part === null || span.compared_spans < 2) return null;
  return `It took longer than ${percent(part)} of ${span.compared_spans.toLocaleString("en-US")} spans of this operation.`;
}

/** `p99` and the like if a span is among the slow ones of its operation; else empty. */
export function slowLabel(span: TraceSpan): string {
  const part = span.percentile ?? null;
  if (part === null || span.compared_spans < 20 || part < 0.95) return "";
  return part >= 0.999 ? "p99.9" : part >= 0.99 ? "p99" : "p95";
}

/** Time of a span on the critical path of its trace. */
export function criticalTime(span: TraceSpan): number {
  return span.critical.reduce((sum, stretch) => sum + stretch.end_ns - stretch.start_ns, 0);
}

/** What the row of a span says of it. */
export interface RowText {
  link: LinkWords;
  /** What it asked or was asked, cut. */
  target: string;
  duration: string;
  slow: string;
  /** Time between the two ends of the call; empty if it is not known. */
  network: string;
  /** By how much its clock differs from its parent's; empty if it does not. */
  skew: string;
  /** All of it as a sentence. */
  words: string;
}

/** What the row of a span says of it. Rows come and go many times a second while a trace scrolls: each is worked out once. */
export function rowText(span: TraceSpan): RowText {
  let text = ROW_TEXTS.get(span);
  if (text === undefined) ROW_TEXTS.set(span, (text = rowTextOf(span)));
  return text;
}
const ROW_TEXTS = new WeakMap<TraceSpan, RowText>();

function rowTextOf(span: TraceSpan): RowText {
  const skew = span.clock_skew_ns ?? 0;
  return {
    link: linkWords(span),
    target: short(span.target === "" ? span.name : span.target, 120),
    duration: `${span.end_known ? "" : "≥ "}${duration(span.duration_ns)}`,
    slow: slowLabel(span),
    network: span.network ? `net ${duration(span.network.request_ns + span.network.response_ns)}` : "",
    skew: skew === 0 ? (span.clock_evidence ? "clock" : "") : `clock ${skew > 0 ? "+" : ""}${duration(skew)}`,
    words: rowWords(span),
  };
}

/** A row as a sentence, for those who hear the page. */
export function rowWords(span: TraceSpan): string {
  const start = `starts at ${duration(span.start_ns)}, takes ${span.end_known ? "" : "at least "}${duration(span.duration_ns)}`;
  const critical = criticalTime(span);
  const path = critical > 0 ? `, ${duration(critical)} of it on the critical path` : "";
  const network = span.network
    ? `, network ${duration(span.network.request_ns)} there and ${duration(span.network.response_ns)} back`
    : "";
  return `${start}${path}${network}. ${linkWords(span).sentence}`;
}
