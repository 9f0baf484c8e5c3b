import { Graph, layout } from "@dagrejs/dagre";
import type { MapEdge, MapNode } from "../api/types";

/** Size of a node, in units of the drawing. */
export const NODE_WIDTH = 196;
export const NODE_HEIGHT = 46;

/** Edges up to which each has its numbers written; beyond, those of the chosen node. */
export const LABELLED_EDGES = 14;

/** Space between layers: numbers of edges stand in it, if each edge has them. On a narrow screen there are none. */
const LABELLED_LAYER_GAP = 172;
const LAYER_GAP = 104;
const NARROW_LAYER_GAP = 52;
/** From top to bottom the numbers of an edge need the height of a line, and what a node has written above itself another. */
const DOWNWARD_LAYER_GAP = 66;

/** Nodes up to which a map is small: all of it is shown, as large as it can be read. */
export const SMALL_MAP = 12;
/** Most of its drawn size that a map is enlarged to by itself. */
const MOST_FITTED = 1.25;

/** More edges than so many for each node, and some, and not all of them take part in the layout. */
const MAX_EDGES_PER_NODE = 1.5;
const FEW_EDGES = 20;

export interface Point {
  x: number;
  y: number;
}

/** Where everything lies. */
export interface Layout {
  /** Middle of each node, by its id. */
  nodes: Map<string, Point>;
  /** Bends of each edge, by `edgeKey`. */
  edges: Map<string, Point[]>;
  width: number;
  height: number;
}

export function edgeKey(edge: { from: string; to: string }): string {
  return `${edge.from}\u0000${edge.to}`;
}

/** Where calls go: to the right; to the right with no space for numbers of edges; down. */
export type Flow = "right" | "right-narrow" | "down";

/** By how much a layout is enlarged such that all of it is seen. */
export function fit(layout: Layout, width: number, height: number): number {
  return Math.min(MOST_FITTED, width / Math.max(1, layout.width), height / Math.max(1, layout.height));
}

/** The layout of a small map of which most can be read in a picture of this size: to the right if that is large enough, else down. */
export function layOutWithin(
  nodes: readonly MapNode[],
  edges: readonly MapEdge[],
  width: number,
  height: number,
): Layout {
  const right = layOut(nodes, edges);
  if (nodes.length > SMALL_MAP || fit(right, width, height) >= 1) return right;
  const down = layOut(nodes, edges, "down");
  return fit(down, width, height) > fit(right, width, height) ? down : right;
}

/**
 * Layers by the direction of calls. The same nodes and edges give the same picture, in whatever order they come: numbers
 * that change move nothing.
 */
export function layOut(nodes: readonly MapNode[], edges: readonly MapEdge[], flow: Flow = "right"): Layout {
  const graph = new Graph();
  const isDown = flow === "down";
  const ranksep = isDown
    ? DOWNWARD_LAYER_GAP
    : flow === "right-narrow"
      ? NARROW_LAYER_GAP
      : edges.length > LABELLED_EDGES
        ? LAYER_GAP
        : LABELLED_LAYER_GAP;
  graph.setGraph({ rankdir: isDown ? "TB" : "LR", nodesep: 26, ranksep, edgesep: 10, marginx: 24, marginy: 24 });
  graph.setDefaultEdgeLabel(() => ({}));
  const ids = nodes.map((node) => node.id).sort();
  for (const id of ids) graph.setNode(id, { width: NODE_WIDTH, height: NODE_HEIGHT });
  const known = new Set(ids);
  const sorted = edges
    .filter((edge) => known.has(edge.from) && known.has(edge.to))
    .sort((one, other) => (edgeKey(one) < edgeKey(other) ? -1 : 1));
  const isDense = sorted.length > MAX_EDGES_PER_NODE * ids.length + FEW_EDGES;
  for (const edge of isDense ? skeleton(ids, sorted) : sorted)
    if (edge.from !== edge.to) graph.setEdge(edge.from, edge.to, {});
  layout(graph);

  const result: Layout = { nodes: new Map(), edges: new Map(), width: 0, height: 0 };
  for (const id of ids) {
    const { x, y } = graph.node(id) as unknown as Point;
    result.nodes.set(id, { x, y });
    result.width = Math.max(result.width, x + NODE_WIDTH / 2 + 24);
    result.height = Math.max(result.height, y + NODE_HEIGHT / 2 + 24);
  }
  for (const edge of sorted) {
    const from = result.nodes.get(edge.from);
    const to = result.nodes.get(edge.to);
    if (from === undefined || to === undefined) continue;
    const bends = (graph.edge(edge.from, edge.to) as unknown as { points?: Point[] } | undefined)?.points ?? [];
    result.edges.set(
      edgeKey(edge),
      edge.from === edge.to ? loop(from) : isDown ? atEnds(bends, from, to) : atSides(bends, from, to),
    );
  }
  return result;
}

/**
 * Edges by which each node is first reached, from those that nobody calls. Where everything calls everything, these alone
 * make layers that can be read; the other edges are drawn straight across.
 */
