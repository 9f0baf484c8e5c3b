import { expect, test } from "vitest";
import { formatAddress, parseAddress } from "./address";

test("an address says page, subject and state, and is written the same again", () => {
  const hash = formatAddress("trace", "00ab", { view: "flame", find: "a b&c", live: true, none: null, empty: "" });
  expect(hash).toBe("#/trace/00ab?view=flame&find=a+b%26c&live=1");
  const address = parseAddress(hash);
  expect([address.page, address.of, address.state.get("find")]).toEqual(["trace", "00ab", "a b&c"]);
});

test("a name with any characters is one subject", () => {
  const address = parseAddress(formatAddress("services", "a/b?c#d%"));
  expect(address.of).toBe("a/b?c#d%");
});

test("what is not known is the list of traces", () => {
  expect(parseAddress("").page).toBe("traces");
  expect(parseAddress("#/nonsense/x").page).toBe("traces");
  expect([parseAddress(""), parseAddress("#/"), parseAddress("#/map")].map((address) => address.isKnown)).toEqual([
    true,
    true,
    true,
  ]);
  expect(parseAddress("#/nonsense/x").isKnown).toBe(false);
  expect(parseAddress("#/trace/%E0%A4%A").of).toBe("%E0%A4%A");
});
