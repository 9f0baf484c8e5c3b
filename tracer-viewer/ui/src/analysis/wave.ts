import type { CascadeAnswer, MapAnswer, MapNode } from "../api/types";

type Hit = CascadeAnswer["wave"][number];
type Origin = CascadeAnswer["origins"][number];

/** What a wave does to a party at a moment. */
export type Mark = "origin" | "hit" | "over";

/** One party of a wave, as a bar over time. */
export interface Lane {
  name: string;
  isOrigin: boolean;
  /** When it was hit, and when it was well again; null if it is not yet. */
  from: number;
  to: number | null;
  /** What became worse, in words. */
  signals: string;
  because: string[];
}

const SIGNALS: Record<Hit["signals"][number], string> = {
  latency: "takes longer",
  own_time: "works longer",
  errors: "fails",
  own_errors: "fails by itself",
  abandoned: "is left before its answer",
  unserved: "does not answer",
  standstill: "stands still",
  no_traffic: "gets no requests",
};

/** The parties that were hit, the first first. */
export function lanes(wave: readonly Hit[], origins: readonly Origin[]): Lane[] {
  const begins = new Set(origins.map((origin) => origin.service));
  return wave.map((hit) => ({
    name: hit.service,
    isOrigin: begins.has(hit.service),
    from: hit.onset_unix_us,
    to: hit.end_unix_us ?? null,
    signals: hit.signals.map((signal) => SIGNALS[signal] ?? signal).join(", "),
    because: hit.because_of,
  }));
}

/** The stretch of time that shows the wave: with as much before it as it lasts, within what was looked at. */
export function stretchOf(
  lanes: readonly Lane[],
  window: { start_unix_us: number; end_unix_us: number },
): [number, number] {
  const first = Math.min(...lanes.map((lane) => lane.from));
  const last = Math.max(...lanes.map((lane) => lane.to ?? window.end_unix_us));
  const length = Math.max(1_000_000, last - first);
  const from = Math.max(Math.min(window.start_unix_us, first), first - length * 0.25);
  const to = Math.min(Math.max(window.end_unix_us, last), last + length * 0.1);
  return [from, Math.max(to, from + 1_000_000)];
}

/** Who is in which state at a moment. */
export function marksAt(lanes: readonly Lane[], at: number): Map<string, Mark> {
  const marks = new Map<string, Mark>();
  for (const lane of lanes) {
    if (lane.from > at) continue;
    marks.set(lane.name, lane.to !== null && lane.to <= at ? "over" : lane.isOrigin ? "origin" : "hit");
  }
  return marks;
}

/** The nodes of the map that are marked, by their ids. */
export function nodeMarks(nodes: readonly MapNode[], marks: ReadonlyMap<string, Mark>): Map<string, Mark> {
  const found = new Map<string, Mark>();
  for (const node of nodes) {
    const mark = marks.get(node.name);
    if (mark !== undefined) found.set(node.id, mark);
  }
  return found;
}

/** The part of the map around a wave: who was hit, and who calls or is called by them. All of a small map. */
export function around(map: MapAnswer, lanes: readonly Lane[], small: number): MapAnswer {
  if (map.nodes.length <= small) return map;
  const names = new Set(lanes.map((lane) => lane.name));
  const ids = new Set(map.nodes.filter((node) => names.has(node.name)).map((node) => node.id));
  const near = new Set(ids);
  for (const edge of map.edges) {
    if (ids.has(edge.from) || ids.has(edge.to)) {
      near.add(edge.from);
      near.add(edge.to);
    }
  }
  return {
    ...map,
    nodes: map.nodes.filter((node) => near.has(node.id)),
    edges: map.edges.filter((edge) => near.has(edge.from) && near.has(edge.to)),
  };
}
