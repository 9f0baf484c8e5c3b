import type { TraceAnswer, TraceSpan } from "../api/types";
import { serviceColor, type Theme } from "../color/service";
import { duration } from "../text/numbers";
import type { Tree } from "./tree";

/** Colours of the theme that a drawing needs. */
export interface Palette {
  theme: Theme;
  ground: string;
  ink: string;
  muted: string;
  line: string;
  error: string;
  font: string;
}

/** Colours of a theme; they are read once, for reading them makes the browser work out every style. */
export function paletteOf(element: Element, theme: Theme): Palette {
  return (PALETTES[theme] ??= readPalette(element, theme));
}
const PALETTES: Partial<Record<Theme, Palette>> = {};

function readPalette(element: Element, theme: Theme): Palette {
  const style = getComputedStyle(element);
  const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    theme,
    ground: color("ground"),
    ink: color("ink"),
    muted: color("muted"),
    line: color("line"),
    error: color("error"),
    font: `11px ${style.fontFamily}`,
  };
}

/** What is drawn of a waterfall. */
export interface Scene {
  trace: TraceAnswer;
  tree: Tree;
  rows: Uint32Array;
  firstRow: number;
  lastRow: number;
  rowHeight: number;
  /** From the top of a row to its bar. */
  barTop: number;
  barHeight: number;
  /** From the top of a row to the lines of the grid. */
  gridTop: number;
  from_ns: number;
  to_ns: number;
  hasPath: boolean;
  hasLabels: boolean;
  grid_ns: readonly number[];
  isClosed: (at: number) => boolean;
  own: (at: number) => Float64Array;
}

/** Sizes a canvas for its screen; the answer draws in CSS pixels. */
export function contextOf(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = Math.min(3, globalThis.devicePixelRatio || 1);
  const [pixelsWide, pixelsHigh] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  const context = canvas.getContext("2d");
  // A new size forgets the font.
  if (context !== null && (canvas.width !== pixelsWide || canvas.height !== pixelsHigh)) FONTS.delete(context);
  if (canvas.width !== pixelsWide) canvas.width = pixelsWide;
  if (canvas.height !== pixelsHigh) canvas.height = pixelsHigh;
  context?.setTransform(ratio, 0, 0, ratio, 0, 0);
  context?.clearRect(0, 0, width, height);
  return context;
}

/** Sets the font of texts, if it is another: setting it makes the browser work out the style of the page at once. */
export function setFont(context: CanvasRenderingContext2D, palette: Palette): void {
  if (FONTS.get(context) === palette.font) return;
  FONTS.set(context, palette.font);
  context.font = palette.font;
  context.textBaseline = "middle";
}
const FONTS = new WeakMap<CanvasRenderingContext2D, string>();

/** Bars of the rows from `firstRow` to `lastRow`, the first at the top of the canvas. */
export function drawRows(context: CanvasRenderingContext2D, width: number, scene: Scene, palette: Palette): void {
  const scale = width / (scene.to_ns - scene.from_ns);
  const x = (ns: number) => (ns - scene.from_ns) * scale;
  setFont(context, palette);
  context.fillStyle = palette.line;
  drawGrid(context, scene, x);

  for (let row = scene.firstRow; row < scene.lastRow; row++) {
    const at = scene.rows[row] ?? 0;
    const span = scene.trace.spans[at];
    if (span === undefined) continue;
    const top = (row - scene.firstRow) * scene.rowHeight + scene.barTop;
    drawSpan(context, width, scene, palette, span, at, top, x);
  }
}

/** Lines at the marks of the ruler; where names stand above their bars, they stop at the names. */
function drawGrid(context: CanvasRenderingContext2D, scene: Scene, x: (ns: number) => number): void {
  const rows = scene.lastRow - scene.firstRow;
  for (const at_ns of scene.grid_ns) {
    const left = Math.round(x(at_ns));
    if (scene.gridTop === 0) context.fillRect(left, 0, 1, rows * scene.rowHeight);
    else
      for (let row = 0; row < rows; row++)
        context.fillRect(left, row * scene.rowHeight + scene.gridTop, 1, scene.rowHeight - scene.gridTop);
  }
}

