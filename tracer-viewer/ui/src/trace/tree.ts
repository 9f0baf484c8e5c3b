import type { TraceSpan } from "../api/types";

/** The tree of a trace, by places in its list of spans: a parent stands before what is below it. */
export interface Tree {
  /** First place after what is below each span. */
  end: Uint32Array;
  /** Children of each span. */
  children: Uint32Array;
  /** Spans with an error below each span, itself not counted. */
  errorsBelow: Uint32Array;
  /** Place among its siblings, from 1, and how many they are. */
  position: Uint32Array;
  siblings: Uint32Array;
  /** Levels: 1 if there are only roots. */
  levels: number;
}

export function treeOf(spans: readonly TraceSpan[]): Tree {
  const length = spans.length;
  const tree: Tree = {
    end: new Uint32Array(length),
    children: new Uint32Array(length),
    errorsBelow: new Uint32Array(length),
    position: new Uint32Array(length),
    siblings: new Uint32Array(length),
    levels: 0,
  };
  let roots = 0;
  const parents = new Int32Array(length).fill(-1);
  spans.forEach((span, at) => {
    const parent = parentPlace(spans, at);
    parents[at] = parent;
    if (parent >= 0) tree.position[at] = tree.children[parent] = (tree.children[parent] ?? 0) + 1;
    else tree.position[at] = ++roots;
    tree.levels = Math.max(tree.levels, span.depth + 1);
  });
  for (let at = length - 1; at >= 0; at--) {
    if (tree.end[at] === 0) tree.end[at] = at + 1;
    const parent = parents[at] ?? -1;
    tree.siblings[at] = parent >= 0 ? (tree.children[parent] ?? 0) : roots;
    if (parent < 0) continue;
    tree.end[parent] = Math.max(tree.end[parent] ?? 0, tree.end[at] ?? 0);
    tree.errorsBelow[parent] =
      (tree.errorsBelow[parent] ?? 0) + (tree.errorsBelow[at] ?? 0) + (spans[at]?.is_error ? 1 : 0);
  }
  return tree;
}

/** Place of the parent; −1 for a root. A parent that does not stand before its child is none: the order would be broken. */
export function parentPlace(spans: readonly TraceSpan[], at: number): number {
  const parent = spans[at]?.parent;
  return parent !== null && parent !== undefined && parent < at ? parent : -1;
}

/** Places of the rows that are shown: those with no closed span above them. */
export function openRows(tree: Tree, isClosed: (at: number) => boolean): Uint32Array {
  const rows = new Uint32Array(tree.end.length);
  let length = 0;
  let at = 0;
  while (at < tree.end.length) {
    rows[length++] = at;
    const isLeaf = tree.children[at] === 0;
    at = !isLeaf && isClosed(at) ? (tree.end[at] ?? at + 1) : at + 1;
  }
  return rows.subarray(0, length);
}

/** Places from the root down to the parent of a span. */
export function ancestors(spans: readonly TraceSpan[], at: number): number[] {
  const found: number[] = [];
  for (let parent = parentPlace(spans, at); parent >= 0; parent = parentPlace(spans, parent)) found.push(parent);
  return found.reverse();
}

/** Row of a place in ascending rows; −1 if it is not shown. */
export function rowOf(rows: Uint32Array, at: number): number {
  let low = 0;
  let high = rows.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const value = rows[middle] ?? 0;
    if (value === at) return middle;
    if (value < at) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}
