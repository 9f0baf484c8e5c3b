import type { TraceAnswer, TraceSpan } from "../api/types";
import { route } from "../route/route.svelte";
import { asSent, isCorrected } from "./clocks";
import { find } from "./find";
import { ancestors, openRows, rowOf, treeOf } from "./tree";

/** How a trace is drawn. */
export type Tab = "waterfall" | "flame" | "table";

/** Spans that a reader closed or opened, kept in the address. */
const MAX_TOGGLED = 100;

/** Whether a span that has something below it is closed. */
function isClosedBy(level: number | null, toggled: ReadonlySet<string>, span: TraceSpan | undefined): boolean {
  if (span === undefined) return false;
  const byLevel = level !== null && span.depth + 1 >= level;
  return byLevel !== toggled.has(span.span_id);
}

/** What a reader does with one trace: what is chosen, closed, searched, and which window of time is drawn. */
export class TraceView {
  /** The trace as the viewer tells it, with the times of skewed clocks corrected. */
  given: TraceAnswer = $state.raw({} as TraceAnswer);
  /** Whether times are shown as they were sent, not corrected. */
  isAsSent = $state(false);
  /** The trace as it is drawn. */
  readonly trace: TraceAnswer = $derived(this.isAsSent ? asSent(this.given) : this.given);
  readonly isCorrected = $derived(isCorrected(this.given));
  tab: Tab = $state("waterfall");
  /** Levels that are open; null if all are. */
  level: number | null = $state(null);
  /** Ids of spans that are not as the level says. */
  toggled: ReadonlySet<string> = $state.raw(new Set());
  /** Id of the chosen span; empty if none is. */
  chosen = $state("");
  /** Whether the details of the chosen span are shown. */
  hasDetails = $state(false);
  /** What is searched for in the trace. */
  text = $state("");
  /** Whether the critical path is drawn. */
  hasPath = $state(true);
  /** Width of the column of names, pixels; null if it follows the page. */
  names: number | null = $state(null);
  /** Window of time; null if it is the whole trace. */
  window: { from_ns: number; to_ns: number } | null = $state.raw(null);

  readonly tree = $derived(treeOf(this.trace.spans));
  readonly places = $derived(new Map(this.trace.spans.map((span, at) => [span.span_id, at])));
  readonly place = $derived(this.places.get(this.chosen) ?? -1);
  readonly rows = $derived.by(() => {
    // Read once: 50,000 spans would read each of them 50,000 times.
    const { tree, level, toggled } = this;
    const { spans } = this.trace;
    return openRows(tree, (at) => isClosedBy(level, toggled, spans[at]));
  });
  readonly row = $derived(rowOf(this.rows, this.place));
  /** Whether a parent of the trace is a guess: then the page says how guesses are drawn. */
  readonly hasGuess = $derived(this.trace.spans.some((span) => (span.likely ?? null) !== null));
  readonly matches = $derived(find(this.trace, this.text));
  readonly isMatch = $derived(new Set(this.matches));
  readonly end_ns = $derived(Math.max(1, this.trace.summary.duration_ns));
  readonly from_ns = $derived(this.window?.from_ns ?? 0);
  readonly to_ns = $derived(this.window?.to_ns ?? this.end_ns);

  constructor(trace: TraceAnswer) {
    this.given = trace;
    this.readAddress();
    if (this.chosen === "") this.chosen = trace.summary.matched_span_id ?? "";
    if (this.place >= 0 && this.row < 0) this.reveal(this.place);
  }

  get span(): TraceSpan | undefined {
    return this.trace.spans[this.place];
  }

  serviceName(span: TraceSpan): string {
    return this.trace.services[span.service]?.name ?? "";
  }

  isClosed(at: number): boolean {
    return this.tree.children[at] !== 0 && isClosedBy(this.level, this.toggled, this.trace.spans[at]);
  }

  setClosed(at: number, isClosed: boolean): void {
    const span = this.trace.spans[at];
    if (span === undefined || this.tree.children[at] === 0 || this.isClosed(at) === isClosed) return;
    const toggled = new Set(this.toggled);
    if (!toggled.delete(span.span_id)) toggled.add(span.span_id);
    this.toggled = toggled;
  }