function drawSpan(
  context: CanvasRenderingContext2D,
  width: number,
  scene: Scene,
  palette: Palette,
  span: TraceSpan,
  at: number,
  top: number,
  x: (ns: number) => number,
): void {
  const left = x(span.start_ns);
  const right = Math.max(left + 2, x(span.start_ns + span.duration_ns));
  const height = scene.barHeight;
  if (right < 0 || left > width) {
    drawElsewhere(context, width, palette, right < 0, top + height / 2);
    return;
  }
  const color = serviceColor(scene.trace.services[span.service]?.name ?? "", palette.theme);
  const shownLeft = Math.max(-2, left);
  const shownRight = Math.min(width + 2, right);

  // Pale: something below it was under way. Full: its own time.
  context.fillStyle = color;
  context.globalAlpha = palette.theme === "light" ? 0.3 : 0.38;
  context.fillRect(shownLeft, top, shownRight - shownLeft, height);
  context.globalAlpha = 1;
  if (scene.isClosed(at)) {
    context.fillRect(shownLeft, top, shownRight - shownLeft, height);
  } else {
    fillStretches(context, scene.own(at), x, top, height, width);
  }
  if (!span.end_known) {
    context.fillStyle = palette.ground;
    for (let notch = 0; notch < height; notch += 4) context.fillRect(shownRight - 3, top + notch, 3, 2);
  }
  for (const gap of span.gaps)
    drawGap(context, palette, color, gap.name, x(gap.start_ns), x(gap.end_ns), top, height, width);
  if (span.is_error) {
    context.strokeStyle = palette.error;
    context.lineWidth = 2;
    context.strokeRect(shownLeft - 1, top - 1, Math.max(4, shownRight - shownLeft + 2), height + 2);
  }
  if (scene.hasPath && span.critical.length > 0) {
    context.fillStyle = palette.ink;
    const stretches = new Float64Array(span.critical.length * 2);
    span.critical.forEach((stretch, place) => {
      stretches[place * 2] = stretch.start_ns;
      stretches[place * 2 + 1] = stretch.end_ns;
    });
    fillStretches(context, stretches, x, top + height + 1, 2, width);
  }
  for (const event of span.events) {
    const at = x(event.time_ns);
    if (at < 0 || at > width) continue;
    context.fillStyle = palette.ink;
    context.beginPath();
    context.moveTo(at, top - 3);
    context.lineTo(at + 3, top + 1);
    context.lineTo(at - 3, top + 1);
    context.fill();
  }
  if (scene.hasLabels)
    drawLabel(
      context,
      width,
      palette,
      `${span.end_known ? "" : "≥ "}${duration(span.duration_ns)}`,
      left,
      right,
      top + height / 2,
    );
}

/** Fills stretches, those that fall onto one pixel only once. */
function fillStretches(
  context: CanvasRenderingContext2D,
  stretches: Float64Array,
  x: (ns: number) => number,
  top: number,
  height: number,
  width: number,
): void {
  let painted = -1;
  for (let place = 0; place + 1 < stretches.length; place += 2) {
    const left = Math.max(-2, x(stretches[place] ?? 0));
    const right = Math.min(width + 2, Math.max(left + 1, x(stretches[place + 1] ?? 0)));
    if (right < 0 || right <= painted) continue;
    if (left > width) break;
    const from = Math.max(left, painted);
    context.fillRect(from, top, right - from, height);
    painted = right;
  }
}

