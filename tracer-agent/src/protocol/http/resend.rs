//! What HTTP says of resends: which client request repeats another one, and where a redirect leads.

use std::any::Any;

use super::exchange::HttpExchange;
use crate::exchange::{ConnectionFacts, Exchange, Outcome, Repeatable};

/// What a client request asks for.
#[derive(Debug)]
pub(super) struct HttpRepeatable {
    method: Box<[u8]>,
    to: RequestUri,
    /// What another attempt would ask for, and from when on.
    next: Option<(NextAttempt, u64)>,
}

/// What the next attempt would ask for.
#[derive(Debug)]
enum NextAttempt {
    Same,
    Redirected { to: RequestUri, status: u16 },
}

/// Host in lower case, with a port unless that is 80; path and query.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RequestUri {
    host: Box<[u8]>,
    target: Box<[u8]>,
}

/// Longest destination that is remembered, bytes.
const LONGEST: usize = 2048;

/// Whether another attempt may follow an exchange.
pub(super) fn may_be_followed(http: &HttpExchange, outcome: Outcome) -> bool {
    match http.status {
        Some(status) => is_redirect(status),
        None => matches!(outcome, Outcome::Timeout | Outcome::Reset | Outcome::NoResponse),
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

impl HttpRepeatable {
    /// None for what cannot be compared.
    pub(super) fn of(http: &HttpExchange, exchange: &Exchange, facts: &ConnectionFacts) -> Option<Self> {
        let to = RequestUri::of_request(http, facts)?;
        let next = NextAttempt::of(http, exchange, &to);
        Some(Self { method: http.method().into(), to, next })
    }
}

impl NextAttempt {
    /// What may follow an exchange, and from when on.
    fn of(http: &HttpExchange, exchange: &Exchange, asked_of: &RequestUri) -> Option<(Self, u64)> {
        match (http.status, exchange.outcome) {
            (None, Outcome::Timeout | Outcome::Reset | Outcome::NoResponse) => {
                Some((Self::Same, exchange.end_ns))
            }
            (Some(status), _) if is_redirect(status) => {
                let mut locations = http.response_header("location");
                let location = locations.next().filter(|_| locations.next().is_none())?;
                let to = asked_of.resolve(location)?;
                Some((Self::Redirected { to, status }, exchange.response_start_ns?))
            }
            _ => None,
        }
    }
}

impl Repeatable for HttpRepeatable {
    fn leads_to(&self, later: &dyn Repeatable) -> bool {
        let Some(later) = later.as_any().downcast_ref::<Self>() else { return false };
        match &self.next {
            None => false,
            Some((NextAttempt::Same, _)) => self.method == later.method && self.to == later.to,
            Some((NextAttempt::Redirected { to, status }, _)) => {
                // RFC 9110 section 15.4.
                let fits = match (status, &*later.method) {
                    (303, b"GET" | b"HEAD") => true,
                    (301 | 302, b"GET") if *self.method == *b"POST" => true,
                    (303, _) => false,
                    (_, method) => *self.method == *method,
                };
                fits && *to == later.to
            }
        }
    }

    fn followed_from_ns(&self) -> Option<u64> {
        self.next.as_ref().map(|(_, from_ns)| *from_ns)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl RequestUri {
    fn new(host: &[u8], target: Vec<u8>) -> Option<Self> {
        let host = host.rsplit(|byte| *byte == b'@').next()?;
        let host = host.strip_suffix(b":80").unwrap_or(host).to_ascii_lowercase();
        (!host.is_empty() && host.len() + target.len() <= LONGEST)
            .then(|| Self { host: host.into(), target: target.into() })
    }

    fn of_request(http: &HttpExchange, facts: &ConnectionFacts) -> Option<Self> {
        let target = http.target();
        match without_scheme(target) {
            Some(rest) => Self::of_authority(rest),
            None if target.starts_with(b"/") => match http.host() {
                Some(host) => Self::new(host, target.to_vec()),
                None => Self::new(facts.remote.to_string().as_bytes(), target.to_vec()),
            },
            None => None,
        }
    }

    /// Of `host:port/path?query`.
    fn of_authority(rest: &[u8]) -> Option<Self> {
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (host, target) = rest.split_at(end);
        let target = if target.starts_with(b"/") { target.to_vec() } else { [b"/", target].concat() };
        Self::new(host, without_dots(&target))
    }

    /// Where a reference leads from here (RFC 3986 section 5.2). None for another scheme.
    fn resolve(&self, location: &[u8]) -> Option<Self> {
        let location = location.split(|byte| *byte == b'#').next().filter(|text| !text.is_empty())?;
        if let Some(rest) = without_scheme(location).or_else(|| location.strip_prefix(b"//")) {
            return Self::of_authority(rest);
        }
        let path_end = |text: &[u8]| text.iter().position(|byte| *byte == b'?').unwrap_or(text.len());
        let base = &self.target[..path_end(&self.target)];
        let first = location.split(|byte| matches!(byte, b'/' | b'?')).next().unwrap_or_default();
        let target = match location[0] {
            b'/' => location.to_vec(),
            b'?' => [base, location].concat(),
            _ if first.contains(&b':') => return None,
            _ => {
                let folder = base.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                [&base[..folder], location].concat()
            }
        };
        Self::new(&self.host, without_dots(&target))
    }
}

/// What stands behind `http://`.
fn without_scheme(url: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"http://";
    let (scheme, rest) = url.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

/// A target whose path has no segments `.` and `..` (RFC 3986 section 5.2.4).
fn without_dots(target: &[u8]) -> Vec<u8> {
    let end = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if is_last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut whole = Vec::with_capacity(target.len());
    for segment in kept {
        whole.push(b'/');
        whole.extend_from_slice(segment);
    }
    whole.extend_from_slice(query);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_where_the_rfc_says() {
        let base = RequestUri::new(b"A.example:80", b"/b/c/d;p?q".to_vec()).expect("a destination");
        for (location, expected) in [
            // RFC 3986 section 5.4, as far as it is about HTTP.
            ("g", "a.example/b/c/g"),
            ("./g", "a.example/b/c/g"),
            ("g/", "a.example/b/c/g/"),
            ("/g", "a.example/g"),
            ("//g", "g/"),
            ("?y", "a.example/b/c/d;p?y"),
            ("g?y#s", "a.example/b/c/g?y"),
            (".", "a.example/b/c/"),
            ("..", "a.example/b/"),
            ("../g", "a.example/b/g"),
            ("../../../g", "a.example/g"),
            ("/./g", "a.example/g"),
            ("g/./h?a/../b", "a.example/b/c/g/h?a/../b"),
            ("HTTP://user@B.example:8080?x", "b.example:8080/?x"),
        ] {
            let to = base.resolve(location.as_bytes()).expect(location);
            let found = [to.host, to.target].concat();
            assert_eq!(String::from_utf8_lossy(&found), expected, "{location}");
        }
        for location in ["", "#s", "https://a.example/", "mailto:x", "g:h", "http:///x"] {
            assert_eq!(base.resolve(location.as_bytes()), None, "{location}");
        }
    }

    /// Where the library for RFC 3986 says that a reference leads; none for a host of no length.
    fn oracle(base: &str, reference: &str) -> Option<String> {
        let base = fluent_uri::Uri::parse(base).expect("a base");
        let reference = fluent_uri::UriRef::parse(reference).expect("a reference");
        let to = reference.resolve_against(&base).expect("a base without a fragment");
        let host = to.authority().map(|authority| authority.host().to_owned())?;
        let path = Some(to.path().as_str()).filter(|path| !path.is_empty()).unwrap_or("/");
        let query = to.query().map(|query| format!("?{query}")).unwrap_or_default();
        (!host.is_empty()).then(|| format!("{host}{path}{query}"))
    }

    proptest::proptest! {
        #[test]
        fn references_lead_where_the_library_says(
            base in "(/[a-c]{0,2}){1,4}([?][a-c]?)?",
            reference in "([a-c]|[.]{1,2}|/|[?]){1,8}",
        ) {
            let from = RequestUri::new(b"h", base.clone().into_bytes()).expect("a destination");
            let found = from.resolve(reference.as_bytes());
            let found = found.map(|to| String::from_utf8_lossy(&[to.host, to.target].concat()).into_owned());
            proptest::prop_assert_eq!(found, oracle(&format!("http://h{base}"), &reference));
        }

        #[test]
        fn garbage_is_no_panic(base: Vec<u8>, location: Vec<u8>) {
            let base = RequestUri { host: b"h"[..].into(), target: [&b"/"[..], &base].concat().into() };
            let _ = base.resolve(&location);
        }
    }
}
