//! Header fields of HTTP/1 heads.

use crate::{
    protocol::lines::{FieldName, Lines},
    trace_context::Carrier,
};

/// The head of a request as a carrier of trace contexts.
pub(crate) struct Head<'a>(pub(crate) &'a [u8]);

impl Carrier for Head<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header_values(self.0, name)
    }
}

/// Walks a head that a parser has accepted: lines end in LF with or without CR, a line that begins
/// with a space or tab continues the one before (RFC 9112 section 5.2) and is not joined here.
pub(crate) fn header_values<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    Lines::new(head).skip(1).filter_map(move |line| value_of(line, name))
}

/// Which attempt a request says that it is, from 1: `x-envoy-attempt-count: 2` (Envoy's router filter) or
/// `amz-sdk-request: attempt=2; max=3` (AWS SDKs). None if they contradict each other.
pub(crate) fn attempt(head: &[u8]) -> Option<u32> {
    let number = |text: &[u8]| -> Option<u32> {
        let is_number = text.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok().filter(|number| *number > 0)
    };
    let of_sdk = |value: &'_ [u8]| {
        let mut parts = value.split(|byte| *byte == b';');
        parts.find_map(|part| number(part.trim_ascii().strip_prefix(b"attempt=")?))
    };
    let of_envoy = header_values(head, "x-envoy-attempt-count").map(number);
    let mut all = of_envoy.chain(header_values(head, "amz-sdk-request").map(of_sdk));
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}

/// The value of a field's line, if the field is called so.
fn value_of<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (field, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    field.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
}

/// What nearly every span tells of its request's header fields, noted when the head is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    pub(super) host: Place,
    pub(super) user_agent: Place,
    has_trace_context: bool,
    may_link: bool,
    has_attempt: bool,
}

/// Where a value stands in a head; of no length if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    start: u32,
    end: u32,
}

impl Place {
    pub(super) fn of(self, head: &[u8]) -> Option<&[u8]> {
        (self.start != 0).then(|| head.get(self.start as usize..self.end as usize))?
    }
}

impl Noted {
    /// Reads all of a head.
    #[cfg(test)]
    pub(crate) fn of(head: &[u8]) -> Self {
        let mut this = Self::default();
        let mut lines = Lines::new(head);
        while let (at, Some(line)) = (lines.at(), lines.next()) {
            this.line(line, at);
        }
        this
    }

    /// Whether there is a `traceparent`.
    pub(crate) fn has_trace_context(&self) -> bool {
        self.has_trace_context
    }

    /// Whether there is a header that [`attempt`] reads.
    pub(crate) fn has_attempt(&self) -> bool {
        self.has_attempt
    }

    /// Whether there is a header that [`crate::trace_context::Carried`] reads.
    pub(crate) fn may_link(&self) -> bool {
        self.may_link
    }

    /// Reads a line that begins `at` bytes into the head.
    #[inline]
    pub(crate) fn line(&mut self, line: &[u8], at: usize) {
        match line.first() {
            Some(b'h' | b'H') => Self::note(&mut self.host, HOST.value_of(line), line, at),
            Some(b'u' | b'U') => {
                Self::note(&mut self.user_agent, USER_AGENT.value_of(line), line, at);
                self.may_link |= UBER_TRACE_ID.value_of(line).is_some();
            }
            Some(b'x' | b'X') => {
                self.may_link |= may_link(line);
                self.has_attempt |= X_ENVOY_ATTEMPT_COUNT.value_of(line).is_some();
            }
            Some(b'a' | b'A') => self.has_attempt |= AMZ_SDK_REQUEST.value_of(line).is_some(),
            Some(b'b' | b'B') => self.may_link |= B3.value_of(line).is_some(),
            Some(b't' | b'T') => self.has_trace_context |= TRACEPARENT.value_of(line).is_some(),
            _ => {}
        }
    }

    /// The first counts.
    #[inline(always)]
    fn note(place: &mut Place, value: Option<&[u8]>, line: &[u8], at: usize) {
        if place.start == 0
            && let Some(value) = value
        {
            let end = at + line.len();
            let start = end - value.trim_ascii_start().len();
            // Heads are shorter than 4 GiB.
            *place =
                Place { start: start as u32, end: (end - value.len() + value.trim_ascii_end().len()) as u32 };
        }
    }
}

/// Whether a field beginning with X is one of those that link requests.
fn may_link(line: &[u8]) -> bool {
    // A bit tells the cases of letters apart, and is set in a dash.
    match line.first_chunk::<4>().map(|begin| begin.map(|byte| byte | 0x20)) {
        Some([_, b'-', b'b', b'3']) => true,
        Some([_, b'-', b'd', b'a']) => X_DATADOG_TRACE_ID.value_of(line).is_some(),
        Some([_, b'-', b'a', b'm']) => X_AMZN_TRACE_ID.value_of(line).is_some(),
        Some([_, b'-', b'r', b'e']) => X_REQUEST_ID.value_of(line).is_some(),
        _ => false,
    }
}

const HOST: FieldName<4> = FieldName::new(b"host");
const USER_AGENT: FieldName<10> = FieldName::new(b"user-agent");
const TRACEPARENT: FieldName<11> = FieldName::new(b"traceparent");
const AMZ_SDK_REQUEST: FieldName<15> = FieldName::new(b"amz-sdk-request");
const X_ENVOY_ATTEMPT_COUNT: FieldName<21> = FieldName::new(b"x-envoy-attempt-count");
const B3: FieldName<2> = FieldName::new(b"b3");
const UBER_TRACE_ID: FieldName<13> = FieldName::new(b"uber-trace-id");
const X_DATADOG_TRACE_ID: FieldName<18> = FieldName::new(b"x-datadog-trace-id");
const X_AMZN_TRACE_ID: FieldName<15> = FieldName::new(b"x-amzn-trace-id");
const X_REQUEST_ID: FieldName<12> = FieldName::new(b"x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_read_from_either_header() {
        for (fields, expected) in [
            ("X-Envoy-Attempt-Count: 2", Some(2)),
            ("Amz-Sdk-Request: attempt=3; max=5", Some(3)),
            ("amz-sdk-request: ttl=20200101T000000Z;attempt=1;max=3", Some(1)),
            ("x-envoy-attempt-count: 2\r\namz-sdk-request: attempt=2", Some(2)),
            ("x-envoy-attempt-count: 2\r\namz-sdk-request: attempt=3", None),
            ("x-envoy-attempt-count: 2\r\nx-envoy-attempt-count: 3", None),
            ("x-envoy-attempt-count: 0", None),
            ("x-envoy-attempt-count: +1", None),
            ("x-envoy-attempt-count: 99999999999", None),
            ("x-envoy-attempt-count:", None),
            ("amz-sdk-request: max=3", None),
        ] {
            let head = format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n");
            assert_eq!(attempt(head.as_bytes()), expected, "{fields}");
            assert!(Noted::of(head.as_bytes()).has_attempt());
        }
        assert!(!Noted::of(b"GET / HTTP/1.1\r\naccept: */*\r\nx-envoy-retry-on: 5xx\r\n\r\n").has_attempt());
    }
}
