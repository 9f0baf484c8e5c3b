//! Spans as the store keeps them, the formats in which they come and go, and what is told of them.

#![forbid(unsafe_code)]

pub mod answer;
pub mod span;
