//! The agent: from kernel events to OpenTelemetry spans. Stages face one way:
//! kernel events → connections → parsers → exchanges → spans → sinks.

pub mod exchange;
pub mod kernel;
pub mod ledger;
pub mod protocol;
pub mod span;
