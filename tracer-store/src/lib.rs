//! A bounded store of spans. It takes spans in any order, keeps whole traces, and finds them by anything that they say.
//!
//! The store knows nothing of kernels, HTTP or pages. `tracer-viewer` feeds it and shows it.

#![forbid(unsafe_code)]

mod aggregate;
mod complete;
mod disk;
mod durations;
mod engine;
mod gather;
pub mod limits;
mod line;
mod operations;
pub mod query;
mod search;
mod segment;
pub mod store;
mod summary;
mod traces;
mod whole;

pub use limits::Limits;
pub use query::{Query, QueryError};
pub use store::{Inserted, Order, SearchOptions, Store, StoreError};
