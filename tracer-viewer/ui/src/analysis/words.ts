import type { ComparedTime, Dependency, Finding, Verdict } from "../api/types";

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

/** What a comparison says. */
export const VERDICTS: Record<Verdict, string> = {
  worse: "Worse:",
  better: "Better:",
  unchanged: "Unchanged:",
  not_enough: "Not enough data:",
};

/** The same in a table. */
export const SHORT_VERDICTS: Record<Verdict, string> = {
  worse: "worse",
  better: "better",
  unchanged: "unchanged",
  not_enough: "not decided",
};

/** What becomes of requests whose calls fail. */
export const PASSING: Record<Dependency["failures"]["verdict"], string> = {
  never_failed: "–",
  passes: "pass through",
  absorbed: "are absorbed",
  not_enough: "too few to tell",
};

/** How much a time changed, with the interval: `+14 % (+12 to +17)`; empty if there are too few requests. */
export function changeWords(time: ComparedTime): string {
  const ratio = time.ratio;
  if (ratio === null || ratio === undefined) return "";
  const of = (value: number) => {
    const part = (value - 1) * 100;
    return `${part < 0 ? "−" : "+"}${Math.abs(part).toFixed(Math.abs(part) < 10 ? 1 : 0)}`;
  };
  return `${of(ratio.value)} % (${of(ratio.interval.low)} to ${of(ratio.interval.high)})`;
}
