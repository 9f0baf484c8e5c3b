//! A request and its response: what the protocol parsers make and the span stage turns into spans.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use bytes::Bytes;

/// Which end of a connection a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sends requests.
    Client,
    /// It answers them.
    Server,
}

/// The thread that moved bytes, in the initial pid namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unit {
    /// Process (thread group).
    pub pid: u32,
    /// Thread.
    pub tid: u32,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The response's last byte was seen to move.
    Complete,
    /// No response came within the time limit.
    Timeout,
    /// The connection was reset before the response was complete.
    Reset,
    /// The connection was closed before the first byte of a response.
    NoResponse,
    /// The response ended before the length that it announced.
    Truncated,
    /// Bytes of the response were lost to the agent: when it ended is not known exactly.
    Lost,
}

/// One request and its response on one connection.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Who moved the first byte of the request.
    pub request_unit: Unit,
    /// Who moved the first byte of the response.
    pub response_unit: Option<Unit>,
    /// First byte of the request, `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// Last byte of the request, body included, as far as seen when the exchange ended.
    pub request_end_ns: u64,
    /// First byte of the final response.
    pub response_start_ns: Option<u64>,
    /// Last byte of the response, body included; when there was none, the moment that ended it.
    pub end_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Offset of the request's first byte in its direction of the connection.
    pub request_offset: u64,
    /// What was said.
    pub payload: Payload,
}

/// The protocol's own part of an exchange.
#[derive(Clone, Debug)]
pub enum Payload {
    /// HTTP/1.0 or HTTP/1.1.
    Http(Box<HttpExchange>),
}

/// An HTTP exchange. Heads are kept as they were on the wire, start line included, up to the empty
/// line; they parsed once and parse again with `httparse`.
#[derive(Clone, Debug)]
pub struct HttpExchange {
    /// Head of the request.
    pub request_head: Bytes,
    /// Where in `request_head` the method stands.
    pub method: std::ops::Range<usize>,
    /// Where in `request_head` the request target stands.
    pub target: std::ops::Range<usize>,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1, of the request.
    pub minor_version: u8,
    /// Head of the final response.
    pub response_head: Option<Bytes>,
    /// Status code of the final response; 101 for an upgrade.
    pub status: Option<u16>,
    /// Size of the request's body without chunk framing, bytes; none if it is not known.
    pub request_body_bytes: Option<u64>,
    /// Size of the response's body without chunk framing, bytes; none if it is not known.
    pub response_body_bytes: Option<u64>,
}

impl HttpExchange {
    /// The method as it was sent.
    pub fn method(&self) -> &[u8] {
        self.request_head.get(self.method.clone()).unwrap_or_default()
    }

    /// The request target as it was sent.
    pub fn target(&self) -> &[u8] {
        self.request_head.get(self.target.clone()).unwrap_or_default()
    }

    /// Values of the request's header fields called `name` (compared without case), in order,
    /// whitespace around them removed.
    pub fn request_header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header_values(&self.request_head, name)
    }

    /// The fields that nearly every span tells of, found in one go.
    pub fn common_fields(&self) -> CommonFields<'_> {
        let mut found = CommonFields::default();
        for line in lines(&self.request_head) {
            match line.first() {
                Some(b'h' | b'H') if found.host.is_none() => found.host = value_of(line, "host"),
                Some(b'u' | b'U') if found.user_agent.is_none() => {
                    found.user_agent = value_of(line, "user-agent");
                }
                _ => {}
            }
        }
        found
    }

    /// Values of the response's header fields called `name`; see [`Self::request_header`].
    pub fn response_header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header_values(self.response_head.as_deref().unwrap_or_default(), name)
    }
}

/// Walks a head that a parser has accepted: lines end in LF with or without CR, a line that begins
/// with a space or tab continues the one before (RFC 9112 section 5.2) and is not joined here.
fn header_values<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    lines(head).filter_map(move |line| value_of(line, name))
}

/// The lines of a head behind the first.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = newline(head).and_then(|end| head.get(end + 1..)).unwrap_or_default();
    std::iter::from_fn(move || {
        let end = newline(rest)?;
        let line = rest.get(..end)?;
        rest = rest.get(end + 1..)?;
        Some(line)
    })
}

/// Where the first LF is. Lines of heads are short: eight bytes at a time find their end before
/// memchr has chosen how to search.
pub(crate) fn newline(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // A byte that is zero here is an LF there: Mycroft's test for a zero byte in a word.
        let differs = u64::from_le_bytes(*word) ^ (ONES * b'\n' as u64);
        let zero = differs.wrapping_sub(ONES) & !differs & HIGH;
        if zero != 0 {
            return Some(index * 8 + zero.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| *byte == b'\n')?;
    Some(words.len() * 8 + found)
}

/// The value of a field's line, if the field is called so.
fn value_of<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (field, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    field.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
}

/// What nearly every span tells of its request's header fields: the first of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommonFields<'a> {
    /// `Host`.
    pub host: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
}

/// What is known of a connection when one of its exchanges ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Number of the connection, unique while the agent runs.
    pub number: u64,
    /// The selected process's role.
    pub role: Role,
    /// Its own address.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// Network namespace, as an inode number.
    pub netns: u32,
}

#[cfg(test)]
mod tests {
    use super::newline;

    proptest::proptest! {
        #[test]
        fn the_first_newline_is_found_wherever_it_is(bytes in proptest::collection::vec(0u8..16, 0..300)) {
            proptest::prop_assert_eq!(newline(&bytes), bytes.iter().position(|byte| *byte == b'\n'));
        }

        #[test]
        fn no_byte_looks_like_a_newline(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            proptest::prop_assert_eq!(newline(&bytes), bytes.iter().position(|byte| *byte == b'\n'));
        }
    }
}
