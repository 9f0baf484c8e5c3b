/** Columns of a heatmap on a wide and on a narrow screen: a cell must be wide enough for a finger and an eye. */
const WIDE = 120;
const NARROW = 60;
const NARROW_PIXELS = 640;

/** Columns that suit the width of the page. */
export function heatmapColumns(): number {
  return globalThis.innerWidth < NARROW_PIXELS ? NARROW : WIDE;
}
