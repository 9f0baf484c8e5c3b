import type { SlowParameters } from "../api/client";
import type { SlowDifference, SlowDifferenceKind, SlowPart, SpanKind } from "../api/types";
import { count, duration, percent } from "../text/numbers";

/** Quantiles that can be chosen, and what is above them. */
export const QUANTILES: [number, string][] = [
  [0.5, "Slower half"],
  [0.9, "Slowest 10 %"],
  [0.95, "Slowest 5 %"],
  [0.99, "Slowest 1 %"],
];

/** The quantile above which requests are slow if the address names none. */
const USUAL = 0.95;

/** What differs, in words. */
export const DIFFERENCES: Record<SlowDifferenceKind, string> = {
  part: "Takes longer",
  repeated_calls: "Repeated calls",
  more_calls: "More calls",
  extra_call: "Extra call",
  missing_call: "Missing call",
  failed_calls: "Failed calls",
  retries: "Retries",
  serial: "One after another",
  attribute: "Attribute",
  number: "Number",
  start_delay: "Waits to start",
  open_requests: "Queue",
  bunched: "At one time",
  cold_start: "Cold start",
};

/** A number of a difference, in the unit of its kind. */
export function valueOf(kind: SlowDifferenceKind, value: number): string {
  switch (kind) {
    case "part":
    case "start_delay":
      return duration(value);
    case "repeated_calls":
    case "more_calls":
    case "open_requests":
    case "number":
      return value >= 100 ? count(value) : String(Number(value.toFixed(1)));
    default:
      return percent(value);
  }
}

/** How certain a difference is: `p < 0.001`, `p = 0.03`. */
export function chanceOf(difference: Pick<SlowDifference, "p_value">): string {
  const p = difference.p_value;
  return p < 0.001 ? "p < 0.001" : `p = ${Number(p.toPrecision(1))}`;
}

/** Of a part of the request's time: what kind of time it is. */
export const PARTS: Record<SlowPart["kind"], string> = {
  own: "its own work",
  work: "work",
  call: "call",
  network: "way, and time until it begins",
  other: "all else",
};

const KINDS: SpanKind[] = ["server", "consumer", "internal", "client", "producer", "unspecified"];

/** Which slow requests the address asks for. */
export interface Chosen {
  service: string;
  operation: string;
  kind: SpanKind | null;
  /** Null if a box is asked for. */
  quantile: number | null;
  box: Pick<SlowParameters, "box_start_us" | "box_end_us" | "least_ns" | "most_ns">;
}

/** Reads the address: a box of the heatmap goes before a quantile. */
export function chosenOf(get: (name: string) => string): Chosen {
  const number = (name: string) => {
    const text = get(name);
    const value = Number(text);
    return text !== "" && Number.isFinite(value) && value >= 0 ? Math.round(value) : null;
  };
  const box = {
    box_start_us: number("box_from"),
    box_end_us: number("box_to"),
    least_ns: number("least"),
    most_ns: number("most"),
  };
  const isBox = Object.values(box).some((bound) => bound !== null);
  const asked = Number(get("quantile"));
  const quantile = QUANTILES.some(([value]) => value === asked) ? asked : USUAL;
  const kind = get("kind");
  return {
    service: get("service"),
    operation: get("operation"),
    kind: KINDS.find((known) => known === kind) ?? null,
    quantile: isBox ? null : quantile,
    box,
  };
}
