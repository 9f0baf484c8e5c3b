import type { TraceAnswer, TraceSpan } from "../api/types";
import { parentPlace } from "../trace/tree";

/** One side of a row: the spans of one trace that stand at one place of the tree. */
export interface Side {
  spans: number;
  errors: number;
  /** Sum of the durations. */
  duration_ns: number;
  self_ns: number;
}

/** A place of the tree of calls, in two traces: spans of one service, name and kind below the same parents. `A → B` is a name that changed. */
export interface DiffRow {
  service: string;
  name: string;
  kind: string;
  depth: number;
  /** Its name is another one in each trace. */
  isRenamed: boolean;
  a: Side | null;
  b: Side | null;
  /** Duration in `b` less that in `a`. */
  delta_ns: number;
}

interface Group {
  service: string;
  name: string;
  kind: string;
  isRenamed: boolean;
  a: number[];
  b: number[];
}

/** Deepest tree that is compared: traffic can claim any depth. */
const MAX_DEPTH = 200;
/** Rows that are told at most. */
const MAX_ROWS = 2000;

/** Compares two traces: what is in one only, and how long each part took in each. */
export function diff(a: TraceAnswer, b: TraceAnswer): DiffRow[] {
  const childrenA = childrenOf(a.spans);
  const childrenB = childrenOf(b.spans);
  const rows: DiffRow[] = [];
  const visit = (placesA: number[], placesB: number[], depth: number) => {
    for (const group of groups(a, b, placesA, placesB)) {
      if (rows.length >= MAX_ROWS) return;
      const sideA = sideOf(a.spans, group.a);
      const sideB = sideOf(b.spans, group.b);
      rows.push({
        service: group.service,
        name: group.name,
        kind: group.kind,
        depth,
        isRenamed: group.isRenamed,
        a: sideA,
        b: sideB,
        delta_ns: (sideB?.duration_ns ?? 0) - (sideA?.duration_ns ?? 0),
      });
      if (depth < MAX_DEPTH)
        visit(
          group.a.flatMap((at) => childrenA[at] ?? []),
          group.b.flatMap((at) => childrenB[at] ?? []),
          depth + 1,
        );
    }
  };
  visit(rootsOf(a.spans), rootsOf(b.spans), 0);
  return rows;
}

/** Part of the compared spans that stand at the same place, by the same name, in both traces. */
export function commonPart(rows: readonly DiffRow[]): number {
  let [common, all] = [0, 0];
  for (const row of rows) {
    const spans = (row.a?.spans ?? 0) + (row.b?.spans ?? 0);
    all += spans;
    if (row.a !== null && row.b !== null && !row.isRenamed) common += spans;
  }
  return all === 0 ? 1 : common / all;
}

function groups(a: TraceAnswer, b: TraceAnswer, placesA: number[], placesB: number[]): Group[] {
  const found = new Map<string, Group>();
  const put = (trace: TraceAnswer, at: number, side: "a" | "b") => {
    const span = trace.spans[at];
    if (span === undefined) return;
    const service = trace.services[span.service]?.name ?? "";
    const key = `${service}\u0000${span.name}\u0000${span.kind}`;
    let group = found.get(key);
    if (group === undefined)
      found.set(key, (group = { service, name: span.name, kind: span.kind, isRenamed: false, a: [], b: [] }));
    group[side].push(at);
  };
  for (const at of placesA) put(a, at, "a");
  for (const at of placesB) put(b, at, "b");
  return renamed([...found.values()]);
}

/** Pairs what is in one trace only with what is in the other only, if service and kind are the same: the name has changed. */
function renamed(all: Group[]): Group[] {
  const kept: Group[] = [];
  const waiting = all.filter((group) => group.a.length === 0);
  for (const group of all) {
    if (group.a.length === 0) continue;
    if (group.b.length === 0) {
      const at = waiting.findIndex((other) => other.service === group.service && other.kind === group.kind);
      const other = at < 0 ? undefined : waiting.splice(at, 1)[0];
      if (other !== undefined)
        kept.push({ ...group, name: `${group.name} → ${other.name}`, isRenamed: true, b: other.b });
      else kept.push(group);
    } else kept.push(group);
  }
  return [...kept, ...waiting];
}

function sideOf(spans: readonly TraceSpan[], places: number[]): Side | null {
  if (places.length === 0) return null;
  const side: Side = { spans: 0, errors: 0, duration_ns: 0, self_ns: 0 };
  for (const at of places) {
    const span = spans[at];
    if (span === undefined) continue;
    side.spans++;
    if (span.is_error) side.errors++;
    side.duration_ns += span.duration_ns;
    side.self_ns += span.self_ns;
  }
  return side;
}

function childrenOf(spans: readonly TraceSpan[]): number[][] {
  const children: number[][] = spans.map(() => []);
  spans.forEach((_, at) => children[parentPlace(spans, at)]?.push(at));
  return children;
}

function rootsOf(spans: readonly TraceSpan[]): number[] {
  return spans.flatMap((_, at) => (parentPlace(spans, at) < 0 ? [at] : []));
}
