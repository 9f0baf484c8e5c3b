import type { Ability } from "../api/types";

/** What a line of the abilities says: all is there, it works with less, or it does not work. */
export type Verdict = "ok" | "less" | "missing";

export function verdictOf(ability: Ability): Verdict {
  if (ability.verdict === "less" || ability.verdict === "missing") return ability.verdict;
  return ability.is_there ? "ok" : "missing";
}

/** Abilities by their verdict, in the order in which they are told. */
export function byVerdict(abilities: readonly Ability[]): Record<Verdict, Ability[]> {
  const groups: Record<Verdict, Ability[]> = { ok: [], less: [], missing: [] };
  for (const ability of abilities) groups[verdictOf(ability)].push(ability);
  return groups;
}
