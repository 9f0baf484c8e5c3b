//! The agent: from kernel events to OpenTelemetry spans. Stages face one way:
//! kernel events → connections → parsers → exchanges → spans → sinks.

pub mod connection;
pub mod context;
pub mod exchange;
pub mod kernel;
pub mod ledger;
pub mod pipeline;
pub mod process;
pub mod protocol;
pub mod record;
pub mod redact;
pub mod route;
pub mod span;
