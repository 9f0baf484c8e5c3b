//! The viewer as its clients meet it: real sockets, real requests.

#![expect(clippy::unwrap_used, reason = "a test that fails tells the line")]

mod api;
mod harness;
mod hostile;
mod jaeger;
mod limits;
mod live;
mod otlp;
mod security;
mod tls;
