//! Why a client request has no parent.

use crate::ledger::Counter;

/// Why a client request has no parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The process had no server request in flight: a timer, a health check, work after a response.
    NoRequest,
    /// Several were in flight, and how the process works is not known yet.
    Learning,
    /// Several were in flight, and nothing told which of them made the call.
    Several,
    /// The thread that sent it had no server request in flight, or more than one.
    OtherThread,
    /// It fits none of the server requests that the proxy has in flight, or several.
    Ambiguous,
    /// The only server request in flight was answered, or it may have been sent for an earlier one.
    Earlier,
    /// It went to an address that the process calls of its own accord too.
    Background,
    /// The process may have been at work for a server request that is not known.
    Unseen,
    /// The process has connections that are not read.
    Opaque,
    /// The sole-request rule is turned off.
    Off,
    /// It carries a trace of the application's own, which no server request in flight has.
    OwnTrace,
    /// It became certain only when it was over.
    Late,
    /// It left with a trace header before its parent was known.
    Left,
}

impl Withheld {
    /// What counts the client requests that have no parent for this reason.
    pub const fn counter(self) -> Counter {
        match self {
            Self::NoRequest => Counter::LinksNoRequest,
            Self::Learning => Counter::LinksLearning,
            Self::Several => Counter::LinksSeveral,
            Self::OtherThread => Counter::LinksOtherThread,
            Self::Ambiguous => Counter::LinksAmbiguous,
            Self::Earlier => Counter::LinksEarlier,
            Self::Background => Counter::LinksBackground,
            Self::Unseen => Counter::LinksUnseen,
            Self::Opaque => Counter::LinksOpaque,
            Self::Off => Counter::LinksOff,
            Self::OwnTrace => Counter::LinksOwnTrace,
            Self::Late => Counter::LinksLate,
            Self::Left => Counter::LinksLeft,
        }
    }
}
