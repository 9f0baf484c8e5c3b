//! What the viewer answers, and the store and the layout of a trace tell: the types of the API.
//!
//! Moments are whole microseconds since 1970 (`_unix_us`), which JavaScript holds exactly. Durations, and moments
//! within a trace, are nanoseconds (`_ns`), counted from the trace's first moment. Identifiers are lower-case
//! hexadecimal. All text comes from traffic or from other programs: it is data, never markup.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer to `GET /api/tracer/search`: traces of which one span meets every term of the query.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchAnswer {
    /// The traces found, the newest first.
    pub traces: Vec<TraceSummary>,
    /// Whether more traces meet the query than were asked for.
    pub has_more: bool,
    /// Spans that were looked at.
    pub examined_spans: u64,
    /// Why the answer is not whole: the search was stopped at its limit of time. None if it is whole.
    pub incomplete: Option<String>,
    /// If nothing was found: terms of the query that nothing meets, also without the other terms, as they are written.
    #[serde(default)]
    pub empty_terms: Vec<String>,
}

/// A trace in a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TraceSummary {
    /// Its id.
    pub trace_id: String,
    /// Service of its root, or of its earliest span if the root is not there.
    pub root_service: String,
    /// Name of its root, or of its earliest span.
    pub root_name: String,
    /// What the root was asked: method and target, if it says so; else its name.
    pub root_target: String,
    /// Whether the root is there: a span without a parent.
    pub has_root: bool,
    /// Kind of the root, or of its earliest span: a client's call has no request above it that is traced.
    #[serde(default)]
    pub root_kind: SpanKind,
    /// Its first moment.
    pub start_unix_us: u64,
    /// From its first moment to its last.
    pub duration_ns: u64,
    /// Spans.
    pub spans: u32,
    /// Spans with an error.
    pub errors: u32,
    /// Status code of the root, if it was HTTP.
    pub http_status: Option<u16>,
    /// Services by the time that is their own, the most first; 64 at most.
    pub services: Vec<ServiceShare>,
    /// A span that met the query, to be shown first: its id.
    pub matched_span_id: Option<String>,
}

/// A service's part of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceShare {
    /// Service.
    pub service: String,
    /// Spans of it.
    pub spans: u32,
    /// Time of its spans in which none of their children was under way.
    pub self_ns: u64,
    /// Spans of it with an error.
    pub errors: u32,
}

/// Answer to `GET /api/tracer/traces/{trace_id}`: one trace, laid out to be drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TraceAnswer {
    /// Its summary.
    pub summary: TraceSummary,
    /// Services, in the order in which they first appear. Spans name them by their place.
    pub services: Vec<TraceService>,
    /// Spans in the order of the waterfall: a parent before its children, children by their starts.
    pub spans: Vec<TraceSpan>,
    /// What a reader must know of this trace: parents that are missing, clocks that differ, spans left out.
    pub notes: Vec<String>,
    /// Spans that the trace has and this answer has not, since it is bounded.
    pub omitted_spans: u32,
}

/// A service instance of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TraceService {
    /// `service.name`.
    pub name: String,
    /// Attributes of the resource.
    pub attributes: Vec<AttributeValue>,
    /// What recorded the spans: name and version of each scope, separated by commas; four at most.
    pub scope: String,
}

