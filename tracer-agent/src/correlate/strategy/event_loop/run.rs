//! A run, and Node's async ids: the words that the rules of the event loop share.

use tracer_common::RunRecord;

/// A server request or a client request, from the moment at which a callback read or sent it.
pub(super) type Node = u64;

/// The ids of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AsyncIds {
    /// Of what runs; 0 if that is not known.
    pub(super) execution: u64,
    /// Of what that was made by.
    pub(super) trigger: u64,
    /// The last one that was given out.
    pub(super) last: u64,
    /// Of what triggers all that is made now; 0 if that is what runs. While a connection sends, it is the connection.
    pub(super) default: u64,
}

impl AsyncIds {
    /// The ids that a record tells, if they can be true.
    pub(super) fn of(record: &RunRecord, earlier: u64) -> Option<Self> {
        /// Integers up to here are exact.
        const MOST: f64 = 9_007_199_254_740_992.0;
        let number = |bits: u64| {
            let number = f64::from_bits(bits);
            (number.fract() == 0.0 && (0.0..MOST).contains(&number)).then_some(number as u64)
        };
        let [execution, trigger, last, default] = record.ids;
        let default = if f64::from_bits(default) == -1.0 { 0 } else { number(default)? };
        let ids =
            Self { execution: number(execution)?, trigger: number(trigger)?, last: number(last)?, default };
        let is_given_out = |id: u64| id <= ids.last;
        let is_possible = ids.last >= earlier.max(1)
            && is_given_out(ids.execution)
            && is_given_out(ids.trigger)
            && is_given_out(ids.default);
        is_possible.then_some(ids)
    }
}

/// A callback that has read from a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) connection: u64,
    /// The request that the connection carries.
    pub(super) node: Option<Node>,
    pub(super) is_server: bool,
    /// The last id that was given out before it.
    pub(super) begin: u64,
}
