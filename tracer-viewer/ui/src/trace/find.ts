import type { TraceAnswer, TraceSpan } from "../api/types";

/** Characters of a value that are looked at: a value of a megabyte must not stop the page. */
const MAX_LOOKED_AT = 4096;

/**
 * Places of the spans that have every word of `text`: in name, target, service, kind, status, ids or attributes.
 * `error` and `status:error` find errors; `key=value` finds an attribute by its whole name; `service:x`, `operation:x`
 * the exact service, name.
 */
export function find(trace: TraceAnswer, text: string): Uint32Array {
  const words = (text.toLowerCase().match(/(?:[^\s"]|"[^"]*"?)+/g) ?? []).map((word) => word.replaceAll('"', ""));
  if (words.length === 0) return new Uint32Array(0);
  const found: number[] = [];
  trace.spans.forEach((span, at) => {
    if (words.every((word) => hasWord(trace, span, word))) found.push(at);
  });
  return Uint32Array.from(found);
}

function hasWord(trace: TraceAnswer, span: TraceSpan, word: string): boolean {
  if (word === "error" || word === "status:error") return span.is_error;
  const service = trace.services[span.service];
  if (word.startsWith("service:")) return lower(service?.name ?? "") === word.slice(8);
  if (word.startsWith("operation:")) return lower(span.name) === word.slice(10);
  if (word.startsWith("kind:")) return span.kind === word.slice(5);
  const equals = word.indexOf("=");
  if (equals > 0) {
    const key = word.slice(0, equals);
    const value = word.slice(equals + 1);
    const own = span.attributes.filter((attribute) => lower(attribute.key) === key);
    const all = own.length > 0 ? own : (service?.attributes ?? []).filter((attribute) => lower(attribute.key) === key);
    if (all.length > 0) return all.some((attribute) => lower(attribute.value).includes(value));
  }
  return (
    lower(span.name).includes(word) ||
    lower(span.target).includes(word) ||
    lower(service?.name ?? "").includes(word) ||
    lower(span.status_message).includes(word) ||
    span.span_id.startsWith(word) ||
    span.attributes.some((attribute) => lower(attribute.key).includes(word) || lower(attribute.value).includes(word))
  );
}

function lower(text: string): string {
  return (text.length > MAX_LOOKED_AT ? text.slice(0, MAX_LOOKED_AT) : text).toLowerCase();
}
