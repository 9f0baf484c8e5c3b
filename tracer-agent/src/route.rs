//! Names of low cardinality for paths: from configured patterns, or guessed.

#![forbid(unsafe_code)]

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Configured patterns: `{name}` stands for one segment, a last `*` for all that is left.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<(String, Vec<String>)>);

impl Patterns {
    /// Compiles patterns; the first that matches counts.
    pub fn new(patterns: &[String]) -> Self {
        let segments = |pattern: &String| pattern.split('/').map(str::to_owned).collect();
        Self(patterns.iter().map(|pattern| (pattern.clone(), segments(pattern))).collect())
    }

    /// The pattern of a path.
    pub fn find(&self, path: &str) -> Option<&str> {
        let matches = |segments: &[String]| {
            let mut parts = path.split('/');
            for (index, segment) in segments.iter().enumerate() {
                if segment == "*" && index + 1 == segments.len() {
                    return true;
                }
                match parts.next() {
                    Some(part) if segment.starts_with('{') && segment.ends_with('}') && !part.is_empty() => {}
                    Some(part) if part == segment => {}
                    _ => return false,
                }
            }
            parts.next().is_none()
        };
        self.0.iter().find(|(_, segments)| matches(segments)).map(|(pattern, _)| pattern.as_str())
    }
}

/// Why a text cannot be a pattern; none if it can.
pub fn pattern_problem(pattern: &str) -> Option<String> {
    if pattern.contains(['?', '#']) {
        return Some(format!("{pattern:?} has a query or a fragment: patterns are of paths"));
    }
    let Some(path) = pattern.strip_prefix('/') else {
        return Some(format!("{pattern:?} does not begin with /"));
    };
    let last = path.split('/').count() - 1;
    for (index, segment) in path.split('/').enumerate() {
        if segment == "*" {
            let message = "* stands for all that is left, and must be the last segment";
            if index != last {
                return Some(format!("{pattern:?}: {message}"));
            }
            continue;
        }
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let text = name.unwrap_or(segment);
        if name == Some("") || text.contains(['{', '}', '*']) {
            return Some(format!(
                "{pattern:?}: the segment {segment:?} is neither a text, nor {{name}}, nor a last *"
            ));
        }
    }
    None
}

/// Guessed names, of which each service has a bounded number: too few for a hash that traffic could
/// foresee to slow anything down.
#[derive(Clone, Debug)]
pub struct Guesses {
    limit: usize,
    services: Vec<(String, ServiceGuesses)>,
    /// Where each service stands.
    places: FxHashMap<String, usize>,
    /// The service that was asked for last.
    last: usize,
    /// The guess in the making.
    buffer: String,
}

/// The guesses of a service, and where each stands.
#[derive(Clone, Debug, Default)]
struct ServiceGuesses {
    guesses: Vec<Guess>,
    places: FxHashMap<Arc<str>, usize>,
}

/// A name that was guessed.
#[derive(Clone, Debug)]
pub struct Guess {
    /// The path with what looks like data folded.
    pub route: Arc<str>,
    /// Names of spans: method and route.
    names: Vec<Arc<str>>,
}

impl Guess {
    /// The name of spans of this method: `GET /users/{id}`.
    pub fn name(&mut self, method: &str) -> Arc<str> {
        /// Methods are few; a client that invents them gets names that nobody keeps.
        const MOST: usize = 16;
        let is_it = |name: &&Arc<str>| {
            name.strip_prefix(method).is_some_and(|rest| rest.len() == self.route.len() + 1)
        };
        if let Some(known) = self.names.iter().find(is_it) {
            return Arc::clone(known);
        }
        let name: Arc<str> = format!("{method} {}", self.route).into();
        if self.names.len() < MOST {
            self.names.push(Arc::clone(&name));
        }
        name
    }
}

