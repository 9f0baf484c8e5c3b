import type { MapAnswer, TraceAnswer, TraceSummary } from "../src/api/types";

export interface Mock {
  address: string;
  world: {
    traces: Map<string, TraceAnswer>;
    huge: () => string;
    map: (bounds: { start: number | null; end: number | null }, isCompared: boolean) => MapAnswer;
    fixed: Record<"three" | "middle" | "large" | "hostile" | "before" | "after" | "outgoing" | "corrected", string>;
  };
  reports: string[];
  readers: Set<unknown>;
  send: () => TraceSummary;
  grow: (id: string) => void;
  stop: () => Promise<void>;
}
export function start(options?: {
  port?: number;
  services?: number;
  traces?: number;
  prefix?: string;
  token?: string;
}): Promise<Mock>;
