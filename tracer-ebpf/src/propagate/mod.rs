//! Trace headers in the requests that selected processes send. A socket that such a process opened enters a map when
//! its connection is established ([`admit`]); each message on it then passes [`decide`] before its bytes can leave.
//! Where anything is in doubt the message stays as it is, and the agent is told why.
//!
//! What this relies on, and what it avoids: `docs/architecture.md`, "Headers".

pub(crate) mod admit;
pub(crate) mod decide;
pub(crate) mod framing;
pub(crate) mod outgoing;
pub(crate) mod report;
pub(crate) mod unseen;
pub(crate) mod write;
