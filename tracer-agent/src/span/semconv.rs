//! Names of OpenTelemetry's semantic conventions, version 1.44, and our own.

pub(crate) use opentelemetry_semantic_conventions::attribute::{
    CLIENT_ADDRESS, ERROR_TYPE, HTTP_REQUEST_BODY_SIZE, HTTP_REQUEST_METHOD, HTTP_REQUEST_METHOD_ORIGINAL,
    HTTP_REQUEST_RESEND_COUNT, HTTP_RESPONSE_BODY_SIZE, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE,
    NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, NETWORK_PROTOCOL_VERSION, PROCESS_PID, SERVER_ADDRESS,
    SERVER_PORT, THREAD_ID, URL_FULL, URL_PATH, URL_QUERY, URL_SCHEME, URL_TEMPLATE, USER_AGENT_ORIGINAL,
};

/// Version of the conventions that attribute names follow. The crate is of 1.42; the names that are used are the same
/// in both.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

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
/// The process closed the connection before it had read the whole response.
pub(crate) const TRACER_HTTP_RESPONSE_UNREAD: &str = "tracer.http.response_unread";
/// Of a resource: where the name of the service comes from (`process/identity.rs`).
pub(crate) const TRACER_SERVICE_NAME_SOURCE: &str = "tracer.service.name_source";
/// Of a resource: a digest of the program's files (`process/build.rs`).
pub(crate) const TRACER_PROGRAM_BUILD_ID: &str = "tracer.program.build_id";
/// A guess at the route, from the path.
pub(crate) const TRACER_HTTP_ROUTE_GUESS: &str = "tracer.http.route_guess";
/// Seconds from the first byte of the request to the first byte of the response.
pub(crate) const TRACER_HTTP_TIME_TO_FIRST_BYTE: &str = "tracer.http.time_to_first_byte";
/// Seconds from the first byte of the request to its last, if they moved at different times.
pub(crate) const TRACER_HTTP_TIME_TO_REQUEST_END: &str = "tracer.http.time_to_request_end";
/// Seconds from `connect` to the first byte of the request, on the first request of a connection.
pub(crate) const TRACER_HTTP_CONNECTION_SETUP: &str = "tracer.http.connection_setup";