/// A span of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TraceSpan {
    /// Its id.
    pub span_id: String,
    /// Its parent's id, whether that is there or not. None for a root.
    pub parent_span_id: Option<String>,
    /// Place of its parent in the list. None for a root and for a span whose parent is missing.
    pub parent: Option<u32>,
    /// How deep it lies in the tree: 0 for a root.
    pub depth: u32,
    /// Its service, by its place.
    pub service: u32,
    /// What recorded it: name and version of the scope; empty if not said.
    pub scope: String,
    /// Name.
    pub name: String,
    /// What it asked or was asked: method and target; its name if it says nothing of it.
    pub target: String,
    /// Kind.
    pub kind: SpanKind,
    /// Start.
    pub start_ns: u64,
    /// Duration.
    pub duration_ns: u64,
    /// Whether its end was seen. If not, its duration is only a lower bound.
    pub end_known: bool,
    /// Time in which none of its children was under way.
    pub self_ns: u64,
    /// Whether it has an error.
    pub is_error: bool,
    /// What is said of the error, or of its status; empty if nothing is.
    pub status_message: String,
    /// Status code, if it was HTTP.
    pub http_status: Option<u16>,
    /// How its parent is known (`tracer.link.evidence`); none for a root, and for spans of an SDK.
    pub evidence: Option<String>,
    /// Probability of the link to its parent, if it is likely and not certain.
    pub likely: Option<f64>,
    /// The other end of the same call: the server's span of a client's, the client's of a server's, by its place.
    pub peer: Option<u32>,
    /// Of a client's span whose server's span is here: the time between them.
    pub network: Option<Network>,
    /// Stretches of it that lie on the critical path of the trace: start and end of each.
    pub critical: Vec<Stretch>,
    /// Stretches of its own time with a name: what was waited for.
    pub gaps: Vec<Gap>,
    /// Part of the spans of its operation, among those in the store, that took no longer: 0 to 1.
    pub percentile: Option<f64>,
    /// Spans of its operation that this was compared with.
    pub compared_spans: u32,
    /// Attributes.
    pub attributes: Vec<AttributeValue>,
    /// What happened at moments of it.
    pub events: Vec<SpanEvent>,
    /// Spans that it belongs to besides its parent.
    pub links: Vec<SpanLink>,
    /// By how much its clock seems to differ from its parent's, nanoseconds; none if it does not.
    pub clock_skew_ns: Option<i64>,
    /// By how much it was moved, nanoseconds, since clocks differ: `start_ns` less this is where it stood as it was sent.
    /// None if it was not moved.
    #[serde(default)]
    pub clock_shift_ns: Option<i64>,
    /// Why it was moved, if its own clock and its parent's are the cause: a whole sentence. Spans below it move with it.
    #[serde(default)]
    pub clock_evidence: Option<String>,
}

/// Kind of a span.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified,
    /// Work inside of a service.
    Internal,
    /// Handling a request.
    Server,
    /// Making one.
    Client,
    /// Sending a message.
    Producer,
    /// Receiving one.
    Consumer,
}

/// The time between the two ends of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// From the client's first byte to the server's: the way there, and the wait until the server reads.
    pub request_ns: u64,
    /// From the server's last byte to the client's.
    pub response_ns: u64,
}

/// A stretch of time within a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stretch {
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
}

/// A stretch of a span with a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Gap {
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// What it is: "waiting for the client", "connection set-up", "network".
    pub name: String,
}

/// An attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttributeValue {
    /// Name.
    pub key: String,
    /// Value as text: numbers in decimal, lists and maps as JSON, bytes as base64.
    pub value: String,
    /// What kind of value it is: `string`, `bool`, `int`, `double`, `bytes`, `array`, `map`, `empty`.
    pub kind: String,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpanEvent {
    /// When. Before the trace's first moment it is 0.
    pub time_ns: u64,
    /// Name.
    pub name: String,
    /// Attributes.
    pub attributes: Vec<AttributeValue>,
}

/// A span that another one belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpanLink {
    /// Its trace.
    pub trace_id: String,
    /// It.
    pub span_id: String,
    /// Whether its trace is in the store.
    pub is_stored: bool,
    /// Attributes.
    pub attributes: Vec<AttributeValue>,
}

/// Answer to `GET /api/tracer/heatmap`: how many spans took how long, over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Heatmap {
    /// Start of the first column.
    pub start_unix_us: u64,
    /// Width of a column.
    pub column_us: u64,
    /// Columns.
    pub columns: u32,
    /// Lower bounds of the rows, ascending; they grow by a constant factor. The last row has no upper bound.
    pub row_ns: Vec<u64>,
    /// Cells that are not empty.
    pub cells: Vec<HeatmapCell>,
    /// Why the answer is not whole. None if it is.
    pub incomplete: Option<String>,
}

/// A cell of a heatmap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeatmapCell {
    /// Column.
    pub column: u32,
    /// Row.
    pub row: u32,
    /// Traces, or spans.
    pub count: u32,
    /// Those with an error.
    pub errors: u32,
}

/// Answer to `GET /api/tracer/services`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServicesAnswer {
    /// The window that was asked for.
    pub window: Window,
    /// Services by name.
    pub services: Vec<ServiceRow>,
    /// Why the answer is not whole: it was stopped at its limit of time. None if it is whole.
    #[serde(default)]
    pub incomplete: Option<String>,
}

/// Answer to `GET /api/tracer/services/{service}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceAnswer {
    /// The window that was asked for.
    pub window: Window,
    /// The service as a whole.
    pub service: ServiceRow,
    /// Its operations, those with the most time first.
    pub operations: Vec<OperationRow>,
    /// Its requests over time, column by column.
    pub series: Series,
    /// Why the answer is not whole: it was stopped at its limit of time. None if it is whole.
    #[serde(default)]
    pub incomplete: Option<String>,
}

