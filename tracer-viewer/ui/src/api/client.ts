import type {
  AgentAnswer,
  ApiError,
  CascadeAnswer,
  ComparisonAnswer,
  CompleteAnswer,
  DependenciesAnswer,
  DeploymentsAnswer,
  ExportFormat,
  Heatmap,
  IncidentsAnswer,
  MapAnswer,
  Order,
  ReportAnswer,
  RetryAnswer,
  SearchAnswer,
  ServiceAnswer,
  ServicesAnswer,
  SlowAnswer,
  SlowOperationsAnswer,
  StatusAnswer,
  TraceAnswer,
  TraceSummary,
} from "./types";
import type { paths } from "./schema";
import { base } from "../route/base";
import { access } from "./access.svelte";

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

/** HTTP status of an answer to one who has not shown the token. */
const UNAUTHORIZED = 401;

/** Routes of the API that answer JSON. Names of parameters that the viewer does not know do not compile. */
type Route = Exclude<keyof paths & `/api/tracer/${string}`, "/api/tracer/live">;
type Query<R extends keyof paths> = paths[R]["get"]["parameters"]["query"];
type Open<T> = { [K in keyof T]: T[K] | null };
type Answer<R extends Route> = paths[R]["get"]["responses"][200]["content"]["application/json"];

/** Relative to where the viewer begins: it works below any path prefix. */
function address(path: string, parameters: object): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters) as [string, unknown][]) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return new URL(`.${path}${text === "" ? "" : `?${text}`}`, base).href;
}

