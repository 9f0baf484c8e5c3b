//! The header that a load balancer may put before a connection's first byte: the PROXY protocol, version 1 (a line of
//! at most 107 bytes) and version 2 (binary). Source: the specification that comes with HAProxy,
//! `doc/proxy-protocol.txt`, sections 2.1 and 2.2.

/// First bytes of a header of version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// First bytes of a header of version 1.
const V1: &[u8] = b"PROXY ";
/// Longest line of version 1.
const V1_LINE: usize = 107;

/// A PROXY header at the start of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyHeader {
    /// There is none.
    None,
    /// There are too few bytes to tell, or to tell its length.
    More,
    /// There is one of this length.
    Bytes(usize),
}

impl ProxyHeader {
    /// Looks at the first bytes of a direction.
    pub(super) fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(V2) {
            return match bytes.get(14..16) {
                Some(&[high, low]) => {
                    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
                    if bytes.len() < length { Self::More } else { Self::Bytes(length) }
                }
                _ => Self::More,
            };
        }
        if bytes.starts_with(V1) {
            return match bytes.iter().take(V1_LINE).position(|byte| *byte == b'\n') {
                Some(end) => Self::Bytes(end + 1),
                None if bytes.len() < V1_LINE => Self::More,
                None => Self::None,
            };
        }
        if !bytes.is_empty() && (V2.starts_with(bytes) || V1.starts_with(bytes)) {
            return Self::More;
        }
        Self::None
    }
}
