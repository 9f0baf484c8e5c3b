/** Moments for people: local on the page, UTC on hover. */

const TIME = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

/** Last moment of the calendar that JavaScript knows. Traffic can claim any. */
const LAST_US = 8.64e18;

function isInCalendar(unixUs: number): boolean {
  return Math.abs(unixUs) <= LAST_US;
}

/** The moment as HTML's `time` takes it; empty beyond the calendar. */
export function machineTime(unixUs: number): string {
  return isInCalendar(unixUs) ? new Date(unixUs / 1000).toISOString() : "";
}

/** Time of day with milliseconds, local: `14:03:05.120`. */
export function timeOfDay(unixUs: number): string {
  if (!isInCalendar(unixUs)) return "beyond the calendar";
  return `${TIME.format(unixUs / 1000)}.${String(Math.floor(unixUs / 1000) % 1000).padStart(3, "0")}`;
}

/** Time of day to the second, local. */
export function clock(unixUs: number): string {
  return isInCalendar(unixUs) ? TIME.format(unixUs / 1000) : "beyond the calendar";
}

/** Day and time, local; without the day if that is today. */
export function moment(unixUs: number, nowMs = Date.now()): string {
  if (!isInCalendar(unixUs)) return "beyond the calendar";
  const day = DAY.format(unixUs / 1000);
  return day === DAY.format(nowMs) ? timeOfDay(unixUs) : `${day}, ${timeOfDay(unixUs)}`;
}

/** The same in UTC, to the microsecond: `2026-12-01 14:03:05.120345 UTC`. */
export function utc(unixUs: number): string {
  if (!isInCalendar(unixUs)) return `${unixUs} µs since 1970`;
  const iso = new Date(Math.floor(unixUs / 1000)).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 23)}${String(Math.floor(unixUs) % 1000).padStart(3, "0")} UTC`;
}

/** A stretch of time, local, with the day if it is not all today: `14:03:05 – 15:03:05`. */
export function stretch(fromUs: number, toUs: number, nowMs = Date.now()): string {
  if (!isInCalendar(fromUs) || !isInCalendar(toUs)) return "beyond the calendar";
  const [from, to, today] = [DAY.format(fromUs / 1000), DAY.format(toUs / 1000), DAY.format(nowMs)];
  if (from === to) return `${from === today ? "" : `${from}, `}${clock(fromUs)} – ${clock(toUs)}`;
  return `${from}, ${clock(fromUs)} – ${to}, ${clock(toUs)}`;
}

/** How long ago: `just now`, `40 s ago`, `12 min ago`, `3 h ago`, `2 d ago`. */
export function ago(unixUs: number, nowMs = Date.now()): string {
  const seconds = Math.max(0, Math.round(nowMs / 1000 - unixUs / 1e6));
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}
