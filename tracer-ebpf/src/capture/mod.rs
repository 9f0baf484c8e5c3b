//! Capture of the data that a process sends and receives: positions, and the bytes that are copied.

pub(crate) mod announce;
pub(crate) mod call;
pub(crate) mod direct;
pub(crate) mod gather;
pub(crate) mod open_head;
