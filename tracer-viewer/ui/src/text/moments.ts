/** Moments for people: local on the page, UTC on hover. */

const TIME = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const DAY_OF_YEAR = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const MINUTE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

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
function timeOfDay(unixUs: number): string {
  const ms = Math.floor(unixUs / 1000);
  return `${TIME.format(ms)}.${String(((ms % 1000) + 1000) % 1000).padStart(3, "0")}`;
}

/** Time of day, local, with as many digits as tell moments apart that lie `stepUs` from each other. */
function timeBy(unixUs: number, stepUs: number): string {
  const ms = Math.floor(unixUs / 1000);
  if (stepUs >= 60e6) return MINUTE.format(ms);
  const digits = stepUs >= 1e6 ? 0 : Math.min(3, Math.ceil(-Math.log10(stepUs / 1e6) - 1e-9));
  if (digits === 0) return TIME.format(ms);
  return timeOfDay(unixUs).slice(0, -3 + digits || undefined);
}

/** The day, local, without the year if it is this year's: `Nov 30`, `Jan 1, 1970`. */
function dayOf(unixUs: number, nowMs: number): string {
  const isThisYear = new Date(unixUs / 1000).getFullYear() === new Date(nowMs).getFullYear();
  return (isThisYear ? DAY_OF_YEAR : DAY).format(unixUs / 1000);
}

function isToday(unixUs: number, nowMs: number): boolean {
  return DAY.format(unixUs / 1000) === DAY.format(nowMs);
}

/** Day and time in little space, local: `14:03:05.120` today, `Nov 30, 14:03:05` this year, else `Jan 1, 1970, 14:03`. */
export function briefMoment(unixUs: number, nowMs = Date.now()): string {
  if (!isInCalendar(unixUs)) return "beyond the calendar";
  if (isToday(unixUs, nowMs)) return timeOfDay(unixUs);
  const isThisYear = new Date(unixUs / 1000).getFullYear() === new Date(nowMs).getFullYear();
  return `${dayOf(unixUs, nowMs)}, ${timeBy(unixUs, isThisYear ? 1e6 : 60e6)}`;
}

/** Labels of moments of an axis that lie `stepUs` from each other: time of day, and the day wherever another one begins than today. */
export function axisTimes(unixUs: readonly number[], stepUs: number, nowMs = Date.now()): string[] {
  let day = DAY.format(nowMs);
  return unixUs.map((at) => {
    if (!isInCalendar(at)) return "beyond the calendar";
    const isSameDay = DAY.format(at / 1000) === day;
    day = DAY.format(at / 1000);
    if (stepUs >= DAY_US) return dayOf(at, nowMs);
    return isSameDay ? timeBy(at, stepUs) : `${dayOf(at, nowMs)}, ${timeBy(at, stepUs)}`;
  });
}
const DAY_US = 86_400e6;

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

/** A stretch of time, local, with the day if it is not all today: `14:03:05 – 15:03:05`; fractions tell both ends apart. */
export function stretch(fromUs: number, toUs: number, nowMs = Date.now()): string {
  if (!isInCalendar(fromUs) || !isInCalendar(toUs)) return "beyond the calendar";
  const stepUs = Math.min(1e6, Math.max(1000, toUs - fromUs));
  const [from, to] = [timeBy(fromUs, stepUs), timeBy(toUs, stepUs)];
  if (DAY.format(fromUs / 1000) !== DAY.format(toUs / 1000))
    return `${dayOf(fromUs, nowMs)}, ${from} – ${dayOf(toUs, nowMs)}, ${to}`;
  return `${isToday(fromUs, nowMs) ? "" : `${dayOf(fromUs, nowMs)}, `}${from} – ${to}`;
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
