//! Which protocol a connection speaks, by its first bytes. Detection knows nothing of parsing: each protocol of the
//! table `PROTOCOLS` has a function that looks at bytes and nothing else.

pub use super::interface::Sniffed;
use super::{
    interface::{Protocol, Side},
    proxy_header::ProxyHeader,
    table::PROTOCOLS,
};

/// What the first bytes of one direction say.
#[derive(Clone, Copy, Debug)]
pub enum Recognition {
    /// They are of this protocol, and this side of it sends them.
    Found(&'static Protocol, Side),
    /// They are too few to tell.
    More,
    /// They are of no protocol in the table.
    Unknown,
}

/// What `bytes`, the first of one direction, say. A PROXY header before them is passed over.
///
/// The protocols are asked in the order of the table. One that says [`Sniffed::Yes`] is taken if all before it have
/// said [`Sniffed::No`]: one before it that needs more bytes may still turn out to be the right one.
pub fn sniff(bytes: &[u8]) -> Recognition {
    let bytes = match ProxyHeader::of(bytes) {
        ProxyHeader::None => bytes,
        ProxyHeader::More => return Recognition::More,
        ProxyHeader::Bytes(length) => bytes.get(length..).unwrap_or_default(),
    };
    if bytes.is_empty() {
        return Recognition::More;
    }
    for protocol in PROTOCOLS {
        match (protocol.sniff)(bytes) {
            Sniffed::No => {}
            Sniffed::More => return Recognition::More,
            Sniffed::Yes { sender } => return Recognition::Found(protocol, sender),
        }
    }
    Recognition::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recognition as text: `HTTP/1 Request`, `more`, `unknown`.
    fn told(bytes: &[u8]) -> String {
        match sniff(bytes) {
            Recognition::Found(protocol, side) => format!("{} {side:?}", protocol.name),
            Recognition::More => "more".to_owned(),
            Recognition::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn protocols_are_told_by_their_first_bytes() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], "HTTP/1 Request"),
            (b"\r\n\r\nGET / HTTP/1.0\n", "HTTP/1 Request"),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n", "HTTP/1 Request"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02abPUT /x HTTP/1.1\r\n", "HTTP/1 Request"),
            (b"HTTP/1.1 200 OK\r\n", "HTTP/1 Response"),
            (b"HTTP/1.", "more"),
            (b"HTTP/1.1", "more"),
            (b"\x16\x03\x01\x02\x00", "TLS Request"),
            (b"\x16", "more"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 Request"),
            (b"PRI * HT", "more"),
            (b"\0\0\x12\x04\0\0\0\0\0\0\x03", "HTTP/2 Response"),
            (b"\0\0\0\x04\x01\0\0\0\0", "unknown"),
            (b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0", "FastCGI Request"),
            (b"\x01\x01\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0", "unknown"),
            (b"\0\x91\x01\0\x0c\0QUERY_STRING\0\0", "uwsgi Request"),
            (b"\0\x91\x01\0\x0c\0query_string\0\0", "unknown"),
            (b"\x12\x34\x01\x0b\x02\x02\0\x08HTTP/1.1", "AJP Request"),
            (b"\x12\x34\0\x01\x0a", "AJP Request"),
            (b"\x4a\0\0\0\x0a8.0.36\0", "MySQL Response"),
            (b"\x4a\0\0\0\x0a5.5.5-10.11.6-MariaDB\0", "MySQL Response"),
            (b"\x4a\0\0\0", "more"),
            (b"\x4a\0\0\x01\x0a8", "unknown"),
            (b"*1\r\n$4\r\nPING\r\n", "unknown"),
            (b"SSH-2.0-OpenSSH\r\n", "unknown"),
            (b"GET /", "more"),
            (b"GET / FTP/1.1\r\n", "unknown"),
            (b"\0\0\0\x08", "unknown"),
            (b"", "more"),
        ] {
            assert_eq!(told(bytes), expected, "{}", bytes.escape_ascii());
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
                assert_eq!(told(&text[..length]), "more", "{length}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_no_panic(bytes: Vec<u8>) {
            let _ = sniff(&bytes);
        }
    }
}
