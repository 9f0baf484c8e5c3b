import { expect, test } from "vitest";
import { cut, short, visible } from "./visible";

test("control characters become their pictures", () => {
  expect(visible("a\u0000b\nc\u001b[31m\u007f")).toBe("a␀b␊c␛[31m␡");
});

test("characters that change the order or cannot be seen become escapes", () => {
  expect(visible("user\u202etxt.exe\u200b\u0085")).toBe("user\\u{202e}txt.exe\\u{200b}\\u{85}");
});

test("markup and letters of any script stay as they are", () => {
  expect(visible("<img src=x onerror=alert(1)> שלום 日本 👍")).toBe("<img src=x onerror=alert(1)> שלום 日本 👍");
});

test("a lone surrogate becomes an escape", () => {
  expect(visible("a\ud800b")).toBe("a\\u{d800}b");
});

test("a cut never leaves half of a character", () => {
  expect(cut("ab👍", 3)).toEqual({ text: "ab", isCut: true });
  expect(cut("ab👍", 4)).toEqual({ text: "ab👍", isCut: false });
  expect(short("abcdef", 3)).toBe("abc…");
});
