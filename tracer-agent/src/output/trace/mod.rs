//! Finished traces, each drawn as a whole.

mod bar;
mod order;
mod waiting;
mod waterfall;

pub(super) use self::{
    waiting::Waiting,
    waterfall::{Waterfall, lines},
};
