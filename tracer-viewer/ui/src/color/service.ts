/**
 * Colours of services: always the same for one name, on every page and in every trace. Names are always written beside
 * them, so two services that share a colour are never told apart by it alone.
 *
 * Hues avoid red, which means an error.
 */

/** Hues of OKLCH, in degrees. */
const HUES = [58, 82, 106, 130, 152, 174, 196, 218, 240, 262, 284, 306, 328, 350];

/** Lightness and chroma by theme: two shades of each hue, all at 3:1 or more against the ground (see the test). */
const SHADES = {
  light: [
    { lightness: 0.6, chroma: 0.115 },
    { lightness: 0.47, chroma: 0.1 },
  ],
  dark: [
    { lightness: 0.7, chroma: 0.115 },
    { lightness: 0.83, chroma: 0.085 },
  ],
};

/** A theme of the page. */
export type Theme = "light" | "dark";

/** Colours that there are. */
export const PLACES = HUES.length * 2;

/** A colour of OKLCH. */
export interface Oklch {
  lightness: number;
  chroma: number;
  hue: number;
}

/** FNV-1a: the same in every browser and every version of the page. */
function hash(name: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) {
    value = Math.imul(value ^ name.charCodeAt(at), 0x01000193);
  }
  // The low bits of FNV are weak for names that differ in their last letter.
  value ^= value >>> 15;
  value = Math.imul(value, 0x2c1b3c6d);
  return (value ^ (value >>> 13)) >>> 0;
}

/** The colour at a place. */
export function colorAt(place: number, theme: Theme): Oklch {
  const shade = SHADES[theme][Math.floor(place / HUES.length) % 2] ?? SHADES[theme][0];
  return { lightness: shade?.lightness ?? 0.6, chroma: shade?.chroma ?? 0.1, hue: HUES[place % HUES.length] ?? 240 };
}

/** The colour of a service, as CSS. */
export function serviceColor(name: string, theme: Theme): string {
  const known = CACHE[theme].get(name);
  if (known !== undefined) return known;
  const { lightness, chroma, hue } = colorAt(hash(name) % PLACES, theme);
  const color = `oklch(${lightness} ${chroma} ${hue})`;
  if (CACHE[theme].size > 10_000) CACHE[theme].clear();
  CACHE[theme].set(name, color);
  return color;
}
const CACHE: Record<Theme, Map<string, string>> = { light: new Map(), dark: new Map() };