function skeleton(ids: string[], edges: MapEdge[]): MapEdge[] {
  const called = new Set(edges.filter((edge) => edge.from !== edge.to).map((edge) => edge.to));
  const calls = new Map<string, MapEdge[]>();
  for (const edge of edges) calls.set(edge.from, [...(calls.get(edge.from) ?? []), edge]);
  const reached = new Set<string>();
  const kept: MapEdge[] = [];
  for (const root of [...ids.filter((id) => !called.has(id)), ...ids]) {
    if (reached.has(root)) continue;
    reached.add(root);
    const queue = [root];
    for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
      for (const edge of calls.get(id) ?? []) {
        if (reached.has(edge.to)) continue;
        reached.add(edge.to);
        kept.push(edge);
        queue.push(edge.to);
      }
    }
  }
  return kept;
}

/** Edges leave at the side that they go to, and arrive at the other: the eye follows them as they flow. */
function atSides(bends: Point[], from: Point, to: Point): Point[] {
  if (Math.abs(to.x - from.x) < 1) {
    // One below the other: around the right side.
    const x = from.x + NODE_WIDTH / 2;
    return [
      { x, y: from.y },
      { x: x + 40, y: from.y },
      { x: x + 40, y: to.y },
      { x, y: to.y },
    ];
  }
  return sides(bends, from, to, NODE_WIDTH);
}

/** From the side of a node that faces the other one, along the bends, to the other's side. */
function sides(bends: Point[], from: Point, to: Point, thickness: number): Point[] {
  const side = to.x >= from.x ? thickness / 2 : -thickness / 2;
  const start = { x: from.x + side, y: from.y };
  const end = { x: to.x - side, y: to.y };
  const reach = Math.sign(side) * Math.min(30, Math.abs(end.x - start.x) / 2);
  return [start, { x: start.x + reach, y: start.y }, ...bends.slice(1, -1), { x: end.x - reach, y: end.y }, end];
}

/** The same where calls go down: edges leave below and arrive above. */
function atEnds(bends: Point[], from: Point, to: Point): Point[] {
  const turned = (point: Point) => ({ x: point.y, y: point.x });
  if (Math.abs(to.y - from.y) < 1) {
    // One beside the other: around below.
    const y = from.y + NODE_HEIGHT / 2;
    return [
      { x: from.x, y },
      { x: from.x, y: y + 30 },
      { x: to.x, y: y + 30 },
      { x: to.x, y },
    ];
  }
  return sides(bends.map(turned), turned(from), turned(to), NODE_HEIGHT).map(turned);
}

/** A service that calls itself. */
function loop(middle: Point): Point[] {
  const top = middle.y - NODE_HEIGHT / 2;
  return [
    { x: middle.x + 24, y: top },
    { x: middle.x + 34, y: top - 22 },
    { x: middle.x - 34, y: top - 22 },
    { x: middle.x - 24, y: top },
  ];
}

/** The point half way along a line. */
export function middleOf(points: readonly Point[]): Point {
  const lengths = points
    .slice(1)
    .map((point, at) => Math.hypot(point.x - (points[at]?.x ?? 0), point.y - (points[at]?.y ?? 0)));
  let left = lengths.reduce((sum, length) => sum + length, 0) / 2;
  for (let at = 0; at < lengths.length; at++) {
    const [from, to, length] = [points[at], points[at + 1], lengths[at] ?? 0];
    if (from === undefined || to === undefined) break;
    if (left <= length) {
      const part = length === 0 ? 0 : left / length;
      return { x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part };
    }
    left -= length;
  }
  return points[0] ?? { x: 0, y: 0 };
}

/** A smooth line through points: curves between the middles of its parts. */
export function pathOf(points: readonly Point[]): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  let path = `M${round(first.x)} ${round(first.y)}`;
  rest.forEach((point, at) => {
    const next = rest[at + 1];
    if (next === undefined) path += ` L${round(point.x)} ${round(point.y)}`;
    else
      path += ` Q${round(point.x)} ${round(point.y)} ${round((point.x + next.x) / 2)} ${round((point.y + next.y) / 2)}`;
  });
  return path;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** The nearest node in a direction: how far it is counts, and three times how far it is to the side. */
export function neighbour(layout: Layout, from: string, direction: "left" | "right" | "up" | "down"): string | null {
  const here = layout.nodes.get(from);
  if (here === undefined) return null;
  let best: string | null = null;
  let least = Infinity;
  for (const [id, point] of layout.nodes) {
    if (id === from) continue;
    const dx = point.x - here.x;
    const dy = point.y - here.y;
    const ahead = { left: -dx, right: dx, up: -dy, down: dy }[direction];
    const aside = direction === "left" || direction === "right" ? Math.abs(dy) : Math.abs(dx);
    if (ahead <= 1) continue;
    const far = ahead + 3 * aside;
    if (far < least) [least, best] = [far, id];
  }
  return best;
}
