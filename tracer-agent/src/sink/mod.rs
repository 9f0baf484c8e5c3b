//! Where spans go.

#![forbid(unsafe_code)]

pub mod otlp;
pub mod terminal;
