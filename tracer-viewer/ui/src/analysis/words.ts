import type { Finding } from "../api/types";

/** Kinds of findings in words. */
export const KINDS: Record<Finding["kind"], string> = {
  slower: "Slower",
  errors: "Errors",
  unreachable: "Unreachable",
  stalled: "Stood still",
  timeouts: "Timeouts",
  queueing: "Queueing",
  retry_storm: "Retry storm",
  repeated_calls: "Repeated calls",
  regression: "Regression",
};
