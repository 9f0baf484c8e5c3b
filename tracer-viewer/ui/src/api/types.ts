// Written by hand from tracer-model/src/answer.rs until openapi.json is there.

export interface SearchAnswer {
  traces: TraceSummary[];
  has_more: boolean;
  examined_spans: number;
  incomplete?: string | null;
}

export interface TraceSummary {
  trace_id: string;
  root_service: string;
  root_name: string;
  root_target: string;
  has_root: boolean;
  start_unix_us: number;
  duration_ns: number;
  spans: number;
  errors: number;
  http_status?: number | null;
  services: ServiceShare[];
  matched_span_id?: string | null;
}

export interface ServiceShare {
  service: string;
  spans: number;
  self_ns: number;
  errors: number;
}

export interface TraceAnswer {
  summary: TraceSummary;
  services: TraceService[];
  spans: TraceSpan[];
  notes: string[];
  omitted_spans: number;
}

export interface TraceService {
  name: string;
  attributes: AttributeValue[];
  scope: string;
}

export interface TraceSpan {
  span_id: string;
  parent_span_id?: string | null;
  parent?: number | null;
  depth: number;
  service: number;
  name: string;
  target: string;
  kind: SpanKind;
  start_ns: number;
  duration_ns: number;
  end_known: boolean;
  self_ns: number;
  is_error: boolean;
  status_message: string;
  http_status?: number | null;
  evidence?: string | null;
  likely?: number | null;
  peer?: number | null;
  network?: Network | null;
  critical: Stretch[];
  gaps: Gap[];
  percentile?: number | null;
  compared_spans: number;
  attributes: AttributeValue[];
  events: SpanEvent[];
  links: SpanLink[];
  clock_skew_ns?: number | null;
}

export type SpanKind = "unspecified" | "internal" | "server" | "client" | "producer" | "consumer";

export interface Network {
  request_ns: number;
  response_ns: number;
}

export interface Stretch {
  start_ns: number;
  end_ns: number;
}

export interface Gap {
  start_ns: number;
  end_ns: number;
  name: string;
}

export interface AttributeValue {
  key: string;
  value: string;
  kind: string;
}

export interface SpanEvent {
  time_ns: number;
  name: string;
  attributes: AttributeValue[];
}

export interface SpanLink {
  trace_id: string;
  span_id: string;
  is_stored: boolean;
  attributes: AttributeValue[];
}

export interface Heatmap {
  start_unix_us: number;
  column_us: number;
  columns: number;
  row_ns: number[];
  cells: HeatmapCell[];
  incomplete?: string | null;
}

export interface HeatmapCell {
  column: number;
  row: number;
  count: number;
  errors: number;
}

export interface ServicesAnswer {
  window: Window;
  services: ServiceRow[];
}

export interface ServiceAnswer {
  window: Window;
  service: ServiceRow;
  operations: OperationRow[];
  series: Series;
}

export interface Window {
  start_unix_us: number;
  end_unix_us: number;
}

export interface ServiceRow {
  service: string;
  red: Red;
  sparkline: number[];
}

export interface OperationRow {
  name: string;
  kind: SpanKind;
  red: Red;
  self_ns: number;
}

export interface Red {
  count: number;
  rate: number;
  errors: number;
  p50_ns: number;
  p95_ns: number;
  p99_ns: number;
}

export interface Series {
  start_unix_us: number;
  column_us: number;
  columns: Red[];
}

export interface MapAnswer {
  window: Window;
  before?: Window | null;
  nodes: MapNode[];
  edges: MapEdge[];
}

export interface MapNode {
  id: string;
  name: string;
  kind: NodeKind;
  system?: string | null;
  red: Red;
  before?: Red | null;
  change?: Change | null;
}

export type NodeKind = "service" | "peer" | "database" | "broker" | "outside";

export interface MapEdge {
  from: string;
  to: string;
  red: Red;
  before?: Red | null;
  change?: Change | null;
}

export type Change = "new" | "lost" | "slower" | "faster" | "more-errors";

export interface CompleteAnswer {
  from: number;
  to: number;
  suggestions: Suggestion[];
}

export interface LiveLost {
  events: number;
}

export interface Suggestion {
  text: string;
  kind: string;
  detail: string;
}

export interface StatusAnswer {
  version: string;
  source: Source;
  store: StoreStatus;
  hints: string[];
}

export interface Source {
  kind: string;
  names: string[];
}

export interface StoreStatus {
  spans: number;
  traces: number;
  bytes: number;
  max_bytes: number;
  oldest_unix_us: number;
  received_spans: number;
  evicted_spans: number;
  evicted_traces: number;
  refused: Refused[];
  directory?: string | null;
  problem?: string | null;
}

export interface Refused {
  reason: string;
  spans: number;
}

export interface AgentAnswer {
  is_here: boolean;
  processes: AgentProcess[];
  selectors: string[];
  cost?: AgentCost | null;
  losses: LedgerLine[];
  abilities: Ability[];
}

export interface AgentProcess {
  pid: number;
  service: string;
  program: string;
  works_by: string;
  server_requests: number;
  client_requests: number;
  linked: number;
  injected: number;
  losses: LedgerLine[];
}

export interface LedgerLine {
  name: string;
  count: number;
  meaning: string;
  remedy: string;
}

export interface AgentCost {
  cpu: number;
  memory_bytes: number;
  events_per_second: number;
  ns_per_event: number;
}

export interface Ability {
  name: string;
  is_there: boolean;
  detail: string;
}

export interface ApiError {
  error: string;
  at?: number | null;
}

export interface LiveLost {
  events: number;
}
