//! Names of OpenTelemetry's semantic conventions, version 1.44, and our own.

/// Version of the conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

pub(crate) const CLIENT_ADDRESS: &str = "client.address";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
pub(crate) const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub(crate) const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
pub(crate) const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
pub(crate) const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
pub(crate) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(crate) const HTTP_ROUTE: &str = "http.route";
pub(crate) const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
pub(crate) const NETWORK_PEER_PORT: &str = "network.peer.port";
pub(crate) const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
pub(crate) const PROCESS_PID: &str = "process.pid";
pub(crate) const SERVER_ADDRESS: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";
pub(crate) const THREAD_ID: &str = "thread.id";
pub(crate) const URL_FULL: &str = "url.full";
pub(crate) const URL_PATH: &str = "url.path";
pub(crate) const URL_QUERY: &str = "url.query";
pub(crate) const URL_SCHEME: &str = "url.scheme";
pub(crate) const URL_TEMPLATE: &str = "url.template";
pub(crate) const USER_AGENT_ORIGINAL: &str = "user_agent.original";

/// Prefix of an opted-in request header; its values are a list.
pub(crate) const HTTP_REQUEST_HEADER: &str = "http.request.header.";
/// Prefix of an opted-in response header.
pub(crate) const HTTP_RESPONSE_HEADER: &str = "http.response.header.";

/// How the parent is known: `header`.
pub(crate) const TRACER_LINK_EVIDENCE: &str = "tracer.link.evidence";
/// The header that tells the parent, if that is not `traceparent`: `b3`.
pub(crate) const TRACER_LINK_FORMAT: &str = "tracer.link.format";
/// The agent lost bytes of the response: the span ends when that became known.
pub(crate) const TRACER_HTTP_END_UNKNOWN: &str = "tracer.http.end_unknown";
/// A guess at the route, from the path.
pub(crate) const TRACER_HTTP_ROUTE_GUESS: &str = "tracer.http.route_guess";
/// Seconds from the first byte of the request to the first byte of the response.
pub(crate) const TRACER_HTTP_TIME_TO_FIRST_BYTE: &str = "tracer.http.time_to_first_byte";
