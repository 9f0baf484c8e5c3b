//! The agent: from kernel events to OpenTelemetry spans. Stages face one way:
//! kernel events → connections → parsers → exchanges → spans → sinks.

#![deny(unsafe_code)]

pub mod agent;
pub mod bench;
pub mod client;
pub mod clock;
pub mod commands;
pub mod config;
pub mod connection;
pub mod correlate;
pub mod doctor;
pub mod endpoint;
pub mod event;
pub mod exchange;
#[expect(unsafe_code, reason = "the settings of the allocator have no safe binding")]
mod heap;
#[expect(unsafe_code, reason = "maps of the kernel side are shared memory")]
pub mod kernel;
pub mod ledger;
pub mod log;
pub mod one_or_list;
pub mod outside;
pub mod percent;
pub mod pipeline;
pub mod ports;
pub mod private_file;
pub mod problem;
pub mod process;
pub mod propagate;
pub mod protocol;
pub mod redact;
pub mod route;
pub mod short_bytes;
pub mod sink;
pub mod span;
pub mod task_runtime;
pub mod trace;
pub mod trace_context;
pub mod units;
pub mod viewer;
