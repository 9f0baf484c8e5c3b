import { expect, test } from "vitest";
import { slowAddress, stateOf } from "./box";

test("a box leads to what makes its requests slow, with its operation", () => {
  const box = { start_us: 10, end_us: 20, least_ns: 48e6, most_ns: 1.5e9 };
  const { q, from, to } = stateOf('service:cart operation:"GET /a b\\"c"', box);
  const address = new URLSearchParams(slowAddress(q, from, to)?.replace("#/analysis/slow?", ""));
  expect(Object.fromEntries(address)).toEqual({
    service: "cart",
    operation: 'GET /a b"c',
    box_from: "10",
    box_to: "20",
    least: "48000000",
    most: "1500000000",
  });
});

test("a query that bounds no duration from below, or has two sides, asks for nothing slow", () => {
  expect(slowAddress("service:cart duration<5ms", null, null)).toBeNull();
  expect(slowAddress("duration>1s OR service:cart", null, null)).toBeNull();
  expect(slowAddress("duration>=x", null, null)).toBeNull();
  expect(slowAddress("trace.duration>1s", null, null)).toBeNull();
  expect(slowAddress("", null, null)).toBeNull();
});

test("the beginning of a value names no operation", () => {
  expect(slowAddress('operation:"GET /"* duration>2s', null, null)).toBe("#/analysis/slow?least=2000000000");
});
