//! Names of low cardinality for paths: from configured patterns, or guessed.

#![forbid(unsafe_code)]

use std::{hash::BuildHasher, sync::Arc};

use rustc_hash::{FxBuildHasher, FxHashMap};

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

/// Guessed names. Each service has a bounded number, those of the paths that it uses most: a name is earned by a
/// response that shows that the path exists, and given back when it is not used. So few names need no hash that
/// traffic cannot foresee.
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
    /// Uses since names were given back last.
    uses: u32,
    /// How often paths without a name were used since then, by their hash.
    candidates: FxHashMap<u64, u32>,
}

/// A name that was guessed.
#[derive(Clone, Debug)]
pub struct Guess {
    /// The path with what looks like data folded.
    pub route: Arc<str>,
    /// Names of spans: method and route.
    names: Vec<Arc<str>>,
    /// How often it was used lately.
    uses: u32,
}

/// Whether a path gets a name.
#[derive(Debug)]
pub enum Guessed<'a> {
    /// This one.
    Named(&'a mut Guess),
    /// None: nothing shows that the path exists.
    Unearned,
    /// None: the service uses as many other paths more.
    TooMany,
}

/// Whether a response shows that its path exists. A client that tries paths gets these answers to those that do not.
pub fn earns_name(status: Option<u16>) -> bool {
    status.is_some_and(|status| !matches!(status, 400 | 404 | 405))
}

impl Guess {
    fn new(route: Arc<str>, uses: u32) -> Self {
        Self { route, names: Vec::new(), uses }
    }

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
/// Services whose guesses are remembered. Beyond them all begin anew: each earns its names by its next responses.
const MAX_SERVICES: usize = 4096;

impl ServiceGuesses {
    /// Uses after which the names that were not used are given back.
    const ROUND: u32 = 4096;
    /// Paths without a name whose uses are counted, for each place.
    const CANDIDATES: usize = 4;

    /// The place of a route; none if the service uses `limit` others more.
    fn place(&mut self, route: &str, limit: usize) -> Option<usize> {
        self.uses += 1;
        if self.uses >= Self::ROUND {
            self.give_back();
        }
        if let Some(place) = self.places.get(route) {
            if let Some(guess) = self.guesses.get_mut(*place) {
                guess.uses += 1;
            }
            return Some(*place);
        }
        let (place, uses) =
            if self.guesses.len() < limit { (self.guesses.len(), 1) } else { self.win(route, limit)? };
        let route: Arc<str> = route.into();
        self.places.insert(Arc::clone(&route), place);
        let guess = Guess::new(route, uses);
        match self.guesses.get_mut(place) {
            Some(least) => {
                let least = std::mem::replace(least, guess);
                self.places.remove(&least.route);
            }
            None => self.guesses.push(guess),
        }
        Some(place)
    }

    /// The place that is used least, and the uses of a route without a name, if they are more.
    #[cold]
    fn win(&mut self, route: &str, limit: usize) -> Option<(usize, u32)> {
        let key = FxBuildHasher.hash_one(route);
        if self.candidates.len() >= limit.saturating_mul(Self::CANDIDATES)
            && !self.candidates.contains_key(&key)
        {
            self.candidates.clear();
        }
        let uses = self.candidates.entry(key).or_default();
        *uses += 1;
        let uses = *uses;
        let (place, least) = self.guesses.iter().enumerate().min_by_key(|(_, guess)| guess.uses)?;
        if uses <= least.uses {
            return None;
        }
        self.candidates.remove(&key);
        Some((place, uses))
    }

    /// Uses that are long ago count less, and a name that was not used is free.
    #[cold]
    fn give_back(&mut self) {
        self.uses = 0;
        self.candidates.clear();
        self.guesses.retain_mut(|guess| {
            guess.uses /= 2;
            guess.uses > 0
        });
        let places = self.guesses.iter().enumerate();
        self.places = places.map(|(place, guess)| (Arc::clone(&guess.route), place)).collect();
    }
}

impl Guesses {
    /// At most `limit` names per service.
    pub fn new(limit: usize) -> Self {
        Self { limit, services: Vec::new(), places: FxHashMap::default(), last: 0, buffer: String::new() }
    }

