//! What is copied of the data that a process sends and receives.

pub(crate) mod announce;
pub(crate) mod call;
pub(crate) mod direct;
pub(crate) mod gather;
pub(crate) mod open_head;
