//! Injection: trace headers in the requests that selected processes send. The socket of such a process enters a sockmap
//! when its connection is established ([`admit`]). Each message on the socket then passes [`decide`] before its bytes
//! can leave. If anything is in doubt, the message is not changed, and the agent gets the reason.
//!
//! The assumptions, and the hazards that are avoided, are in `docs/architecture.md`, "Injection of trace headers".

pub(crate) mod admit;
pub(crate) mod decide;
pub(crate) mod expel;
pub(crate) mod framing;
pub(crate) mod outgoing;
pub(crate) mod pressure;
pub(crate) mod report;
pub(crate) mod third_party;
pub(crate) mod unseen;
pub(crate) mod write;
