//! Processes: what is known of them, which are traced, and whose service they are.

pub mod discovery;
pub mod facts;
pub mod glob;
pub mod identity;
#[expect(unsafe_code, reason = "between fork and exec only system calls are allowed")]
pub mod launch;
mod name;
pub mod selector;
pub mod table;
