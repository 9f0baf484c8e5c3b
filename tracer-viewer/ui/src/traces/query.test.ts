import { expect, test } from "vitest";
import { hasTerm, quoted, sides, termOf, terms, withDuration, withoutPlace, withoutTerm, withTerm } from "./query";

test("terms are parted by blanks outside of quotes", () => {
  const query = 'service:cart  operation:"GET /x y" -a="\\" b" word';
  expect(terms(query).map((term) => term.text)).toEqual(["service:cart", 'operation:"GET /x y"', '-a="\\" b"', "word"]);
  expect(terms(query)[1]).toMatchObject({ from: 14, to: 34 });
});

test("a quote that does not end takes the rest", () => {
  expect(terms('a "b c').map((term) => term.text)).toEqual(["a", '"b c']);
});

test("what the language would read stands in quotes", () => {
  expect(quoted("checkout-2")).toBe("checkout-2");
  expect(quoted("a*")).toBe('"a*"');
  expect(quoted('say "x" \\')).toBe('"say \\"x\\" \\\\"');
  expect(quoted("")).toBe('""');
  expect(quoted("-a")).toBe('"-a"');
});

test("services are asked for by a colon, attributes by an equals sign", () => {
  expect(termOf("service", "cart")).toBe("service:cart");
  expect(termOf("http.request.method", "GET")).toBe("http.request.method=GET");
  expect(termOf("big", "x".repeat(300))).toBe(`big=${"x".repeat(200)}*`);
});

test("a term takes the place of its opposite and is not there twice", () => {
  expect(withTerm("a=1 b", "-a=1")).toBe("b -a=1");
  expect(withTerm("a=1", "a=1")).toBe("a=1");
});

test("a term can be taken out by its place", () => {
  expect(withoutPlace('a "b c" d', 1)).toBe("a d");
});

test("an OR that would stand beside nothing goes with its term", () => {
  expect(withoutPlace("a OR b", 0)).toBe("b");
  expect(withoutPlace("a OR b", 2)).toBe("a");
  expect(withoutPlace("a OR b OR c", 2)).toBe("a OR c");
  expect(withoutPlace("a b OR c", 0)).toBe("b OR c");
  expect(withoutPlace("a AND b OR c", 0)).toBe("b OR c");
});

test("OR parts a query into sides, and a quoted OR does not", () => {
  expect(sides('a b OR c "x OR y" or').map((side) => side.map((term) => term.text))).toEqual([
    ["a", "b"],
    ["c", '"x OR y"', "or"],
  ]);
  expect(sides("OR a OR")).toHaveLength(1);
  expect(sides("a AND b").map((side) => side.length)).toEqual([2]);
});

test("what is added to a query holds for each of its sides", () => {
  expect(withTerm("a OR b", "status:error")).toBe("a status:error OR b status:error");
  expect(hasTerm("a status:error OR b", "status:error")).toBe(false);
  expect(hasTerm("a status:error OR b status:error", "status:error")).toBe(true);
  expect(withoutTerm("a status:error OR status:error", "status:error")).toBe("a");
  expect(withDuration("a duration>1s OR b", "2ms", "4ms")).toBe(
    "a duration>=2ms duration<4ms OR b duration>=2ms duration<4ms",
  );
});

test("new bounds of duration take the place of the old ones", () => {
  expect(withDuration("a duration>1ms duration<=5ms", "2ms", null)).toBe("a duration>=2ms");
});