  /** Opens the first `level` levels and closes those below; null opens all. */
  setLevel(level: number | null): void {
    this.level = level !== null && level >= this.tree.levels ? null : level === null ? null : Math.max(1, level);
    this.toggled = new Set();
    // What is chosen stays in sight: it moves to the closed span above it.
    const closed = ancestors(this.trace.spans, this.place).find((at) => this.isClosed(at));
    if (closed !== undefined) this.choose(closed);
  }

  choose(at: number): void {
    this.chosen = this.trace.spans[at]?.span_id ?? "";
  }

  /** Chooses a span and opens what is above it. */
  reveal(at: number): void {
    for (const parent of ancestors(this.trace.spans, at)) this.setClosed(parent, false);
    this.choose(at);
  }

  /** Moves by rows; the answer is whether there was where to go. */
  step(by: number): void {
    if (this.rows.length === 0) return;
    const row = this.row < 0 ? 0 : Math.min(this.rows.length - 1, Math.max(0, this.row + by));
    this.choose(this.rows[row] ?? 0);
  }

  /** Goes to the next span that was searched for; to the next error if nothing is searched for. */
  next(direction: 1 | -1): void {
    const places = this.text.trim() === "" ? this.errors : this.matches;
    if (places.length === 0) return;
    const here = this.place;
    let at = direction > 0 ? places.findIndex((place) => place > here) : places.findLastIndex((place) => place < here);
    if (at < 0) at = direction > 0 ? 0 : places.length - 1;
    this.reveal(places[at] ?? 0);
  }

  private readonly errors = $derived(
    Uint32Array.from(this.trace.spans.flatMap((span, at) => (span.is_error ? [at] : []))),
  );

  /** Number of the chosen match, from 1; 0 if none is chosen. */
  readonly matchNumber = $derived(this.matches.indexOf(this.place) + 1);

  setWindow(from_ns: number, to_ns: number): void {
    const least = Math.min(this.end_ns, Math.max(100, this.end_ns / 1e6));
    const width = Math.min(this.end_ns, Math.max(least, to_ns - from_ns));
    const from = Math.min(Math.max(0, from_ns), this.end_ns - width);
    this.window = width >= this.end_ns ? null : { from_ns: from, to_ns: from + width };
  }

  /** Zooms about a moment. */
  zoom(factor: number, about_ns = (this.from_ns + this.to_ns) / 2): void {
    this.setWindow(about_ns - (about_ns - this.from_ns) * factor, about_ns + (this.to_ns - about_ns) * factor);
  }

  /** Moves the window by a part of its width. */
  pan(part: number): void {
    const by = (this.to_ns - this.from_ns) * part;
    this.setWindow(this.from_ns + by, this.to_ns + by);
  }

  /** The state, as it stands in the address. */
  readonly state = $derived({
    view: this.tab === "waterfall" ? null : this.tab,
    level: this.level,
    toggled: [...this.toggled].slice(0, MAX_TOGGLED).join("."),
    span: this.chosen,
    details: this.hasDetails,
    find: this.text,
    path: this.hasPath ? null : "off",
    times: this.isAsSent ? "sent" : null,
    names: this.names,
    window: this.window === null ? null : `${Math.round(this.window.from_ns)}-${Math.round(this.window.to_ns)}`,
  });

  readAddress(): void {
    const tab = route.get("view");
    this.tab = tab === "flame" || tab === "table" ? tab : "waterfall";
    this.level = route.number("level");
    this.toggled = new Set(
      route
        .get("toggled")
        .split(".")
        .filter((id) => id !== ""),
    );
    this.chosen = route.get("span");
    this.hasDetails = route.get("details") === "1";
    this.text = route.get("find");
    this.names = route.number("names");
    this.hasPath = route.get("path") !== "off";
    this.isAsSent = route.get("times") === "sent";
    const [from, to] = route.get("window").split("-").map(Number);
    this.window = null;
    if (from !== undefined && to !== undefined && to > from) this.setWindow(from, to);
  }
}
