import { expect, test } from "vitest";
import { quoted, termOf, terms, withDuration, withoutTerm, withTerm } from "./query";

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
  expect(withoutTerm('a "b c" d', 1)).toBe("a d");
});

test("new bounds of duration take the place of the old ones", () => {
  expect(withDuration("a duration>1ms duration<=5ms", "2ms", null)).toBe("a duration>=2ms");
});
