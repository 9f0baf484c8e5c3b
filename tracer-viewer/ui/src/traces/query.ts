/**
 * The query as text and as terms. The store reads the language (`tracer-store`, module `query`); the page only needs to
 * know where a term begins and ends, and how to write one.
 */

/** A term, and where it stands. */
export interface Term {
  text: string;
  from: number;
  to: number;
}

/** The terms of a query: parted by blanks that do not stand in quotes. */
export function terms(query: string): Term[] {
  const found: Term[] = [];
  let from = -1;
  let isQuoted = false;
  for (let at = 0; at <= query.length; at++) {
    const character = query[at];
    const isEnd = character === undefined || (!isQuoted && /\s/.test(character));
    if (isEnd) {
      if (from >= 0) found.push({ text: query.slice(from, at), from, to: at });
      from = -1;
      continue;
    }
    if (from < 0) from = at;
    if (isQuoted && character === "\\") at++;
    else if (character === '"') isQuoted = !isQuoted;
  }
  return found;
}

/** Text as it stands in a term: in quotes if it has anything that the language reads. */
export function quoted(text: string): string {
  return PLAIN.test(text) ? text : `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
const PLAIN = /^[\p{L}\p{N}_./{}][\p{L}\p{N}_./{}-]*$/u;

/** Longest value that is put into a term; a longer one is asked for by how it begins. */
const MAX_VALUE = 200;

/** A term that asks for an attribute, or for what is none: `service`, `operation`, `kind`, `status`. */
export function termOf(key: string, value: string): string {
  const joint = OWN.has(key) ? ":" : "=";
  if (value.length > MAX_VALUE) return `${quoted(key)}${joint}${quoted(value.slice(0, MAX_VALUE))}*`;
  return `${OWN.has(key) ? key : quoted(key)}${joint}${quoted(value)}`;
}
const OWN = new Set(["service", "operation", "kind", "status", "trace"]);

/** The query with one term more; unchanged if it has it. The opposite of the term goes. */
export function withTerm(query: string, term: string): string {
  const opposite = term.startsWith("-") ? term.slice(1) : `-${term}`;
  const kept = terms(query)
    .map(({ text }) => text)
    .filter((text) => text !== opposite);
  if (!kept.includes(term)) kept.push(term);
  return kept.join(" ");
}

/** The query without the term at a place. */
export function withoutTerm(query: string, at: number): string {
  return terms(query)
    .filter((_, place) => place !== at)
    .map(({ text }) => text)
    .join(" ");
}

/** The query with bounds of duration; those that it had go. Null: no bound. */
export function withDuration(query: string, least: string | null, most: string | null): string {
  const kept = terms(query)
    .map(({ text }) => text)
    .filter((text) => !/^duration(>=?|<=?)/.test(text));
  if (least !== null) kept.push(`duration>=${least}`);
  if (most !== null) kept.push(`duration<${most}`);
  return kept.join(" ");
}
