//! Protocols: from the bytes of a connection to exchanges. A protocol is a folder of its own and one line in the table
//! `PROTOCOLS`: nothing outside this module names a parser. HTTP/1 keep-alive is the simplest case of what the
//! interface carries, many streams at once the general one.

#![deny(unsafe_code)]

pub mod http;
pub mod http1;
mod interface;
mod lines;
pub mod mask;
mod opaque;
mod proxy_header;
pub mod sniff;
mod table;
#[cfg(test)]
mod toy;

pub use self::interface::{
    Call, End, Limits, Next, OpenParser, Parser, Protocol, Role, SentRequest, Side, Start, Want, Yield, open,
};
