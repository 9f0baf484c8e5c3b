//! The table of protocols.

#![forbid(unsafe_code)]

use super::interface::Protocol;

/// All protocols, in the order in which they are asked: see [`super::sniff::sniff`]. One whose first bytes are few and
/// unmistakable stands before one that accepts much.
pub(super) static PROTOCOLS: &[&Protocol] = &[
    &super::opaque::TLS,
    &super::opaque::HTTP2,
    &super::http1::PROTOCOL,
    &super::opaque::FASTCGI,
    &super::opaque::UWSGI,
    &super::opaque::AJP,
    #[cfg(test)]
    &super::toy::PROTOCOL,
    &super::opaque::MYSQL,
];