/** A stretch with a name: hatched, and the name in it if there is space. */
function drawGap(
  context: CanvasRenderingContext2D,
  palette: Palette,
  color: string,
  name: string,
  from: number,
  to: number,
  top: number,
  height: number,
  width: number,
): void {
  const left = Math.max(0, from);
  const right = Math.min(width, to);
  if (right - left < 1.5) return;
  context.fillStyle = palette.ground;
  context.fillRect(left, top, right - left, height);
  context.save();
  context.beginPath();
  context.rect(left, top, right - left, height);
  context.clip();
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.strokeRect(left + 0.5, top + 0.5, right - left - 1, height - 1);
  const textWidth = widthOf(context, name);
  const hasName = textWidth + 8 < right - left;
  context.beginPath();
  for (let at = left - height; at < right; at += 5) {
    context.moveTo(at, top + height);
    context.lineTo(at + height, top);
  }
  context.globalAlpha = hasName ? 0.35 : 0.9;
  context.stroke();
  context.globalAlpha = 1;
  if (hasName) {
    const middle = (left + right) / 2;
    context.fillStyle = palette.ground;
    context.fillRect(middle - textWidth / 2 - 3, top + 1, textWidth + 6, height - 2);
    context.fillStyle = palette.ink;
    context.fillText(name, middle - textWidth / 2, top + height / 2 + 0.5);
  }
  context.restore();
}

/** Width of a text. Names of gaps are few and come again in every row. */
function widthOf(context: CanvasRenderingContext2D, text: string): number {
  let width = WIDTHS.get(text);
  if (width === undefined) {
    if (WIDTHS.size > 500) WIDTHS.clear();
    WIDTHS.set(text, (width = context.measureText(text).width));
  }
  return width;
}
const WIDTHS = new Map<string, number>();

function drawLabel(
  context: CanvasRenderingContext2D,
  width: number,
  palette: Palette,
  text: string,
  left: number,
  right: number,
  middle: number,
): void {
  const textWidth = context.measureText(text).width;
  context.fillStyle = palette.muted;
  if (right + textWidth + 6 < width) context.fillText(text, right + 5, middle);
  else if (left - textWidth - 6 > 0) context.fillText(text, left - textWidth - 5, middle);
}

/** A small arrow at the edge: the span lies outside of the window. */
function drawElsewhere(
  context: CanvasRenderingContext2D,
  width: number,
  palette: Palette,
  isBefore: boolean,
  middle: number,
): void {
  const tip = isBefore ? 2 : width - 2;
  const base = isBefore ? 7 : width - 7;
  context.fillStyle = palette.muted;
  context.beginPath();
  context.moveTo(tip, middle);
  context.lineTo(base, middle - 4);
  context.lineTo(base, middle + 4);
  context.fill();
}

/** Stretches of a span in which none of its children was under way: starts and ends, ascending. */
export function ownStretches(spans: readonly TraceSpan[], tree: Tree, at: number): Float64Array {
  const span = spans[at];
  if (span === undefined) return new Float64Array(0);
  const end = span.start_ns + span.duration_ns;
  const found: number[] = [];
  let free = span.start_ns;
  for (let child = at + 1; child < (tree.end[at] ?? 0); child = tree.end[child] ?? child + 1) {
    const below = spans[child];
    if (below === undefined) break;
    const start = Math.min(end, below.start_ns);
    if (start > free) found.push(free, start);
    free = Math.max(free, Math.min(end, below.start_ns + below.duration_ns));
  }
  if (end > free) found.push(free, end);
  return Float64Array.from(found);
}

/** The whole trace in little space: a line for each span, the rows squeezed into the height. */
export function drawMinimap(
  context: CanvasRenderingContext2D,
  width: number,
  height: number,
  trace: TraceAnswer,
  palette: Palette,
): void {
  const scale = width / Math.max(1, trace.summary.duration_ns);
  const rows = trace.spans.length;
  const pitch = height / Math.max(rows, 12);
  const thick = Math.max(1, Math.min(4, pitch * 0.7));
  // Beyond some thousands the lines lie on one another: each pixel is painted once for each colour.
  trace.spans.forEach((span, row) => {
    context.fillStyle = span.is_error
      ? palette.error
      : serviceColor(trace.services[span.service]?.name ?? "", palette.theme);
    context.fillRect(
      span.start_ns * scale,
      row * pitch,
      Math.max(1, span.duration_ns * scale),
      span.is_error ? Math.max(2, thick) : thick,
    );
  });
}
