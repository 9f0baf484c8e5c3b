//! Processes: what is known of them, which are selected, and whose service they are.

mod build;
pub mod candidate;
pub mod capabilities;
pub mod connections;
pub mod describer;
mod digest;
mod executable;
pub mod execution;
pub mod facts;
pub mod glob;
pub mod go;
pub mod holders;
pub mod identity;
mod java;
#[expect(unsafe_code, reason = "between fork and exec only system calls are allowed")]
pub mod launch;
mod memory;
pub(crate) mod name;
mod named_file;
mod node;
mod python;
mod runtime;
pub mod selector;
mod socket_diag;
mod symbols;
pub mod table;
pub mod task_finder;
pub mod tasks;
