/** An answer of the viewer, asked for again whenever what the request reads has changed. */
export interface Asked<T> {
  /** The last answer; null before the first one. */
  readonly answer: T | null;
  /** Why there is no answer to the last question; empty if there is one. */
  readonly failure: string;
}

/** Asks while the component lives. The request is made with null if there is nothing to ask. */
export function ask<T>(request: (signal: AbortSignal) => Promise<T> | null): Asked<T> {
  let answer = $state.raw<T | null>(null);
  let failure = $state("");
  $effect(() => {
    const stop = new AbortController();
    const asked = request(stop.signal);
    if (asked === null) {
      answer = null;
      failure = "";
      return;
    }
    asked.then(
      (found) => {
        if (!stop.signal.aborted) [answer, failure] = [found, ""];
      },
      (error: unknown) => {
        if (!stop.signal.aborted) failure = error instanceof Error ? error.message : String(error);
      },
    );
    return () => stop.abort();
  });
  return {
    get answer() {
      return answer;
    },
    get failure() {
      return failure;
    },
  };
}
