import { expect, test } from "vitest";
import { colorAt, PLACES, serviceColor, type Oklch } from "./service";

/** Relative luminance (WCAG 2.2) of an OKLCH colour, by its definition: OKLab to linear sRGB. */
function luminance({ lightness, chroma, hue }: Oklch): number {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const clamp = (x: number) => Math.min(1, Math.max(0, x));
  const red = clamp(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s);
  const green = clamp(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s);
  const blue = clamp(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: number, other: number): number {
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}

test("every colour of a service has contrast 3:1 against the ground of both themes", () => {
  const white = 1;
  const dark = luminance({ lightness: 0.26, chroma: 0.01, hue: 260 });
  for (let place = 0; place < PLACES; place++) {
    expect(contrast(luminance(colorAt(place, "light")), white)).toBeGreaterThanOrEqual(3);
    expect(contrast(luminance(colorAt(place, "dark")), dark)).toBeGreaterThanOrEqual(3);
  }
});

test("a service has one colour, whatever others there are", () => {
  const first = serviceColor("cart", "light");
  for (let i = 0; i < 100; i++) serviceColor(`other-${i}`, "light");
  expect(serviceColor("cart", "light")).toBe(first);
});

test("names that differ in their last letter spread over the colours", () => {
  const colors = new Set(Array.from({ length: 100 }, (_, i) => serviceColor(`service-${i}`, "light")));
  expect(colors.size).toBeGreaterThan(PLACES * 0.8);
});
