/** Stretches without a request, which rates over a whole window include. */

/** A shorter part of the window changes no rate by much. */
const LEAST_PART = 0.2;

/**
 * Time without any request, microseconds, of a window that is `length_us` long and cut into columns of equal width, of
 * which `series` have the counts or rates: the longest such stretches together. 0 if none is long.
 */
export function quietTime(series: readonly (readonly number[])[], length_us: number): number {
  const columns = Math.max(0, ...series.map((values) => values.length));
  if (columns === 0) return 0;
  const least = Math.max(1, columns * LEAST_PART);
  let quiet = 0;
  let run = 0;
  for (let column = 0; column <= columns; column++) {
    const isQuiet = column < columns && series.every((values) => (values[column] ?? 0) === 0);
    if (isQuiet) run++;
    else {
      if (run >= least) quiet += run;
      run = 0;
    }
  }
  // Nothing at all is no pause between requests.
  return quiet === columns ? 0 : (quiet / columns) * length_us;
}
