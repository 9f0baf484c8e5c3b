//! The viewer as its clients meet it: real sockets, real requests.

#![expect(clippy::unwrap_used, reason = "a test that fails tells the line")]

mod api;
mod certificates;
mod comparison;
mod dependencies;
mod harness;
mod hostile;
mod jaeger;
mod limits;
mod live;
mod open;
mod otlp;
mod security;
mod slow;
mod slow_requests;
mod socket;
mod tls;
