import { formatAddress, parseAddress, type Address, type PageName, type State } from "./address";

/** Where the page is. Every state that a person could want to share or go back to is in the address. */
class Route {
  address: Address = $state.raw(parseAddress(typeof location === "undefined" ? "" : location.hash));

  constructor() {
    if (typeof addEventListener === "function") {
      addEventListener("hashchange", () => this.read());
      addEventListener("popstate", () => this.read());
    }
  }

  /** Value of a part of the state; empty if it is not there. */
  get(name: string): string {
    return this.address.state.get(name) ?? "";
  }

  /** Value of a part of the state that is a number; null if it is not one. */
  number(name: string): number | null {
    const text = this.address.state.get(name);
    if (text === null || text === "") return null;
    const value = Number(text);
    return Number.isFinite(value) ? value : null;
  }

  /** Goes to a page: a new entry of the history. */
  go(page: PageName, of = "", state: State = {}): void {
    this.write(formatAddress(page, of, state), false);
  }

  /** Changes parts of the state. `replace` keeps the history short for states that change all the time. */
  set(changes: State, replace = true): void {
    const state = new URLSearchParams(this.address.state);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "" || value === false) state.delete(name);
      else state.set(name, value === true ? "1" : String(value));
    }
    this.write(formatAddress(this.address.page, this.address.of, state), replace);
  }

  private write(hash: string, replace: boolean): void {
    if (hash === location.hash) return;
    try {
      if (replace) history.replaceState(null, "", hash);
      else history.pushState(null, "", hash);
    } catch {
      // Browsers limit how often the address may be written, and some refuse it for files: the page goes on without.
    }
    this.address = parseAddress(hash);
  }

  private read(): void {
    this.address = parseAddress(location.hash);
  }
}

export const route = new Route();
