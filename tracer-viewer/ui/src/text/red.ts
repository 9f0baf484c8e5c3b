import type { Red } from "../api/types";
import { count, duration, percent, rate } from "./numbers";

/** A number of rate, errors and duration: its label, and how it is told. */
export interface RedNumber {
  label: string;
  words: (red: Red) => string;
  isBad: (red: Red) => boolean;
}

/** Rate, errors and duration; `counted` is the word for what is counted. */
export function redNumbers(counted: string): RedNumber[] {
  const number = (label: string, words: (red: Red) => string, isBad: (red: Red) => boolean = () => false) => ({
    label,
    words,
    isBad,
  });
  return [
    number("Rate", (red) => rate(red.rate)),
    number(counted, (red) => count(red.count)),
    number(
      "Errors",
      (red) => percent(red.errors / Math.max(1, red.count)),
      (red) => red.errors > 0,
    ),
    number("p50", (red) => duration(red.p50_ns)),
    number("p95", (red) => duration(red.p95_ns)),
    number("p99", (red) => duration(red.p99_ns)),
  ];
}
