//! Processes: what is known of them, which are selected, and whose service they are.

pub mod facts;
pub mod glob;
pub mod identity;
pub mod launch;
mod name;
mod runtime;
pub mod selector;
pub mod table;
