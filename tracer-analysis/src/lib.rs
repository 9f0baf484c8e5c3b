//! Answers over traces: where the time goes, what changed, what fails because of what.
//!
//! Everything here is computed from spans alone, those of our agent and those of an SDK. Each statement names the traces
//! that show it, how many were looked at, and how sure it is.

#![forbid(unsafe_code)]

pub mod answer;
pub mod cascade;
pub mod compare;
pub mod corpus;
pub mod dependency;
pub mod detect;
pub mod incident;
pub mod path;
pub mod report;
pub mod retry;
#[cfg(test)]
mod samples;
pub mod series;
pub mod slow;
pub mod source;
pub mod statistics;
mod words;
