import type { Change, MapNode, NodeKind } from "../api/types";
import { duration, percent, rate } from "../text/numbers";
import { short } from "../text/visible";

/** What changed against the window before, in a word. */
export const CHANGES: Record<Change, string> = {
  new: "new",
  lost: "lost",
  slower: "slower",
  faster: "faster",
  "more-errors": "more errors",
};

const KINDS: Record<NodeKind, string> = {
  service: "service",
  peer: "not traced",
  database: "database",
  broker: "broker",
  outside: "callers from outside",
};

export function kindWords(kind: NodeKind): string {
  return KINDS[kind];
}

/** A node as a sentence, for those who hear the page; it has the words that are drawn. */
export function nodeWords(node: MapNode): string {
  const errors = node.red.errors / Math.max(1, node.red.count);
  const change = node.change ? `, ${CHANGES[node.change]} than before` : "";
  return `${short(node.name, 60)}, ${node.system ? short(node.system, 20) : kindWords(node.kind)}, ${rate(node.red.rate)}, p95 ${duration(node.red.p95_ns)}, ${percent(errors)} with an error${change}`;
}
