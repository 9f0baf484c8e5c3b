import { expect, test } from "vitest";
import type { MapAnswer, MapNode } from "../api/types";
import { around, lanes, marksAt, nodeMarks, stretchOf } from "./wave";

const S = 1_000_000;
const WAVE = [
  { service: "depot", onset_unix_us: 100 * S, end_unix_us: 140 * S, signals: ["own_time" as const], because_of: [] },
  { service: "stock", onset_unix_us: 102 * S, end_unix_us: null, signals: ["errors" as const], because_of: ["depot"] },
];
const ORIGINS = [
  {
    service: "depot",
    kind: "slower" as const,
    sentence: "",
    onset_unix_us: 100 * S,
    end_unix_us: 140 * S,
    reaches: ["stock"],
  },
];

test("lanes say who was hit when, how and because of whom", () => {
  expect(lanes(WAVE, ORIGINS)).toEqual([
    { name: "depot", isOrigin: true, from: 100 * S, to: 140 * S, signals: "works longer", because: [] },
    { name: "stock", isOrigin: false, from: 102 * S, to: null, signals: "fails", because: ["depot"] },
  ]);
});

test("the stretch has some time before the wave, within what was looked at", () => {
  const of = (start: number, end: number) =>
    stretchOf(lanes(WAVE, ORIGINS), { start_unix_us: start * S, end_unix_us: end * S });
  expect(of(0, 180)).toEqual([80 * S, 180 * S]);
  expect(of(95, 180)).toEqual([95 * S, 180 * S]);
});

test("marks follow the moment", () => {
  const at = (second: number) => [...marksAt(lanes(WAVE, ORIGINS), second * S)];
  expect(at(99)).toEqual([]);
  expect(at(101)).toEqual([["depot", "origin"]]);
  expect(at(110)).toEqual([
    ["depot", "origin"],
    ["stock", "hit"],
  ]);
  expect(at(150)).toEqual([
    ["depot", "over"],
    ["stock", "hit"],
  ]);
});

test("of a large map the part around the wave is shown", () => {
  const node = (name: string) => ({ id: `service:${name}`, name }) as MapNode;
  const map = {
    nodes: ["depot", "stock", "shop", "far"].map(node),
    edges: [
      { from: "service:shop", to: "service:stock" },
      { from: "service:far", to: "service:shop" },
    ],
  } as MapAnswer;
  expect(around(map, lanes(WAVE, ORIGINS), 4)).toBe(map);
  const part = around(map, lanes(WAVE, ORIGINS), 3);
  expect(part.nodes.map((node) => node.name)).toEqual(["depot", "stock", "shop"]);
  expect(part.edges.length).toBe(1);
  expect([...nodeMarks(map.nodes, new Map([["stock", "hit"]]))]).toEqual([["service:stock", "hit"]]);
});
