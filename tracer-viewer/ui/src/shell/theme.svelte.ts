import type { Theme } from "../color/service";

const query = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;

/** The theme of the system. */
class Themes {
  current: Theme = $state(query?.matches ? "dark" : "light");

  constructor() {
    query?.addEventListener("change", (event) => (this.current = event.matches ? "dark" : "light"));
  }
}

export const theme = new Themes();
