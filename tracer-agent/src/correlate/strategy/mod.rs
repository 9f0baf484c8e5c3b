//! Ways in which processes work on requests.

pub(super) mod proxy;
pub(super) mod threads;
