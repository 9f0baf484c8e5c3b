//! The programs. The code that they call is in the other folders.

pub(crate) mod data;
pub(crate) mod options;
pub(crate) mod process;
pub(crate) mod sk_msg;
pub(crate) mod sock_ops;
pub(crate) mod tcp_state;
