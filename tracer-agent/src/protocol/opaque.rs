//! Protocols that are recognised, counted and not read.

use super::interface::{Protocol, Side, Sniffed};
use crate::ledger::Counter;

/// TLS, by the record of its handshake (RFC 8446 section 5.1).
pub(super) static TLS: Protocol = Protocol {
    name: "TLS",
    sniff: tls,
    server_may_begin: false,
    open: None,
    mask: None,
    opaque_counter: Counter::ConnectionsTls,
};

/// HTTP/2 with prior knowledge, by its preface (RFC 9113 section 3.4).
pub(super) static HTTP2: Protocol = Protocol {
    name: "HTTP/2",
    sniff: http2,
    server_may_begin: false,
    open: None,
    mask: None,
    opaque_counter: Counter::ConnectionsHttp2,
};

fn tls(bytes: &[u8]) -> Sniffed {
    match bytes {
        // A handshake begins with the client's record. Met in the middle, the sender is not known.
        [0x16, 0x03, 0..=4, ..] => Sniffed::Yes { sender: Side::Request },
        [0x16] | [0x16, 0x03] => Sniffed::More,
        _ => Sniffed::No,
    }
}

fn http2(bytes: &[u8]) -> Sniffed {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
    if bytes.starts_with(PREFACE) {
        Sniffed::Yes { sender: Side::Request }
    } else if PREFACE.starts_with(bytes) {
        Sniffed::More
    } else {
        Sniffed::No
    }
}
