import type {
  AgentAnswer,
  ApiError,
  CompleteAnswer,
  Heatmap,
  MapAnswer,
  SearchAnswer,
  ServiceAnswer,
  ServicesAnswer,
  StatusAnswer,
  TraceAnswer,
  TraceSummary,
} from "./types";

/** Relative to the page, which has a hash route: it works below any path prefix. */
const BASE = "./api/tracer/";

/** An answer of the API that is not the one that was asked for. */
export class RequestFailed extends Error {
  /** HTTP status; 0 if the viewer could not be reached. */
  readonly status: number;
  /** First character of the query that is wrong, if it is the query. */
  readonly at: number | null;

  constructor(message: string, status: number, at: number | null) {
    super(message);
    this.status = status;
    this.at = at;
  }
}

type Parameter = string | number | boolean | null | undefined;

function address(path: string, parameters: Record<string, Parameter>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return BASE + path + (text === "" ? "" : `?${text}`);
}

async function get<T>(path: string, parameters: Record<string, Parameter>, signal?: AbortSignal): Promise<T> {
  let response: Response;
  try {
    response = await fetch(address(path, parameters), { signal: signal ?? null, headers: { accept: "application/json" } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestFailed("The viewer does not answer. Is it still running?", 0, null);
  }
  if (!response.ok) throw await failure(response);
  return (await response.json()) as T;
}

async function failure(response: Response): Promise<RequestFailed> {
  try {
    const answer = (await response.json()) as ApiError;
    return new RequestFailed(answer.error, response.status, answer.at ?? null);
  } catch {
    return new RequestFailed(`The viewer answered with status ${response.status}.`, response.status, null);
  }
}

/** Which traces come first. */
export type Order = "newest" | "slowest" | "errors" | "spans";

/** A stretch of absolute time; a bound that is null is open. */
export interface Bounds {
  start_us: number | null;
  end_us: number | null;
}

export function search(
  parameters: Bounds & { q: string; limit: number; order: Order },
  signal?: AbortSignal,
): Promise<SearchAnswer> {
  return get("search", { ...parameters }, signal);
}

export function trace(id: string, signal?: AbortSignal): Promise<TraceAnswer> {
  return get(`traces/${encodeURIComponent(id)}`, {}, signal);
}

/** Formats in which a trace can be saved. */
export type ExportFormat = "otlp-json" | "jaeger-json" | "html";

export function exportAddress(id: string, format: ExportFormat): string {
  return address(`traces/${encodeURIComponent(id)}/export`, { format });
}

export function heatmap(
  parameters: Bounds & { q: string; columns: number; rows: number },
  signal?: AbortSignal,
): Promise<Heatmap> {
  return get("heatmap", { ...parameters }, signal);
}

export function services(bounds: Bounds, signal?: AbortSignal): Promise<ServicesAnswer> {
  return get("services", { ...bounds }, signal);
}

export function service(name: string, bounds: Bounds & { columns: number }, signal?: AbortSignal): Promise<ServiceAnswer> {
  return get(`services/${encodeURIComponent(name)}`, { ...bounds }, signal);
}

export function map(bounds: Bounds & { compare: boolean }, signal?: AbortSignal): Promise<MapAnswer> {
  return get("map", { ...bounds }, signal);
}

export function complete(q: string, at: number, signal?: AbortSignal): Promise<CompleteAnswer> {
  return get("complete", { q, at }, signal);
}

export function status(signal?: AbortSignal): Promise<StatusAnswer> {
  return get("status", {}, signal);
}

export function agent(signal?: AbortSignal): Promise<AgentAnswer> {
  return get("agent", {}, signal);
}

/** What a live view is told. */
export interface LiveHandlers {
  /** A trace is new, or has grown. */
  trace: (summary: TraceSummary) => void;
  /** The stream is open, or was lost and is tried again. */
  connected: (isOpen: boolean) => void;
  /** This page was too slow: traces were left out. */
  lost: () => void;
}

/** Follows new traces that meet `q`. The answer ends it. */
export function follow(q: string, handlers: LiveHandlers): () => void {
  const source = new EventSource(address("live", { q }));
  source.addEventListener("open", () => handlers.connected(true));
  source.addEventListener("error", () => handlers.connected(false));
  source.addEventListener("lost", () => handlers.lost());
  source.addEventListener("trace", (event) => handlers.trace(JSON.parse(event.data) as TraceSummary));
  return () => source.close();
}
