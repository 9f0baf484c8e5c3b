//! What HTTP/1 and later versions of HTTP share: exchanges, header fields, what an exchange says about itself.

#![forbid(unsafe_code)]

mod exchange;
mod fields;
mod otlp;
mod payload;
mod resend;

pub(crate) use self::fields::{Head, attempt};
pub use self::{exchange::HttpExchange, fields::Noted, otlp::Signal};
