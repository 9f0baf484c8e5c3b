//! Which protocol a connection speaks, by its first bytes.

use super::http1::PROXY_V2;

/// What the first bytes of one direction say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// A request of HTTP/1.0 or 1.1, with or without a PROXY prefix.
    Http1Request,
    /// A response of one.
    Http1Response,
    /// A TLS record of a handshake.
    Tls,
    /// The preface of HTTP/2 (RFC 9113 section 3.4).
    Http2,
    /// None of these.
    Unknown,
    /// Too few bytes to tell.
    NeedMore,
}

/// Longest first line that is waited for.
const MAX_LINE: usize = 64 * 1024;
/// Longest method.
const MAX_METHOD: usize = 64;

/// What `bytes`, the first of one direction, say.
pub fn recognise(bytes: &[u8]) -> Recognition {
    let bytes = match prefix(bytes) {
        Prefix::None => bytes,
        Prefix::NeedMore => return Recognition::NeedMore,
        Prefix::Skip(length) => bytes.get(length..).unwrap_or_default(),
    };
    let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let bytes = bytes.get(empty..).unwrap_or_default();
    match bytes {
        [] => return if empty > 16 { Recognition::Unknown } else { Recognition::NeedMore },
        [0x16, 0x03, 0..=4, ..] => return Recognition::Tls,
        [0x16] | [0x16, 0x03] => return Recognition::NeedMore,
        _ => {}
    }
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
    if bytes.starts_with(PREFACE) {
        return Recognition::Http2;
    }
    const VERSION: &[u8] = b"HTTP/1.";
    if let Some(rest) = bytes.strip_prefix(VERSION) {
        return match rest {
            [minor, b' ', ..] if minor.is_ascii_digit() => Recognition::Http1Response,
            [] | [_] => Recognition::NeedMore,
            _ => Recognition::Unknown,
        };
    }
    if VERSION.starts_with(bytes) {
        return Recognition::NeedMore;
    }
    request(bytes)
}

fn request(bytes: &[u8]) -> Recognition {
    let Some(method) = bytes.iter().take(MAX_METHOD + 1).position(|byte| !super::http1::is_token(*byte))
    else {
        return if bytes.len() > MAX_METHOD { Recognition::Unknown } else { Recognition::NeedMore };
    };
    if method == 0 || bytes.get(method) != Some(&b' ') {
        return Recognition::Unknown;
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let plausible = bytes.len() <= MAX_LINE
            && !bytes.iter().any(|byte| byte.is_ascii_control() && *byte != b'\r' && *byte != b'\t');
        return if plausible { Recognition::NeedMore } else { Recognition::Unknown };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.split_last() {
        Some((minor, rest)) if minor.is_ascii_digit() && rest.ends_with(b" HTTP/1.") => {
            Recognition::Http1Request
        }
        _ if line == b"PRI * HTTP/2.0" => Recognition::Http2,
        _ => Recognition::Unknown,
    }
}

/// The header that a load balancer may put before the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    /// There is none.
    None,
    /// There may be one.
    NeedMore,
    /// It takes so many bytes.
    Skip(usize),
}

/// Recognises PROXY protocol headers, version 1 (a line of at most 107 bytes) and 2 (binary): the
/// specification that comes with HAProxy, `doc/proxy-protocol.txt`, sections 2.1 and 2.2.
pub(super) fn prefix(bytes: &[u8]) -> Prefix {
    const V1: &[u8] = b"PROXY ";
    const V1_LINE: usize = 107;
    if bytes.starts_with(PROXY_V2) {
        return match bytes.get(14..16) {
            Some(&[high, low]) => {
                let length = 16 + usize::from(u16::from_be_bytes([high, low]));
                if bytes.len() < length { Prefix::NeedMore } else { Prefix::Skip(length) }
            }
            _ => Prefix::NeedMore,
        };
    }
    if bytes.starts_with(V1) {
        return match bytes.iter().take(V1_LINE).position(|byte| *byte == b'\n') {
            Some(end) => Prefix::Skip(end + 1),
            None if bytes.len() < V1_LINE => Prefix::NeedMore,
            None => Prefix::None,
        };
    }
    if !bytes.is_empty() && (PROXY_V2.starts_with(bytes) || V1.starts_with(bytes)) {
        return Prefix::NeedMore;
    }
    Prefix::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_told_by_their_first_bytes() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Recognition::Http1Request),
            (b"\r\n\r\nGET / HTTP/1.0\n", Recognition::Http1Request),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n", Recognition::Http1Request),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02abPUT /x HTTP/1.1\r\n", Recognition::Http1Request),
            (b"HTTP/1.1 200 OK\r\n", Recognition::Http1Response),
            (b"HTTP/1.", Recognition::NeedMore),
            (b"HTTP/1.1", Recognition::NeedMore),
            (b"\x16\x03\x01\x02\x00", Recognition::Tls),
            (b"\x16", Recognition::NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Recognition::Http2),
            (b"PRI * HT", Recognition::NeedMore),
            (b"*1\r\n$4\r\nPING\r\n", Recognition::Unknown),
            (b"SSH-2.0-OpenSSH\r\n", Recognition::Unknown),
            (b"GET /", Recognition::NeedMore),
            (b"GET / FTP/1.1\r\n", Recognition::Unknown),
            (b"\0\0\0\x08", Recognition::Unknown),
            (b"", Recognition::NeedMore),
        ] {
            assert_eq!(recognise(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_prefix_of_a_request_is_never_called_something_else() {
        for text in [
            &b"POST /path?query HTTP/1.1\r\n"[..],
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02abPUT /x HTTP/1.1\r\n",
        ] {
            for length in 0..text.len() {
                assert_eq!(recognise(&text[..length]), Recognition::NeedMore, "{length}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_no_panic(bytes: Vec<u8>) {
            let _ = recognise(&bytes);
        }
    }
}