    /// A name for the path; `is_earned` if its response shows that the path exists.
    pub fn guess(&mut self, service: &str, path: &str, is_earned: bool) -> Guessed<'_> {
        self.buffer.clear();
        guess_into(path, &mut self.buffer);
        if self.services.get(self.last).is_none_or(|(name, _)| name != service) {
            self.last = match self.places.get(service) {
                Some(place) => *place,
                None if !is_earned => return Guessed::Unearned,
                None => {
                    if self.services.len() >= MAX_SERVICES {
                        self.services.clear();
                        self.places.clear();
                    }
                    self.services.push((service.to_owned(), ServiceGuesses::default()));
                    self.places.insert(service.to_owned(), self.services.len() - 1);
                    self.services.len() - 1
                }
            };
        }
        let Some((_, service)) = self.services.get_mut(self.last) else { return Guessed::Unearned };
        let place = match is_earned {
            true => service.place(&self.buffer, self.limit),
            false => match service.places.get(self.buffer.as_str()) {
                Some(place) => Some(*place),
                None => return Guessed::Unearned,
            },
        };
        match place.and_then(|place| service.guesses.get_mut(place)) {
            Some(guess) => Guessed::Named(guess),
            None => Guessed::TooMany,
        }
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

    /// The name of spans of GET, if the path has one.
    fn name(guesses: &mut Guesses, path: &str, status: u16) -> Option<String> {
        match guesses.guess("s", path, earns_name(Some(status))) {
            Guessed::Named(guess) => Some(guess.name("GET").to_string()),
            Guessed::Unearned | Guessed::TooMany => None,
        }
    }

    #[test]
    fn a_service_has_a_bounded_number_of_names() {
        let mut guesses = Guesses::new(2);
        assert_eq!(name(&mut guesses, "/a", 200).as_deref(), Some("GET /a"));
        assert!(name(&mut guesses, "/b", 200).is_some());
        assert!(matches!(guesses.guess("s", "/c", true), Guessed::TooMany));
        assert_eq!(name(&mut guesses, "/a", 200).as_deref(), Some("GET /a"));
        assert!(matches!(guesses.guess("t", "/c", true), Guessed::Named(_)));
    }

    #[test]
    fn paths_that_do_not_exist_get_no_name_and_take_none() {
        let mut guesses = Guesses::new(2);
        for status in [400, 404, 405] {
            for n in 0..1000 {
                assert_eq!(name(&mut guesses, &format!("/wp-admin/{n}/x{status}"), status), None);
            }
        }
        assert!(matches!(guesses.guess("s", "/none", earns_name(None)), Guessed::Unearned));
        for path in ["/a", "/b"] {
            assert!(name(&mut guesses, path, 200).is_some());
            assert!(name(&mut guesses, path, 404).is_some(), "the path is known");
        }
    }

    #[test]
    fn what_is_used_more_gets_the_name_of_what_is_used_less() {
        let mut guesses = Guesses::new(2);
        // A client that tries paths of a service which answers all of them.
        for path in ["/junk-a", "/junk-b"] {
            assert!(name(&mut guesses, path, 200).is_some());
        }
        assert_eq!(name(&mut guesses, "/orders", 200), None);
        assert!(name(&mut guesses, "/orders", 200).is_some());
        assert_eq!(name(&mut guesses, "/users", 200), None);
        assert!(name(&mut guesses, "/users", 200).is_some());
        for n in 0..100 {
            name(&mut guesses, &format!("/junk/x{n}"), 200);
        }
        assert!(name(&mut guesses, "/orders", 200).is_some() && name(&mut guesses, "/users", 200).is_some());
    }

    #[test]
    fn names_that_are_not_used_are_given_back() {
        let mut guesses = Guesses::new(2);
        for path in ["/old", "/new"] {
            assert!(name(&mut guesses, path, 200).is_some());
        }
        for _ in 0..2 * ServiceGuesses::ROUND {
            assert!(name(&mut guesses, "/new", 200).is_some());
        }
        assert!(name(&mut guesses, "/other", 200).is_some(), "the place of /old is free");
        assert!(name(&mut guesses, "/new", 200).is_some());
        assert_eq!(name(&mut guesses, "/old", 404), None);
    }

    #[test]
    fn services_beyond_their_number_begin_anew() {
        let mut guesses = Guesses::new(2);
        for n in 0..2 * MAX_SERVICES {
            assert!(matches!(guesses.guess(&n.to_string(), "/a", true), Guessed::Named(_)));
        }
        assert!(matches!(guesses.guess("0", "/a", false), Guessed::Unearned));
        assert!(matches!(guesses.guess("0", "/a", true), Guessed::Named(_)));
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
