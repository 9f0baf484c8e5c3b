/** Numbers for people: three digits that matter, and a unit. */

function digits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

/** A duration with a unit that suits it: `840 ns`, `12.3 µs`, `4.56 ms`, `1.20 s`, `3 m 05 s`. */
export function duration(ns: number): string {
  if (!Number.isFinite(ns)) return "–";
  if (ns < 0) return `−${duration(-ns)}`;
  if (ns === 0) return "0 ms";
  if (ns < 1000) return `${Math.round(ns)} ns`;
  if (ns < 999_500) return `${digits(ns / 1e3)} µs`;
  if (ns < 999_500_000) return `${digits(ns / 1e6)} ms`;
  if (ns < 59_950_000_000) return `${digits(ns / 1e9)} s`;
  const seconds = Math.round(ns / 1e9);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, "0")} s`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")} m`;
}

/** The same as a term of a query: `4.56ms`, exact to three digits. */
export function durationTerm(ns: number): string {
  const [unit, size] = ns < 1e3 ? ["ns", 1] : ns < 1e6 ? ["us", 1e3] : ns < 1e9 ? ["ms", 1e6] : ["s", 1e9];
  return `${Number((ns / (size as number)).toPrecision(4))}${unit as string}`;
}

/** A count with thousands apart: `12,345`. */
export function count(value: number): string {
  return COUNT.format(value);
}
const COUNT = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** A count in little space: `980`, `12.3k`, `4.5M`. */
export function briefCount(value: number): string {
  if (value < 1000) return String(Math.round(value));
  if (value < 999_500) return `${digits(value / 1e3)}k`;
  if (value < 999_500_000) return `${digits(value / 1e6)}M`;
  return `${digits(value / 1e9)}G`;
}

/** Things a second: `0.02/s`, `12.3/s`, `1.20k/s`. */
export function rate(perSecond: number): string {
  if (perSecond === 0) return "0/s";
  if (perSecond < 0.01) return "<0.01/s";
  return perSecond >= 1000 ? `${briefCount(perSecond)}/s` : `${digits(perSecond)}/s`;
}

/** A part of a whole: `0 %`, `0.04 %`, `12.3 %`. */
export function percent(part: number): string {
  if (!Number.isFinite(part)) return "–";
  if (part === 0) return "0 %";
  const value = part * 100;
  if (value < 0.01) return "<0.01 %";
  if (value > 100) return `${COUNT.format(value)} %`;
  if (value >= 99.95) return value === 100 ? "100 %" : ">99.9 %";
  return `${value >= 10 ? value.toFixed(1) : value.toFixed(2)} %`;
}

/** How one value differs from the one before: `+12.5 %`, `−40.0 %`; from ten times on `×230`, down to a tenth `1/230`. Empty from 0. */
export function changeOf(before: number, after: number): string {
  if (!(before > 0)) return "";
  const ratio = after / before;
  if (ratio >= 10) return `×${COUNT.format(ratio)}`;
  if (ratio > 0 && ratio <= 0.1) return `1/${COUNT.format(1 / ratio)}`;
  return `${ratio >= 1 ? "+" : "−"}${percent(Math.abs(ratio - 1))}`;
}

/** A size: `512 B`, `1.20 KiB`, `64.0 MiB`. */
export function bytes(value: number): string {
  let size = value;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024) return unit === "B" ? `${Math.round(size)} B` : `${digits(size)} ${unit}`;
    size /= 1024;
  }
  return `${digits(size)} TiB`;
}

/** `1 span`, `2 spans`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}
