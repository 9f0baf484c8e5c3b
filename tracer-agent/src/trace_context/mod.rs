//! Trace context as it comes in headers: W3C Trace Context, level 2, and other formats.

#![forbid(unsafe_code)]

mod carrier;
mod formats;
mod header_format;
pub mod sample;
mod w3c;

pub use self::{
    carrier::Carrier,
    formats::Carried,
    header_format::{HeaderFormat, HeaderFormats},
    w3c::Incoming,
};
