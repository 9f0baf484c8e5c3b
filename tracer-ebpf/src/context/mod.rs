//! Which request a client request is made for.

pub(crate) mod filed;
pub(crate) mod ids;
pub(crate) mod parent;
pub(crate) mod process;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod thread;
