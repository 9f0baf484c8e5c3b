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

/// HTTP/2 with prior knowledge, by its client's preface or its server's settings (RFC 9113 section 3.4). Servers of gRPC
/// often speak first.
pub(super) static HTTP2: Protocol = Protocol {
    name: "HTTP/2",
    sniff: http2,
    server_may_begin: true,
    open: None,
    mask: None,
    opaque_counter: Counter::ConnectionsHttp2,
};

/// FastCGI, by the record that begins a request.
pub(super) static FASTCGI: Protocol = Protocol {
    name: "FastCGI",
    sniff: fastcgi,
    server_may_begin: false,
    open: None,
    mask: None,
    opaque_counter: Counter::ConnectionsFastCgi,
};

/// uwsgi, by its header and the name of the first variable.
pub(super) static UWSGI: Protocol = Protocol {
    name: "uwsgi",
    sniff: uwsgi,
    server_may_begin: false,
    open: None,
    mask: None,
    opaque_counter: Counter::ConnectionsUwsgi,
};

/// AJP 1.3, by the packet of a request or a ping.
pub(super) static AJP: Protocol = Protocol {
    name: "AJP",
    sniff: ajp,
    server_may_begin: false,
    open: None,
    mask: None,
    opaque_counter: Counter::ConnectionsAjp,
};

/// MySQL, by the server's greeting (protocol version 10).
pub(super) static MYSQL: Protocol = Protocol {
    name: "MySQL",
    sniff: mysql,
    server_may_begin: true,
    open: None,
    mask: None,
    opaque_counter: Counter::ConnectionsMySql,
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
    /// Entries of a SETTINGS frame that a server begins with; they have six bytes each.
    const MOST_SETTINGS: u8 = 16;
    if let [0, 0, length, 4, 0, 0, 0, 0, 0, ..] = bytes
        && length % 6 == 0
        && *length <= 6 * MOST_SETTINGS
    {
        Sniffed::Yes { sender: Side::Response }
    } else if bytes.starts_with(PREFACE) {
        Sniffed::Yes { sender: Side::Request }
    } else if PREFACE.starts_with(bytes) {
        Sniffed::More
    } else {
        Sniffed::No
    }
}

fn fastcgi(bytes: &[u8]) -> Sniffed {
    match bytes {
        // Version 1, a beginning (1), any request but 0, eight bytes without padding; a role from 1 to 3.
        [1, 1, high, low, 0, 8, 0, _, 0, 1..=3, ..] if (*high, *low) != (0, 0) => {
            Sniffed::Yes { sender: Side::Request }
        }
        _ => Sniffed::No,
    }
}

fn uwsgi(bytes: &[u8]) -> Sniffed {
    /// Longest name of a first variable.
    const LONGEST: u16 = 64;
    let [0, _, _, 0, low, high, name @ ..] = bytes else { return Sniffed::No };
    let length = u16::from_le_bytes([*low, *high]);
    let name = name.get(..usize::from(length)).unwrap_or(name);
    let is_name = name.len() >= 4 && name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    if is_name && length <= LONGEST { Sniffed::Yes { sender: Side::Request } } else { Sniffed::No }
}

fn ajp(bytes: &[u8]) -> Sniffed {
    match bytes {
        // Forward request (2) or ping (10).
        [0x12, 0x34, _, _, 2 | 10, ..] => Sniffed::Yes { sender: Side::Request },
        _ => Sniffed::No,
    }
}

fn mysql(bytes: &[u8]) -> Sniffed {
    match bytes {
        // The first packet (0) is shorter than 256 bytes, and a client may read its header alone.
        [32..=255, 0, 0, 0] | [32..=255, 0, 0, 0, 10] => Sniffed::More,
        [32..=255, 0, 0, 0, 10, version, ..] if version.is_ascii_digit() => {
            Sniffed::Yes { sender: Side::Response }
        }
        _ => Sniffed::No,
    }
}
