//! Whether bytes begin a message of HTTP/1.0 or HTTP/1.1.

use super::head::is_token;
use crate::protocol::{
    interface::{Side, Sniffed},
    proxy_header::ProxyHeader,
};

/// Longest first line that is waited for.
const MAX_LINE: usize = 64 * 1024;
/// Longest method.
const MAX_METHOD: usize = 64;
/// Bytes of empty lines that may stand before a message (RFC 9112 section 2.2).
const MAX_EMPTY: usize = 16;

/// A request's first line, or the beginning of a status line.
pub(super) fn sniff(bytes: &[u8]) -> Sniffed {
    let empty = bytes.iter().take_while(|byte| is_empty_line(**byte)).count();
    let bytes = bytes.get(empty..).unwrap_or_default();
    if bytes.is_empty() {
        return if empty > MAX_EMPTY { Sniffed::No } else { Sniffed::More };
    }
    const VERSION: &[u8] = b"HTTP/1.";
    if let Some(rest) = bytes.strip_prefix(VERSION) {
        return match rest {
            [minor, b' ', ..] if minor.is_ascii_digit() => Sniffed::Yes { sender: Side::Response },
            [] | [_] => Sniffed::More,
            _ => Sniffed::No,
        };
    }
    if VERSION.starts_with(bytes) {
        return Sniffed::More;
    }
    request(bytes)
}

/// As [`sniff`], of bytes in the middle of a connection: a PROXY header may stand before them there too.
pub(super) fn sniff_message(bytes: &[u8]) -> Sniffed {
    match ProxyHeader::of(bytes) {
        ProxyHeader::None => sniff(bytes),
        ProxyHeader::More => Sniffed::More,
        ProxyHeader::Bytes(length) => sniff(bytes.get(length..).unwrap_or_default()),
    }
}

fn request(bytes: &[u8]) -> Sniffed {
    let Some(method) = bytes.iter().take(MAX_METHOD + 1).position(|byte| !is_token(*byte)) else {
        return if bytes.len() > MAX_METHOD { Sniffed::No } else { Sniffed::More };
    };
    if method == 0 || bytes.get(method) != Some(&b' ') {
        return Sniffed::No;
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let plausible = bytes.len() <= MAX_LINE
            && !bytes.iter().any(|byte| byte.is_ascii_control() && *byte != b'\r' && *byte != b'\t');
        return if plausible { Sniffed::More } else { Sniffed::No };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.split_last() {
        Some((minor, rest)) if minor.is_ascii_digit() && rest.ends_with(b" HTTP/1.") => {
            Sniffed::Yes { sender: Side::Request }
        }
        _ => Sniffed::No,
    }
}

/// Whether a byte belongs to an empty line.
const fn is_empty_line(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
