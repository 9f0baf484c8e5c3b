import type { Sides } from "../api/client";

/** The two sides of a comparison, as the address of the page tells them. */
export interface Chosen {
  /** Seconds of the last stretch that is compared with the one before it; null if windows or versions are given. */
  last: number | null;
  service: string;
  before_version: string;
  after_version: string;
  /** Microseconds; null is open. */
  before: [number | null, number | null];
  after: [number | null, number | null];
}

/** Reads the address; without anything it is the last quarter of an hour. */
export function chosenOf(get: (name: string) => string): Chosen {
  const number = (name: string) => {
    const text = get(name);
    const value = Number(text);
    return text === "" || !Number.isFinite(value) || value < 0 ? null : Math.round(value);
  };
  const before: [number | null, number | null] = [number("before_from"), number("before_to")];
  const after: [number | null, number | null] = [number("after_from"), number("after_to")];
  const service = get("service");
  const hasOwn = service !== "" || [...before, ...after].some((bound) => bound !== null);
  return {
    last: hasOwn ? null : (number("span") ?? 900),
    service,
    before_version: get("before_version"),
    after_version: get("after_version"),
    before,
    after,
  };
}

/** What the viewer is asked; null if something is missing. */
export function sidesOf(chosen: Chosen, nowMs: number): Sides | null {
  if (chosen.last !== null) {
    const [now, length] = [Math.round(nowMs * 1000), Math.round(chosen.last * 1e6)];
    return {
      before_start_us: now - 2 * length,
      before_end_us: now - length,
      after_start_us: now - length,
      after_end_us: now,
    };
  }
  const isOpen = (side: [number | null, number | null]) => side[0] === null && side[1] === null;
  const hasVersions = chosen.service !== "" && chosen.before_version !== "" && chosen.after_version !== "";
  if (!hasVersions && (isOpen(chosen.before) || isOpen(chosen.after))) return null;
  const isBackward = ([from, to]: [number | null, number | null]) => from !== null && to !== null && from >= to;
  if (isBackward(chosen.before) || isBackward(chosen.after)) return null;
  return {
    before_start_us: chosen.before[0],
    before_end_us: chosen.before[1],
    after_start_us: chosen.after[0],
    after_end_us: chosen.after[1],
    ...(hasVersions
      ? { service: chosen.service, before_version: chosen.before_version, after_version: chosen.after_version }
      : {}),
  };
}

/** A moment as a field for date and time has it, in the zone of the browser; empty for none. */
export function fieldOf(us: number | null): string {
  if (us === null) return "";
  const at = new Date(us / 1000);
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return Number.isNaN(local.getTime()) ? "" : local.toISOString().slice(0, 19);
}

/** What such a field says; null for none. */
export function momentOf(field: string): number | null {
  const at = new Date(field).getTime();
  return field === "" || Number.isNaN(at) ? null : at * 1000;
}