/// A stretch of absolute time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Window {
    /// Start.
    pub start_unix_us: u64,
    /// End.
    pub end_unix_us: u64,
}

/// A service: what it served. A service that serves nothing is told by the requests that it makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceRow {
    /// Name.
    pub service: String,
    /// Its numbers.
    pub red: Red,
    /// Rate of each column of the window, for a small picture: 30 columns.
    pub sparkline: Vec<f64>,
}

/// An operation of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationRow {
    /// Name of its spans.
    pub name: String,
    /// Kind of its spans.
    pub kind: SpanKind,
    /// Its numbers.
    pub red: Red,
    /// Time of all its spans together in which none of their children was under way.
    pub self_ns: u64,
}

/// Rate, errors, duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Red {
    /// Spans.
    pub count: u64,
    /// Spans a second.
    pub rate: f64,
    /// Spans with an error.
    pub errors: u64,
    /// Median duration.
    pub p50_ns: u64,
    /// 95 of 100 took no longer.
    pub p95_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
}

/// Numbers over time, column by column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Series {
    /// Start of the first column.
    pub start_unix_us: u64,
    /// Width of a column.
    pub column_us: u64,
    /// Of each column.
    pub columns: Vec<Red>,
}

/// Answer to `GET /api/tracer/map`: services and what they call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MapAnswer {
    /// The window that was asked for.
    pub window: Window,
    /// The window before, of the same length, if a comparison was asked for.
    pub before: Option<Window>,
    /// Nodes.
    pub nodes: Vec<MapNode>,
    /// Edges.
    pub edges: Vec<MapEdge>,
    /// Why the answer is not whole: it was stopped at its limit of time. None if it is whole.
    #[serde(default)]
    pub incomplete: Option<String>,
}

/// A node of the map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MapNode {
    /// Its id, the same in every answer: kind and name.
    pub id: String,
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// More of it: the system of a database or broker, such as `postgresql`.
    pub system: Option<String>,
    /// What it served.
    pub red: Red,
    /// The same in the window before.
    pub before: Option<Red>,
    /// What changed, if a comparison was asked for and something did.
    pub change: Option<Change>,
}

/// What a node of the map is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A service whose spans are here.
    #[default]
    Service,
    /// A peer of which there are no spans: host and port.
    Peer,
    /// A database.
    Database,
    /// A message broker.
    Broker,
    /// Who calls a service from outside of what is traced.
    Outside,
}

/// An edge of the map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MapEdge {
    /// Node that calls, by its id.
    pub from: String,
    /// Node that is called, by its id.
    pub to: String,
    /// Calls, as the caller saw them; as the server saw them if the caller did not.
    pub red: Red,
    /// The same in the window before.
    pub before: Option<Red>,
    /// What changed, if a comparison was asked for and something did.
    pub change: Option<Change>,
}

/// How a part of the map differs from the window before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was not there.
    New,
    /// It is not there any more.
    Lost,
    /// Its 95th percentile grew by half or more, and by a millisecond at least.
    Slower,
    /// Its 95th percentile fell by a third or more, and by a millisecond at least.
    Faster,
    /// The part of its requests with an error grew by a hundredth or more.
    MoreErrors,
}

/// Answer to `GET /api/tracer/complete`: how a query may go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompleteAnswer {
    /// First character of the query, counted in UTF-16 units, that a suggestion replaces.
    pub from: u32,
    /// End of what a suggestion replaces.
    pub to: u32,
    /// Suggestions, the most frequent first.
    pub suggestions: Vec<Suggestion>,
}

/// Event `lost` of `GET /api/tracer/live`: events that a reader did not get since it was too slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveLost {
    /// Events since the last `lost`.
    pub events: u64,
}

/// How a query may go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suggestion {
    /// Text to put in.
    pub text: String,
    /// What it is: `key`, `value` or `operator`.
    pub kind: String,
    /// More of it, for people: how many spans have it. Empty if nothing is known.
    pub detail: String,
}

/// Answer to `GET /api/tracer/status`: what this viewer is, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusAnswer {
    /// Version of the program.
    pub version: String,
    /// Where the spans come from.
    pub source: Source,
    /// The store.
    pub store: StoreStatus,
    /// What a person can do to see a first trace, while there is none: whole sentences.
    pub hints: Vec<String>,
}

