//! The store as others use it, beside a model that looks at every span.

#![forbid(unsafe_code)]

mod against_model;
mod beside;
mod copies;
mod disk;
mod eviction;
mod gather;
mod hostile;
#[cfg(target_os = "linux")]
mod kill;
mod map;
mod model;
mod query;
mod spans;
