//! The trace viewer's server: it receives OTLP, keeps the spans in a `tracer_store`, answers its own API and Jaeger's,
//! and serves the pages.
//!
//! [`Viewer::start`] opens the addresses of [`Settings`] and serves until [`Running::stop`]. An agent in the same
//! process puts its spans into the same [`Store`](tracer_store::Store), and tells of itself by [`AgentSource`]. Routes of
//! its own on a Unix socket are served by [`RunningSocket`], by the same code and without the rest.

#![forbid(unsafe_code)]

mod answers;
pub mod api;
mod blocking;
mod counters;
mod error;
mod jaeger;
mod large;
mod metrics;
mod otlp;
mod otlp_json;
mod pages;
mod problem;
mod room;
mod security;
mod server;
mod service_graph;
mod settings;
mod shared;
mod stopping;
mod watch;

pub use error::ViewerError;
pub use security::Token;
pub use server::{Addresses, Running, RunningSocket, Viewer, serve_socket};
pub use service_graph::service_graph_metrics;
pub use settings::{DEFAULT_LISTEN, DEFAULT_OTLP_GRPC, DEFAULT_OTLP_HTTP, Limits, Settings, TlsFiles};
pub use shared::AgentSource;
pub use watch::{Notify, WatchSettings};