/// Segments that are kept; deeper ones are cut.
const MAX_SEGMENTS: usize = 8;
/// Services whose guesses are remembered.
const MAX_SERVICES: usize = 4096;

impl Guesses {
    /// At most `limit` names per service.
    pub fn new(limit: usize) -> Self {
        Self { limit, services: Vec::new(), places: FxHashMap::default(), last: 0, buffer: String::new() }
    }

    /// A name for the path; none when the service has too many.
    pub fn guess(&mut self, service: &str, path: &str) -> Option<&mut Guess> {
        self.buffer.clear();
        guess_into(path, &mut self.buffer);
        if self.services.get(self.last).is_none_or(|(name, _)| name != service) {
            self.last = match self.places.get(service) {
                Some(place) => *place,
                None if self.services.len() >= MAX_SERVICES => return None,
                None => {
                    self.services.push((service.to_owned(), ServiceGuesses::default()));
                    self.places.insert(service.to_owned(), self.services.len() - 1);
                    self.services.len() - 1
                }
            };
        }
        let (_, ServiceGuesses { guesses, places }) = self.services.get_mut(self.last)?;
        let place = match places.get(self.buffer.as_str()) {
            Some(place) => *place,
            None if guesses.len() >= self.limit => return None,
            None => {
                let route: Arc<str> = self.buffer.as_str().into();
                places.insert(Arc::clone(&route), guesses.len());
                guesses.push(Guess { route, names: Vec::new() });
                guesses.len() - 1
            }
        };
        guesses.get_mut(place)
    }
}

/// The path with the parts folded that look like data.
pub fn guess(path: &str) -> String {
    let mut guess = String::with_capacity(path.len().min(128));
    guess_into(path, &mut guess);
    guess
}

