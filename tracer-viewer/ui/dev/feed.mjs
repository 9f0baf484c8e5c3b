// Sends generated traces to a real viewer by OTLP, to look at it with the real store: `node dev/feed.mjs [ADDRESS] [TRACES]`

import { makeTrace, random } from "./generate.mjs";

const KINDS = { unspecified: 0, internal: 1, server: 2, client: 3, producer: 4, consumer: 5 };
const value = ({ value, kind }) =>
  kind === "int" ? { intValue: value } : kind === "double" ? { doubleValue: Number(value) } : { stringValue: value };
const attributes = (list) => list.map((attribute) => ({ key: attribute.key, value: value(attribute) }));

/** A trace as `ExportTraceServiceRequest` in OTLP's JSON. */
export function otlp(trace) {
  const start = BigInt(trace.summary.start_unix_us) * 1000n;
  const at = (ns) => String(start + BigInt(ns));
  return {
    resourceSpans: trace.services.map((service, place) => ({
      resource: {
        attributes: [
          ...attributes(service.attributes.filter(({ key }) => key !== "service.name")),
          { key: "service.name", value: { stringValue: service.name } },
        ],
      },
      scopeSpans: [
        {
          scope: { name: "tracer", version: "0.9.0" },
          spans: trace.spans
            .filter((span) => span.service === place)
            .map((span) => ({
              traceId: trace.summary.trace_id,
              spanId: span.span_id,
              parentSpanId: span.parent_span_id ?? "",
              name: span.name,
              kind: KINDS[span.kind],
              startTimeUnixNano: at(span.start_ns),
              endTimeUnixNano: at(span.start_ns + span.duration_ns),
              attributes: [
                ...attributes(span.attributes),
                ...(span.evidence ? [{ key: "tracer.link.evidence", value: { stringValue: span.evidence } }] : []),
              ],
              status: span.is_error ? { code: 2, message: span.status_message } : {},
              events: span.events.map((event) => ({
                timeUnixNano: at(event.time_ns),
                name: event.name,
                attributes: attributes(event.attributes),
              })),
              links: span.links.map((link) => ({
                traceId: link.trace_id,
                spanId: link.span_id,
                attributes: attributes(link.attributes),
              })),
            })),
        },
      ],
    })),
  };
}

const [address = "http://127.0.0.1:4318", wanted = "200"] = process.argv.slice(2);
const next = random(1);
const now = Date.now() * 1000;
const special = {
  three: { wanted: 3, services: 2 },
  middle: { wanted: 300, services: 12, isMissing: true },
  large: { wanted: 5000, services: 25 },
  hostile: { wanted: 40, hostile: true, errors: 0.2 },
};
const send = async (trace) => {
  const response = await fetch(`${address}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(otlp(trace)),
  });
  const answer = await response.text();
  if (!response.ok || answer.length > 40) console.log(response.status, answer.slice(0, 300));
};
for (let i = 0; i < Number(wanted); i++)
  await send(
    makeTrace({
      seed: i + 1,
      wanted: 3 + Math.floor(next() ** 3 * 60),
      services: 12,
      errors: 0.02,
      slow: 0.5 + next(),
      startUs: now - next() * 1800e6,
    }),
  );
for (const [name, options] of Object.entries(special)) {
  const trace = makeTrace({ seed: 9000 + name.length, startUs: now - 20e6, ...options });
  await send(trace);
  console.log(name, trace.summary.trace_id);
}
