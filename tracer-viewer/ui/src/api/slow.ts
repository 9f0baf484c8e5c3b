/**
 * Why requests of an operation are slow. The routes are not in `openapi.json` yet: these types are those of
 * `tracer_analysis::slow`, written by hand, and go when `schema.ts` has them.
 */

import { get, type Bounds } from "./client";
import type { Exemplar, OperationName, Sample, Window } from "./types";

export interface SlowOperation {
  operation: OperationName;
  requests: number;
  p50_ns: number;
  p95_ns: number;
  p99_ns: number;
  spread: number;
  path_ns: number;
  lost_ns: number;
  is_enough: boolean;
}

export interface SlowOperationsAnswer {
  sample: Sample;
  operations: SlowOperation[];
  omitted: number;
}

export interface SlowGroup {
  requests: number;
  compared: number;
  p50_ns: number;
  mean_ns: number;
  exemplars: Exemplar[];
}

export type SlowDifferenceKind =
  | "part"
  | "repeated_calls"
  | "more_calls"
  | "extra_call"
  | "missing_call"
  | "failed_calls"
  | "retries"
  | "serial"
  | "attribute"
  | "number"
  | "start_delay"
  | "open_requests"
  | "bunched"
  | "cold_start";

export interface SlowDifference {
  kind: SlowDifferenceKind;
  sentence: string;
  effect: number;
  slow: number;
  rest: number;
  p_value: number;
  slow_requests: number;
  rest_requests: number;
  operation?: OperationName | null;
  attribute?: { place: "request" | "resource" | "below" | "below_resource"; key: string; value?: string | null } | null;
  window?: Window | null;
  same: string[];
  slow_exemplars: Exemplar[];
  rest_exemplars: Exemplar[];
}

export type SlowPartKind = "own" | "work" | "call" | "network" | "other";

export interface SlowPart {
  kind: SlowPartKind;
  operation?: OperationName | null;
  asked?: { from: string; to: string; to_kind: string } | null;
  query?: string | null;
  slow_ns: number;
  rest_ns: number;
  slow_p50_ns: number;
  rest_p50_ns: number;
  slow_requests: number;
  rest_requests: number;
  explained: number;
  p_value: number;
}

export interface SlowAnswer {
  sample: Sample;
  operation: OperationName;
  too_little?: string | null;
  slow: SlowGroup;
  rest: SlowGroup;
  least_ns: number;
  summary: string;
  differences: SlowDifference[];
  tests: number;
  parts: SlowPart[];
  attributes_of: number;
  no_attributes?: string | null;
}

/** Which requests are compared with the rest of their operation; what is null is not asked. */
export interface SlowParameters extends Bounds {
  service: string;
  operation: string;
  kind: string | null;
  /** Those above this quantile are slow. */
  quantile: number | null;
  /** A box of the heatmap. */
  box_start_us: number | null;
  box_end_us: number | null;
  least_ns: number | null;
  most_ns: number | null;
}

export function slowOperations(bounds: Bounds, signal?: AbortSignal): Promise<SlowOperationsAnswer> {
  return get("/api/tracer/analysis/operations" as never, bounds as never, signal) as Promise<SlowOperationsAnswer>;
}

export function slow(parameters: SlowParameters, signal?: AbortSignal): Promise<SlowAnswer> {
  return get("/api/tracer/analysis/slow" as never, parameters as never, signal) as Promise<SlowAnswer>;
}
