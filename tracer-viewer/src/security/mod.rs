//! Who may ask: token, host and origin, and what browsers are told to allow.

mod guard;
mod headers;
mod host;
mod token;

pub(crate) use guard::{Guard, Verdict, same_page};
pub(crate) use headers::harden;
pub(crate) use host::Hosts;
pub use token::Token;
