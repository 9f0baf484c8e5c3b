import * as api from "../api/client";
import type { StatusAnswer } from "../api/types";

/** How often the viewer is asked what it holds, milliseconds. */
const PERIOD_MS = 5000;

/** What the viewer holds: for the head of the page and for what it says while there is nothing to show. */
class Holdings {
  status: StatusAnswer | null = $state.raw(null);
  /** Whether the last question was answered. */
  isReached = $state(true);

  start(): void {
    void this.ask();
    setInterval(() => {
      if (document.visibilityState === "visible") void this.ask();
    }, PERIOD_MS);
  }

  async ask(): Promise<void> {
    try {
      this.status = await api.status();
      this.isReached = true;
    } catch {
      this.isReached = false;
    }
  }
}

export const holdings = new Holdings();
