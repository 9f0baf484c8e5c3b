import { expect, test } from "vitest";
import { formatAddress, stray } from "./address";
import { baseOf, pathBehind } from "./base";

test("the viewer begins one folder above its script, at any depth and below any prefix", () => {
  const at = (page: string, script: string) => baseOf(page, script).href;
  expect(at("http://h:1/", "./assets/a.js")).toBe("http://h:1/");
  expect(at("http://h:1/trace/ab", "../assets/a.js")).toBe("http://h:1/");
  expect(at("http://h:1/tools/tracer/a/b/c", "../../assets/a.js")).toBe("http://h:1/tools/tracer/");
  expect(baseOf("file:///tmp/trace.html", null).href).toBe("file:///tmp/");
});

test("what stands behind the base is a path that the viewer does not have", () => {
  const base = new URL("http://h:1/tools/");
  expect(pathBehind(base, new URL("http://h:1/tools/#/map"))).toBe("");
  expect(pathBehind(base, new URL("http://h:1/tools/index.html"))).toBe("");
  expect(pathBehind(base, new URL("http://h:1/tools/nope/x?q=1"))).toBe("nope/x");
});

test("a path that names a page leads to it, any other to none", () => {
  expect(stray("trace/00ab", "")).toBe(formatAddress("trace", "00ab"));
  expect(stray("map", "?last=300")).toBe("#/map?last=300");
  expect(stray("services/a%2Fb", "")).toBe(formatAddress("services", "a/b"));
  expect(stray("nope", "")).toBeNull();
  expect(stray("trace", "")).toBeNull();
});
