//! Which strategy fits a program.

use super::{Strategy, proxy::Proxy, threads::Threads};

/// The strategy for a process that runs this executable.
pub(crate) fn for_program(executable: &str) -> Box<dyn Strategy> {
    match Proxy::known(executable) {
        Some(proxy) => Box::new(proxy),
        None => Box::new(Threads::default()),
    }
}
