import { expect, test } from "vitest";
import type { MapEdge, MapNode } from "../api/types";
import { edgeKey, fit, layOut, layOutWithin, middleOf, neighbour, pathOf } from "./layout";

const node = (id: string) => ({ id, name: id, kind: "service" }) as MapNode;
const edge = (from: string, to: string) => ({ from, to }) as MapEdge;
const NODES = ["a", "b", "c", "d"].map(node);
const EDGES = [edge("a", "b"), edge("b", "c"), edge("a", "d"), edge("c", "a"), edge("d", "d"), edge("a", "gone")];

test("the same nodes and edges give the same picture in whatever order they come", () => {
  const one = layOut(NODES, EDGES);
  const other = layOut([...NODES].reverse(), [...EDGES].reverse());
  expect([...other.nodes].sort()).toEqual([...one.nodes].sort());
  expect([...other.edges].sort()).toEqual([...one.edges].sort());
});

test("who is called lies to the right of who calls", () => {
  const { nodes } = layOut(NODES, EDGES);
  const x = (id: string) => nodes.get(id)?.x ?? 0;
  expect(x("b")).toBeGreaterThan(x("a"));
  expect(x("c")).toBeGreaterThan(x("b"));
  expect(x("d")).toBe(x("b"));
});

test("cycles, loops and edges to what is not there do not break it", () => {
  const { edges } = layOut(NODES, EDGES);
  expect(edges.has(edgeKey({ from: "c", to: "a" }))).toBe(true);
  expect(edges.get(edgeKey({ from: "d", to: "d" }))).toHaveLength(4);
  expect(edges.has(edgeKey({ from: "a", to: "gone" }))).toBe(false);
});

test("keys go to the nearest node in their direction", () => {
  const layout = layOut(NODES, EDGES);
  expect(["b", "d"]).toContain(neighbour(layout, "a", "right"));
  expect(neighbour(layout, "a", "left")).toBeNull();
  expect(pathOf([])).toBe("");
  expect(
    middleOf([
      { x: 0, y: 0 },
      { x: 10, y: 0 },
      { x: 10, y: 30 },
    ]),
  ).toEqual({ x: 10, y: 10 });
});

test("a hundred services are laid out in less than two seconds", () => {
  const nodes = Array.from({ length: 100 }, (_, at) => node(`s${at}`));
  const edges = nodes.flatMap((_, at) =>
    at === 0 ? [] : [edge(`s${Math.floor((at - 1) / 3)}`, `s${at}`), edge(`s${(at * 7) % 100}`, `s${at}`)],
  );
  const start = performance.now();
  expect(layOut(nodes, edges).nodes.size).toBe(100);
  expect(performance.now() - start).toBeLessThan(2000);
});

test("where everything calls everything the picture stays small", () => {
  const nodes = Array.from({ length: 30 }, (_, at) => node(`s${at}`));
  const edges = nodes.flatMap((one) => nodes.map((other) => edge(one.id, other.id)));
  const layout = layOut(nodes, edges);
  expect(layout.edges.size).toBe(900);
  expect(layout.height).toBeLessThan(30 * 100);
});

/** The picture of the map beside its panel on a screen of 1280 × 720 pixels. */
const [WIDTH, HEIGHT] = [948, 620];

test("a chain that is too long for the screen goes down, and needs not be shrunk", () => {
  const chain = [edge("a", "b"), edge("b", "c"), edge("c", "d"), edge("a", "c")];
  expect(fit(layOut(NODES, chain), WIDTH, HEIGHT)).toBeLessThan(0.8);
  const layout = layOutWithin(NODES, chain, WIDTH, HEIGHT);
  expect(fit(layout, WIDTH, HEIGHT)).toBeGreaterThanOrEqual(1);
  const y = (id: string) => layout.nodes.get(id)?.y ?? 0;
  expect(y("a") < y("b") && y("b") < y("c") && y("c") < y("d")).toBe(true);
  const [first] = layout.edges.get(edgeKey({ from: "a", to: "b" })) ?? [];
  expect((first?.y ?? 0) - y("a")).toBe(23);
});

test("a map that fits goes to the right, and a large one too", () => {
  const short = [edge("a", "b"), edge("b", "c")];
  expect(layOutWithin(NODES.slice(0, 3), short, 1200, HEIGHT)).toEqual(layOut(NODES.slice(0, 3), short));
  const many = Array.from({ length: 20 }, (_, at) => node(`s${at}`));
  const line = many.slice(1).map((_, at) => edge(`s${at}`, `s${at + 1}`));
  expect(layOutWithin(many, line, WIDTH, HEIGHT)).toEqual(layOut(many, line));
});

test("where calls go down, cycles, loops and edges within a layer do not break it", () => {
  const layout = layOut(NODES, EDGES, "down");
  expect(layout.edges.has(edgeKey({ from: "c", to: "a" }))).toBe(true);
  expect(layout.edges.get(edgeKey({ from: "d", to: "d" }))).toHaveLength(4);
  for (const points of layout.edges.values())
    for (const { x, y } of points) expect(Number.isFinite(x) && Number.isFinite(y)).toBe(true);
});