async function get<R extends Route>(
  route: R,
  parameters: Open<Query<R>>,
  signal?: AbortSignal,
  of = "",
): Promise<Answer<R>> {
  const path = route.replace(/\{\w+\}/, () => encodeURIComponent(of));
  let response: Response;
  try {
    response = await fetch(address(path, parameters ?? {}), {
      signal: signal ?? null,
      headers: { accept: "application/json" },
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestFailed("The viewer does not answer. Is it still running?", 0, null);
  }
  if (response.status === UNAUTHORIZED) access.isRefused = true;
  if (!response.ok) throw await failure(response);
  return (await response.json()) as Answer<R>;
}

async function failure(response: Response): Promise<RequestFailed> {
  try {
    const answer = (await response.json()) as ApiError;
    return new RequestFailed(answer.error, response.status, answer.at ?? null);
  } catch {
    return new RequestFailed(`The viewer answered with status ${response.status}.`, response.status, null);
  }
}

/** A stretch of absolute time; a bound that is null is open. */
export interface Bounds {
  start_us: number | null;
  end_us: number | null;
}

export function search(
  parameters: Bounds & { q: string; limit: number; order: Order },
  signal?: AbortSignal,
): Promise<SearchAnswer> {
  return get("/api/tracer/search", parameters, signal);
}

export function trace(id: string, signal?: AbortSignal): Promise<TraceAnswer> {
  return get("/api/tracer/traces/{trace_id}", {} as never, signal, id);
}

export function exportAddress(id: string, format: ExportFormat): string {
  return address(`/api/tracer/traces/${encodeURIComponent(id)}/export`, { format });
}

export function heatmap(
  parameters: Bounds & { q: string; columns: number; rows: number },
  signal?: AbortSignal,
): Promise<Heatmap> {
  return get("/api/tracer/heatmap", parameters, signal);
}

export function services(bounds: Bounds, signal?: AbortSignal): Promise<ServicesAnswer> {
  return get("/api/tracer/services", bounds, signal);
}

export function service(name: string, bounds: Bounds, signal?: AbortSignal): Promise<ServiceAnswer> {
  return get("/api/tracer/services/{service}", bounds, signal, name);
}

export function map(bounds: Bounds & { compare: boolean }, signal?: AbortSignal): Promise<MapAnswer> {
  return get("/api/tracer/map", bounds, signal);
}

export function complete(q: string, at: number, signal?: AbortSignal): Promise<CompleteAnswer> {
  return get("/api/tracer/complete", { q, at }, signal);
}

export function status(signal?: AbortSignal): Promise<StatusAnswer> {
  return get("/api/tracer/status", {} as never, signal);
}

export function agent(signal?: AbortSignal): Promise<AgentAnswer> {
  return get("/api/tracer/agent", {} as never, signal);
}

export function report(bounds: Bounds, signal?: AbortSignal): Promise<ReportAnswer> {
  return get("/api/tracer/analysis/report", bounds, signal);
}

export function retries(bounds: Bounds, signal?: AbortSignal): Promise<RetryAnswer> {
  return get("/api/tracer/analysis/retries", bounds, signal);
}

export function cascades(bounds: Bounds, signal?: AbortSignal): Promise<CascadeAnswer> {
  return get("/api/tracer/analysis/cascades", bounds, signal);
}

export function deployments(bounds: Bounds, signal?: AbortSignal): Promise<DeploymentsAnswer> {
  return get("/api/tracer/analysis/deployments", bounds, signal);
}

/** The sides of a comparison: two windows, or two versions of a service. */
export type Sides = Open<NonNullable<Query<"/api/tracer/analysis/compare">>>;

export function comparison(sides: Sides, signal?: AbortSignal): Promise<ComparisonAnswer> {
  return get("/api/tracer/analysis/compare", sides, signal);
}

export function comparisonAddress(sides: Sides): string {
  return address("/api/tracer/analysis/compare", { ...sides, format: "markdown" });
}

export function dependencies(bounds: Bounds, signal?: AbortSignal): Promise<DependenciesAnswer> {
  return get("/api/tracer/analysis/dependencies", bounds, signal);
}

export function dependenciesAddress(bounds: Bounds, format: "json" | "mermaid" | "dot" | "metrics"): string {
  return address("/api/tracer/analysis/dependencies", { ...bounds, format });
}

export function slowOperations(bounds: Bounds, signal?: AbortSignal): Promise<SlowOperationsAnswer> {
  return get("/api/tracer/analysis/operations", bounds, signal);
}

/** Which requests are compared with the rest of their operation. */
export type SlowParameters = Open<NonNullable<Query<"/api/tracer/analysis/slow">>>;

export function slow(parameters: SlowParameters, signal?: AbortSignal): Promise<SlowAnswer> {
  return get("/api/tracer/analysis/slow", parameters, signal);
}

export function incidents(signal?: AbortSignal): Promise<IncidentsAnswer> {
  return get("/api/tracer/analysis/incidents", {} as never, signal);
}

/** What a live view is told. */
export interface LiveHandlers {
  /** A trace is new, or has grown. */
  trace: (summary: TraceSummary) => void;
  /** The stream is open, or was lost and is tried again. */
  connected?: (isOpen: boolean) => void;
  /** The stream is open again after it was not: traces may have come meanwhile. */
  missed: () => void;
  /** This page was too slow: traces were left out. */
  lost?: () => void;
}

/**
 * Follows new traces that meet `q`. The answer ends it.
 *
 * A page that nobody sees does not follow: browsers open few connections to one server, and pages in the background would
 * take them all.
 */
export function follow(q: string, handlers: LiveHandlers): () => void {
  let source: EventSource | null = null;
  let wasOpen = false;
  const open = () => {
    source = new EventSource(address("/api/tracer/live", { q } satisfies Query<"/api/tracer/live">));
    source.addEventListener("open", () => {
      if (wasOpen) handlers.missed();
      wasOpen = true;
      handlers.connected?.(true);
    });
    source.addEventListener("error", () => handlers.connected?.(false));
    source.addEventListener("lost", () => handlers.lost?.());
    source.addEventListener("trace", (event) => handlers.trace(JSON.parse(event.data) as TraceSummary));
  };
  const close = () => {
    source?.close();
    source = null;
    handlers.connected?.(false);
  };
  const onVisible = () => {
    if (document.visibilityState === "hidden") close();
    else if (source === null) open();
  };
  document.addEventListener("visibilitychange", onVisible);
  onVisible();
  return () => {
    document.removeEventListener("visibilitychange", onVisible);
    source?.close();
  };
}
