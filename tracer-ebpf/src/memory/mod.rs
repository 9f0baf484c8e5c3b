//! Memory: the kernel's structures, the process's buffers, words and atomics of map values.

pub(crate) mod arch;
pub(crate) mod atomic;
pub(crate) mod layout;
pub(crate) mod user;
pub(crate) mod words;
