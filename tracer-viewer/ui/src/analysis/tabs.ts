import { route } from "../route/route.svelte";
import { formatAddress, type State } from "../route/address";

/** A tab of the page: what stands in its address, its name, and what it answers. */
export interface Tab {
  of: string;
  label: string;
  answers: string;
}

export const TABS: Tab[] = [
  { of: "", label: "Overview", answers: "what is wrong, and what would help" },
  { of: "slow", label: "Slow", answers: "why some requests of an operation take longer than the rest" },
  { of: "incidents", label: "Incidents", answers: "how faults went from service to service" },
  { of: "retries", label: "Retries", answers: "where calls are tried again, and who multiplies them" },
  { of: "deployments", label: "Deployments", answers: "what a release changed" },
  { of: "compare", label: "Compare", answers: "what changed from one window or version to another" },
  { of: "dependencies", label: "Dependencies", answers: "who needs whom" },
];

/** The tab of an address; null if there is none of this name. */
export function tabOf(of: string): Tab | null {
  return TABS.find((tab) => tab.of === of) ?? null;
}

/** What the window of time is told by. */
const WINDOW = ["from", "to", "last"];

/** The address of a tab, in the window of time that is shown. */
export function tabAddress(of: string, state: State = {}): string {
  const kept: State = {};
  for (const name of WINDOW) kept[name] = route.get(name);
  return formatAddress("analysis", of, { ...kept, ...state });
}
