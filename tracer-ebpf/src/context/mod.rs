//! Parents of client requests: the server requests that processes and threads work for.

pub(crate) mod filed;
pub(crate) mod parent;
pub(crate) mod process;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod rings;
pub(crate) mod thread;