fn guess_into(path: &str, guess: &mut String) {
    let mut rest = path;
    for index in 0.. {
        let end = rest.bytes().position(|byte| byte == b'/');
        let segment = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        if index > MAX_SEGMENTS {
            *guess += "/...";
            break;
        }
        if index > 0 {
            guess.push('/');
        }
        // Parameters of a segment (RFC 3986 section 3.3) name no endpoint.
        let name = segment.bytes().position(|byte| byte == b';').and_then(|end| segment.get(..end));
        fold_file(name.unwrap_or(segment), guess);
        match end.and_then(|end| rest.get(end + 1..)) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    if guess.is_empty() {
        guess.push('/');
    }
}

/// Folds a segment as a whole, or else the parts of a file's name: `app.3f2a9c1b.js`, `42.json`.
fn fold_file(segment: &str, guess: &mut String) {
    const MAX_PARTS: usize = 4;
    let whole = fold(segment);
    if whole != segment || !segment.bytes().any(|byte| byte == b'.') {
        guess.push_str(whole);
        return;
    }
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // `2.0` is a version, `10.0.0.1` an address.
    let parts = segment.split('.').count();
    let is_version = parts < 4 && segment.split('.').all(|part| is_number(part) && part.len() <= 2);
    if parts > MAX_PARTS || is_version {
        guess.push_str(whole);
        return;
    }
    if segment.split('.').all(is_number) {
        guess.push_str("{id}");
        return;
    }
    for (index, part) in segment.split('.').enumerate() {
        if index > 0 {
            guess.push('.');
        }
        guess.push_str(fold(part));
    }
}

fn fold(segment: &str) -> &str {
    const LONGEST: usize = 48;
    let bytes = segment.as_bytes();
    if bytes.len() < 20 && bytes.iter().all(u8::is_ascii_lowercase) {
        return segment;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    if segment.is_empty() {
        segment
    } else if is_uuid(bytes) {
        "{uuid}"
    } else if is_date(bytes) {
        "{date}"
    } else if digits == bytes.len() || is_signed(bytes) {
        "{id}"
    } else if bytes.len() >= 8 && is_hex(bytes) && digits > 0 {
        "{hash}"
    } else if segment.contains('@') || segment.contains("%40") {
        "{email}"
    } else if bytes.len() >= 20 && digits >= 3 && is_mixed(bytes) {
        "{token}"
    } else if ends_in_number(bytes) {
        // `item-123`, `user_42`: a name with a number behind it.
        "{id}"
    } else if bytes.len() > LONGEST
        || !(bytes.iter().all(|byte| is_plain(*byte)) || segment.chars().all(is_plain_char))
    {
        "{text}"
    } else {
        segment
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn is_plain_char(c: char) -> bool {
    c.is_alphanumeric() || "-._~!$&'()*+,;=:".contains(c)
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `2026-11-23`, with or without a time behind it.
fn is_date(bytes: &[u8]) -> bool {
    bytes.len() >= 10
        && bytes.iter().take(10).enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
        && bytes.get(10).is_none_or(|byte| matches!(byte, b'T' | b'_' | b'-'))
}

fn is_signed(bytes: &[u8]) -> bool {
    match bytes {
        [b'-' | b'+', rest @ ..] => !rest.is_empty() && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Letters of both cases and digits in no order: a token.
fn is_mixed(bytes: &[u8]) -> bool {
    let token = bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=' | b'.' | b'%'));
    token && bytes.iter().any(u8::is_ascii_uppercase) && bytes.iter().any(u8::is_ascii_lowercase)
}

/// A name, a separator, and a number of at least two digits.
fn ends_in_number(bytes: &[u8]) -> bool {
    let number = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let before = bytes.len().saturating_sub(number);
    number >= 2 && before >= 2 && bytes.get(before - 1).is_some_and(|byte| matches!(byte, b'-' | b'_' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_in_paths_is_folded() {
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/users/42", "/users/{id}"),
            ("/users/42/orders/7/", "/users/{id}/orders/{id}/"),
            ("/o/123e4567-e89b-12d3-a456-426614174000", "/o/{uuid}"),
            ("/c/deadbeef01", "/c/{hash}"),
            ("/c/deadbeef", "/c/deadbeef"),
            ("/d/2026-11-23/x", "/d/{date}/x"),
            ("/u/a@b.example", "/u/{email}"),
            ("/t/eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "/t/{token}"),
            ("/item-123", "/{id}"),
            ("/v1/api", "/v1/api"),
            ("/sha256/x", "/sha256/x"),
            ("/a b", "/{text}"),
            ("/static/app.min.js", "/static/app.min.js"),
            ("/static/app.3f2a9c1b.js", "/static/app.{hash}.js"),
            ("/orders/42.json", "/orders/{id}.json"),
            ("/api/2.0/x", "/api/2.0/x"),
            ("/hosts/10.0.0.1", "/hosts/{id}"),
            ("/a;jsessionid=00ff/b", "/a/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/..."),
        ] {
            assert_eq!(guess(path), expected);
        }
    }

    #[test]
    fn a_service_has_a_bounded_number_of_names() {
        let mut guesses = Guesses::new(2);
        assert!(guesses.guess("s", "/a").is_some());
        assert!(guesses.guess("s", "/b").is_some());
        assert!(guesses.guess("s", "/c").is_none());
        let known = guesses.guess("s", "/a").expect("known");
        assert_eq!(&*known.route, "/a");
        assert_eq!(&*known.name("GET"), "GET /a");
        assert!(guesses.guess("t", "/c").is_some());
    }

    #[test]
    fn patterns_match_segment_by_segment() {
        let patterns = Patterns::new(&["/users/{id}".to_owned(), "/files/*".to_owned()]);
        assert_eq!(patterns.find("/users/bob"), Some("/users/{id}"));
        assert_eq!(patterns.find("/users/"), None);
        assert_eq!(patterns.find("/users/bob/x"), None);
        assert_eq!(patterns.find("/files/a/b/c"), Some("/files/*"));
        assert_eq!(patterns.find("/other"), None);
    }
}
