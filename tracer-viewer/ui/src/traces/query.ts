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

/** The word between two queries of which one must be met. It binds less than anything else. */
const OR = "OR";
/** The word between two terms that both must be met: it may be left out. */
const AND = "AND";

/** Whether a term is a word between others. */
export function isJoint(term: Term): boolean {
  return term.text === OR || term.text === AND;
}

/** The terms of each side of `OR`: one side if there is none. */
export function sides(query: string): Term[][] {
  const found: Term[][] = [[]];
  for (const term of terms(query)) {
    if (term.text === OR) found.push([]);
    else if (term.text !== AND) found.at(-1)?.push(term);
  }
  return found.filter((side) => side.length > 0);
}

/** The query with each side changed: what holds for the whole query must hold for each of its sides. */
function onEachSide(query: string, change: (side: string[]) => string[]): string {
  const all = sides(query);
  return (all.length === 0 ? [[]] : all)
    .map((side) => change(side.map(({ text }) => text)).join(" "))
    .filter((side) => side !== "")
    .join(` ${OR} `);
}

/** The query with one term more, on each side; unchanged if it has it. The opposite of the term goes. */
export function withTerm(query: string, term: string): string {
  const opposite = term.startsWith("-") ? term.slice(1) : `-${term}`;
  return onEachSide(query, (side) => {
    const kept = side.filter((text) => text !== opposite);
    return kept.includes(term) ? kept : [...kept, term];
  });
}

/** Whether each side has a term. */
export function hasTerm(query: string, term: string): boolean {
  const all = sides(query);
  return all.length > 0 && all.every((side) => side.some(({ text }) => text === term));
}

/** The query without a term, on each side. */
export function withoutTerm(query: string, term: string): string {
  return onEachSide(query, (side) => side.filter((text) => text !== term));
}

/** The query without the term at a place; an `OR` that would stand beside nothing goes with it, and each `AND`. */
export function withoutPlace(query: string, place: number): string {
  const kept = terms(query)
    .filter(({ text }, at) => at !== place && text !== AND)
    .map(({ text }) => text);
  return kept.filter((text, at) => text !== OR || (at > 0 && at < kept.length - 1 && kept[at + 1] !== OR)).join(" ");
}

/** The query with bounds of duration on each side; those that it had go. Null: no bound. */
export function withDuration(query: string, least: string | null, most: string | null): string {
  return onEachSide(query, (side) => [
    ...side.filter((text) => !/^duration(>=?|<=?)/.test(text)),
    ...(least === null ? [] : [`duration>=${least}`]),
    ...(most === null ? [] : [`duration<${most}`]),
  ]);
}

/** What the query language has besides the keys of attributes: for the list of terms, and to go on writing. */
export const LANGUAGE: { term: string; example: string; finds: string }[] = [
  { term: "service:", example: "service:checkout", finds: "spans of this service, in any case" },
  { term: "operation:", example: 'operation:"GET /cart"', finds: "spans of this name, in any case" },
  { term: "kind:", example: "kind:server", finds: "server, client, producer, consumer or internal" },
  { term: "status:error", example: "status:error", finds: "spans with an error; also ok and unset" },
  { term: "duration>", example: "duration>100ms", finds: "spans that took longer: ns, us, ms, s, m" },
  { term: "trace.duration>", example: "trace.duration>1s", finds: "whole traces that took longer" },
  { term: "trace.spans>", example: "trace.spans>100", finds: "traces with more spans" },
  { term: "trace.errors>", example: "trace.errors>0", finds: "traces with more errors" },
  { term: "calls:", example: "calls:cart>stock", finds: "traces in which one service calls another; * is any" },
  { term: "trace:", example: "trace:ID", finds: "one trace, by its whole id" },
  { term: "", example: "url.path=/cart/7", finds: "spans whose attribute has this value" },
  { term: "", example: "url.path=/ca*", finds: "a value that begins so; key=* any value" },
  { term: "", example: "http.response.status_code>499", finds: "numbers above; also >= < <=" },
  { term: "", example: "service!=cart", finds: "the opposite: a span that does not meet it; also -term" },
  { term: "", example: "cart", finds: "a word in the name, the target or the service" },
  { term: OR, example: "status:error OR duration>1s", finds: "traces that meet one side" },
];