/// Where the viewer's spans come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Source {
    /// `agent`: of the agent in this process; `otlp`: by OTLP; `files`: of files that were opened.
    pub kind: String,
    /// Addresses where OTLP is taken, or the names of the files.
    pub names: Vec<String>,
}

/// What the store holds, and what it let go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StoreStatus {
    /// Spans.
    pub spans: u64,
    /// Traces.
    pub traces: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Bytes that they may take.
    pub max_bytes: u64,
    /// Earliest moment of a span that is held; 0 if there is none.
    pub oldest_unix_us: u64,
    /// Latest start of a span that is held; 0 if there is none.
    #[serde(default)]
    pub newest_unix_us: u64,
    /// Spans that came in, ever.
    pub received_spans: u64,
    /// Spans that came again: of each, one is held.
    #[serde(default)]
    pub duplicate_spans: u64,
    /// Spans that were let go for want of space.
    pub evicted_spans: u64,
    /// Traces that were let go.
    pub evicted_traces: u64,
    /// Traces that were let go and began anew with a late span: they lack their earlier spans.
    pub revived_traces: u64,
    /// Spans that were refused, and why.
    pub refused: Vec<Refused>,
    /// Spans that were let go before the disk had them.
    pub unwritten_spans: u64,
    /// Bytes that were cut off files when the store was opened: a write that had not ended.
    pub cut_bytes: u64,
    /// Directory of the store; none if it is in memory.
    pub directory: Option<String>,
    /// What is wrong with the store, in words; none if it is well.
    pub problem: Option<String>,
}

/// Spans that were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// Why.
    pub reason: String,
    /// Spans.
    pub spans: u64,
}

/// Answer to `GET /api/tracer/agent`: what the agent in this process sees, or none of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentAnswer {
    /// Whether there is an agent in this process.
    pub is_here: bool,
    /// What it traces: each process.
    pub processes: Vec<AgentProcess>,
    /// Selectors that are in force.
    pub selectors: Vec<String>,
    /// What it costs.
    pub cost: Option<AgentCost>,
    /// Losses and gaps of the whole agent.
    pub losses: Vec<LedgerLine>,
    /// What the kernel and the privileges allow.
    pub abilities: Vec<Ability>,
}

/// A process that is traced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentProcess {
    /// Its id.
    pub pid: u32,
    /// Its service.
    pub service: String,
    /// Its program.
    pub program: String,
    /// TCP ports on which it listens, 16 at most: where a first request can go.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// How its requests are told apart: `threads`, `goroutines`, `tasks`, …, in words.
    pub works_by: String,
    /// Requests that it received and that were seen.
    pub server_requests: u64,
    /// Requests that it sent and that were seen.
    pub client_requests: u64,
    /// Those of them with a parent.
    pub linked: u64,
    /// Trace headers that were added.
    pub injected: u64,
    /// Gaps and losses.
    pub losses: Vec<LedgerLine>,
}

/// A line of the ledger, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerLine {
    /// The counter's name.
    pub name: String,
    /// How many.
    pub count: u64,
    /// What that means.
    pub meaning: String,
    /// What can be done; empty if nothing can.
    pub remedy: String,
}

/// What the agent costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentCost {
    /// Processor time of the last minute: 1 is one processor.
    pub cpu: f64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Events from the kernel a second.
    pub events_per_second: f64,
    /// Processor time that reading and following an event takes, nanoseconds: from the kernel's record to the span. What
    /// the agent does besides (looking for processes, export, the viewer) is part of `cpu` alone, and what the kernel
    /// programs take belongs to the processes that are traced. 0 if there was no event.
    pub ns_per_event: f64,
}

/// Something that the kernel and the privileges allow, or do not: a line of `tracer doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ability {
    /// What.
    pub name: String,
    /// Whether all of it is there.
    pub is_there: bool,
    /// `ok`; `less`, if tracing works with less; `missing`, if it does not work.
    #[serde(default)]
    pub verdict: String,
    /// What was found.
    pub detail: String,
    /// What it is needed for.
    #[serde(default)]
    pub why: String,
    /// What can be done; empty if there is nothing to do.
    #[serde(default)]
    pub remedy: String,
}

/// An error of the API. Its HTTP status says which kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// What is wrong, and what to do.
    pub error: String,
    /// First character of the query that is wrong, counted in UTF-16 units, if it is the query.
    pub at: Option<u32>,
}
