/** What the hash of the page's address says: which page, of what, in which state. */

export type PageName = "traces" | "trace" | "compare" | "map" | "services" | "analysis" | "agent";

export interface Address {
  page: PageName;
  /** Whether there is such a page; if not, `page` is the list of traces. */
  isKnown: boolean;
  /** Of what: the id of a trace, the name of a service. Empty if of nothing. */
  of: string;
  /** The page's state. */
  state: URLSearchParams;
}

const PAGES: PageName[] = ["traces", "trace", "compare", "map", "services", "analysis", "agent"];

/** Reads `#/trace/ID?view=flame`. What is not known is the list of traces. */
export function parseAddress(hash: string): Address {
  const text = hash.replace(/^#\/?/, "");
  const mark = text.indexOf("?");
  const path = mark < 0 ? text : text.slice(0, mark);
  const state = new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1));
  const slash = path.indexOf("/");
  const page = slash < 0 ? path : path.slice(0, slash);
  const known = PAGES.find((name) => name === page);
  return {
    isKnown: known !== undefined || page === "",
    page: known ?? "traces",
    of: known && slash >= 0 ? decoded(path.slice(slash + 1)) : "",
    state,
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of the page that a path outside of the hash names: `trace/ID` is `#/trace/ID`. Null if it names none. */
export function stray(path: string, search: string): string | null {
  const address = parseAddress(`#/${path}${search}`);
  const isWhole = address.page !== "trace" || address.of !== "";
  return address.isKnown && isWhole ? formatAddress(address.page, address.of, address.state) : null;
}

/** State of a page; what is null, empty or false is left out. */
export type State = Record<string, string | number | boolean | null | undefined>;

/** Writes `#/trace/ID?view=flame`. */
export function formatAddress(page: PageName, of = "", state: State | URLSearchParams = {}): string {
  const parameters = state instanceof URLSearchParams ? state : parametersOf(state);
  const query = parameters.toString();
  return `#/${page}${of === "" ? "" : `/${encodeURIComponent(of)}`}${query === "" ? "" : `?${query}`}`;
}

function parametersOf(state: State): URLSearchParams {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) {
      parameters.set(name, value === true ? "1" : String(value));
    }
  }
  return parameters;
}
