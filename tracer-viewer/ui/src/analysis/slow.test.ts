import { expect, test } from "vitest";
import { chanceOf, chosenOf, valueOf } from "./slow";

const reads = (state: string) => {
  const parameters = new URLSearchParams(state);
  return (name: string) => parameters.get(name) ?? "";
};

test("without more than an operation the slowest twentieth is compared", () => {
  const chosen = chosenOf(reads("service=cart&operation=GET /"));
  expect([chosen.service, chosen.operation, chosen.kind, chosen.quantile]).toEqual(["cart", "GET /", null, 0.95]);
  expect(Object.values(chosen.box)).toEqual([null, null, null, null]);
});

test("a box goes before a quantile, and bounds that are no numbers are none", () => {
  const chosen = chosenOf(reads("operation=a&quantile=0.5&least=48000000&most=x&box_from=-1&box_to=20"));
  expect(chosen.quantile).toBeNull();
  expect(chosen.box).toEqual({ box_start_us: null, box_end_us: 20, least_ns: 48_000_000, most_ns: null });
});

test("a quantile that cannot be chosen is the usual one", () => {
  expect(chosenOf(reads("quantile=0.99")).quantile).toBe(0.99);
  expect(chosenOf(reads("quantile=7")).quantile).toBe(0.95);
});

test("the numbers of a difference have the unit of its kind", () => {
  expect(valueOf("part", 36e6)).toBe("36.0 ms");
  expect(valueOf("repeated_calls", 10.44)).toBe("10.4");
  expect(valueOf("number", 12_345)).toBe("12,345");
  expect(valueOf("attribute", 0.92)).toBe("92.0 %");
});

test("chance is told with one digit, and no smaller than it can be known", () => {
  expect(chanceOf({ p_value: 0 })).toBe("p < 0.001");
  expect(chanceOf({ p_value: 0.0123 })).toBe("p = 0.01");
});
