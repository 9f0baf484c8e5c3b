//! Spans put together to traces.

#![forbid(unsafe_code)]

pub mod assembly;
pub mod order;
