//! Which calls are made again: `http.request.resend_count`, where that is provable.
//!
//! A call is another attempt if an earlier one of the same process for the same open request got no answer
//! and asked for the same, or was redirected to what this one asks for. How a call without an answer ended
//! is known up to a tenth of a second after its connection was closed, when the next attempt may be over:
//! that one waits.

use super::{Correlator, Key};
use crate::exchange::{ConnectionFacts, Exchange, HttpExchange, Kind, Outcome, Payload};

/// What is remembered for an open request whose calls may be made again.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    ended: Vec<Attempt>,
    /// Calls whose connection is closed, and which have not ended yet, with their starts.
    dying: Vec<(Key, u64)>,
    /// Calls whose spans are still to be made, with their starts.
    calls: Vec<(Key, u64)>,
    /// There were more than are remembered: nothing is provable.
    is_overfull: bool,
    /// Looks since the request has ended.
    age: u8,
}

/// A call that may be followed by another attempt.
#[derive(Debug)]
struct Attempt {
    call: Key,
    start_ns: u64,
    /// When the next could begin.
    end_ns: u64,
    asked: Asked,
    next: Next,
    /// What its headers say.
    told: Option<u32>,
    /// It is not clear which attempt it was.
    is_unclear: bool,
    /// Another attempt has followed, or may have.
    is_followed: bool,
}

/// What a call asks for, and who.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    pid: u32,
    method: Box<[u8]>,
    to: Destination,
}

/// Host in lower case, with a port unless that is 80; path and query.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Destination {
    host: Box<[u8]>,
    target: Box<[u8]>,
}

/// What the next attempt would ask for.
#[derive(Debug)]
enum Next {
    Same,
    Redirected { to: Destination, status: u16 },
}

/// Longest destination that is remembered, bytes.
const LONGEST: usize = 2048;

impl Attempts {
    /// Attempts that are remembered.
    const MOST: usize = 16;
    /// Calls that are remembered.
    const MOST_CALLS: usize = 64;

    /// A call will not be seen to end.
    pub(super) fn lose(&mut self, call: Key) {
        self.dying.retain(|(dying, _)| *dying != call);
        self.calls.retain(|(other, _)| *other != call);
    }

    /// Which resend a call is; none if it is none, or if that is not clear.
    fn resend(&mut self, call: Key, start_ns: u64, end_ns: u64, asked: &Asked) -> Option<u32> {
        if self.is_overfull {
            return None;
        }
        let before = self.before(start_ns, asked);
        let free: Vec<usize> = before.iter().copied().filter(|at| !self.ended[*at].is_followed).collect();
        for at in &free {
            self.ended[*at].is_followed = true;
        }
        let found = match free[..] {
            [at] => {
                // Another that began while this one was under way may be the resend as well.
                let since_ns = self.ended[at].end_ns;
                let rival =
                    |(other, begun_ns): &(Key, u64)| *other != call && (since_ns..end_ns).contains(begun_ns);
                (!self.calls.iter().any(rival)).then(|| Some(self.ordinal(at)? + 1)).flatten()
            }
            _ => None,
        };
        if found.is_none() && !before.is_empty() {
            self.ended
                .iter_mut()
                .filter(|attempt| attempt.call == call)
                .for_each(|own| own.is_unclear = true);
        }
        found
    }

    /// Attempts that one like this may follow, and that no other has followed before it began.
    fn before(&self, start_ns: u64, asked: &Asked) -> Vec<usize> {
        let leads_to = |at: usize, start_ns: u64, asked: &Asked| {
            let attempt = &self.ended[at];
            attempt.end_ns <= start_ns && attempt.leads_to(asked)
        };
        let is_last = |at: usize| {
            !self
                .ended
                .iter()
                .any(|later| later.end_ns <= start_ns && leads_to(at, later.start_ns, &later.asked))
        };
        (0..self.ended.len()).filter(|at| leads_to(*at, start_ns, asked) && is_last(*at)).collect()
    }

    /// Which resend an attempt was; 0 for the first.
    fn ordinal(&self, at: usize) -> Option<u32> {
        let attempt = &self.ended[at];
        if attempt.told.is_some() || attempt.is_unclear {
            return attempt.told;
        }
        match self.before(attempt.start_ns, &attempt.asked)[..] {
            [] => Some(0),
            // It ended before this one began: the way back is finite.
            [before] => Some(self.ordinal(before)? + 1),
            _ => None,
        }
    }
}

impl Attempt {
    fn leads_to(&self, asked: &Asked) -> bool {
        if self.asked.pid != asked.pid {
            return false;
        }
        let Asked { method, .. } = &self.asked;
        match &self.next {
            Next::Same => self.asked == *asked,
            Next::Redirected { to, status } => {
                // RFC 9110 section 15.4.
                let fits = match (status, &*asked.method) {
                    (303, b"GET" | b"HEAD") => true,
                    (301 | 302, b"GET") if **method == *b"POST" => true,
                    (303, _) => false,
                    (_, later) => **method == *later,
                };
                fits && *to == asked.to
            }
        }
    }
}

impl Asked {
    /// None for what cannot be compared.
    fn of(exchange: &Exchange, facts: &ConnectionFacts) -> Option<Self> {
        let Payload::Http(http) = &exchange.payload;
        let to = Destination::of_request(http, facts)?;
        Some(Self { pid: exchange.request_unit.pid, method: http.method().into(), to })
    }
}

impl Destination {
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

/// What may follow an exchange, and from when on.
fn next(exchange: &Exchange, asked_of: &Destination) -> Option<(Next, u64)> {
    let Payload::Http(http) = &exchange.payload;
    match (http.status, exchange.outcome) {
        (None, Outcome::Timeout | Outcome::Reset | Outcome::NoResponse) => {
            Some((Next::Same, exchange.end_ns))
        }
        (Some(status), _) if is_redirect(status) => {
            let mut locations = http.response_header("location");
            let location = locations.next().filter(|_| locations.next().is_none())?;
            let to = asked_of.resolve(location)?;
            Some((Next::Redirected { to, status }, exchange.response_start_ns?))
        }
        _ => None,
    }
}

/// Whether something may follow at all.
fn may_be_followed(exchange: &Exchange) -> bool {
    let Payload::Http(http) = &exchange.payload;
    match http.status {
        Some(status) => is_redirect(status),
        None => matches!(exchange.outcome, Outcome::Timeout | Outcome::Reset | Outcome::NoResponse),
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

impl Correlator {
    /// Requests whose calls' attempts are remembered.
    const MOST_ATTEMPTS: usize = 1024;

    fn attempts(&mut self, request: Key) -> Option<&mut Attempts> {
        if !self.attempts.contains_key(&request) {
            if self.attempts.len() >= Self::MOST_ATTEMPTS {
                return None;
            }
            let children = self.request(request).map(|request| request.children.clone()).unwrap_or_default();
            let calls =
                children.iter().filter_map(|call| Some((*call, self.request(*call)?.start_ns))).collect();
            let is_overfull = children.len() >= Attempts::MOST_CALLS;
            self.attempts.insert(request, Attempts { calls, is_overfull, ..Attempts::default() });
        }
        self.attempts.get_mut(&request)
    }

    /// A call was made for a request.
    pub(super) fn call_opened(&mut self, request: Key, call: Key, start_ns: u64) {
        if let Some(attempts) = self.attempts.get_mut(&request) {
            attempts.is_overfull |= attempts.calls.len() >= Attempts::MOST_CALLS;
            if !attempts.is_overfull {
                attempts.calls.push((call, start_ns));
            }
        }
    }

    /// A process has closed a connection, or its end of one. Calls on it that have no answer may be made again.
    pub fn send_closed(&mut self, connection: u64, time_ns: u64) {
        if self.proxies == 0 {
            return;
        }
        let Some(conversation) = self.connections.get(&connection) else { return };
        let calls = conversation.open.iter().filter(|call| call.kind == Kind::Call);
        let all: Vec<Key> = calls.map(|call| call.key(connection)).collect();
        all.into_iter().for_each(|call| self.unanswered(call, time_ns));
    }

    /// A call has no answer, and will have none. A proxy may make another for the same request.
    fn unanswered(&mut self, call: Key, time_ns: u64) {
        let Some(found) = self.request(call).filter(|call| !call.is_decided) else { return };
        found.is_decided = true;
        let (unit, request) = (found.unit, found.made_for);
        if let Some(process) = self.processes.get_mut(&unit.pid) {
            process.unanswered(unit, call, request, time_ns);
        }
    }

    /// The kernel has closed a connection. How the calls that are open on it ended will be known.
    pub fn closing(&mut self, connection: u64) {
        let Some(conversation) = self.connections.get(&connection) else { return };
        let dying: Vec<(Key, Key, u64)> = conversation
            .open
            .iter()
            .filter(|call| !call.is_closed)
            .filter_map(|call| Some((call.made_for?, call.key(connection), call.start_ns)))
            .collect();
        for (request, call, start_ns) in dying {
            if let Some(attempts) = self.attempts(request)
                && attempts.dying.len() < Attempts::MOST
            {
                attempts.dying.push((call, start_ns));
            }
        }
    }

    /// A call has ended.
    pub(super) fn call_closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange) {
        let call = Key::of(facts, exchange);
        let may_be_followed = may_be_followed(exchange);
        if self.proxies > 0 && may_be_followed && exchange.outcome != Outcome::Complete {
            self.unanswered(call, exchange.end_ns);
        }
        if self.attempts.is_empty() && !may_be_followed {
            return;
        }
        let Some(found) = self.request(call) else { return };
        let (Some(request), told) = (found.made_for, found.resends_told) else { return };
        if let Some(attempts) = self.attempts.get_mut(&request) {
            attempts.dying.retain(|(dying, _)| *dying != call);
        }
        if !may_be_followed {
            return;
        }
        let Some(asked) = Asked::of(exchange, facts) else { return };
        let Some((next, end_ns)) = next(exchange, &asked.to) else { return };
        let Some(attempts) = self.attempts(request) else { return };
        attempts.is_overfull |= attempts.ended.len() >= Attempts::MOST;
        if !attempts.is_overfull {
            let (start_ns, is_unclear, is_followed) = (exchange.start_ns, false, false);
            let attempt = Attempt { call, start_ns, end_ns, asked, next, told, is_unclear, is_followed };
            attempts.ended.push(attempt);
        }
    }

    /// Whether an earlier call, of which this one may be a resend, has not ended yet, and will.
    pub fn may_be_resend(&self, facts: &ConnectionFacts, exchange: &Exchange) -> bool {
        if self.attempts.is_empty() {
            return false;
        }
        let made_for = self.connections.get(&facts.number).and_then(|conversation| {
            conversation.open.iter().find(|call| call.is_at(Key::of(facts, exchange)))?.made_for
        });
        made_for.and_then(|request| self.attempts.get(&request)).is_some_and(|attempts| {
            attempts
                .dying
                .iter()
                .any(|(call, start_ns)| call.connection != facts.number && *start_ns < exchange.start_ns)
        })
    }

    /// Which resend a call is, that was made for this request.
    pub(super) fn resend(
        &mut self,
        request: Key,
        facts: &ConnectionFacts,
        exchange: &Exchange,
    ) -> Option<u32> {
        let attempts = self.attempts.get_mut(&request)?;
        let call = Key::of(facts, exchange);
        let found = Asked::of(exchange, facts)
            .and_then(|asked| attempts.resend(call, exchange.start_ns, exchange.end_ns, &asked));
        attempts.calls.retain(|(other, _)| *other != call);
        found
    }

    /// Forgets the attempts for requests that have ended, when their last calls have.
    pub fn forget_attempts(&mut self) {
        /// By then a call that has ended has its span.
        const LOOKS: u8 = 4;
        if self.attempts.is_empty() {
            return;
        }
        let mut all = std::mem::take(&mut self.attempts);
        all.retain(|request, attempts| {
            let is_open = self.request(*request).is_some_and(|request| !request.is_closed);
            attempts.age = if is_open || !attempts.dying.is_empty() { 0 } else { attempts.age + 1 };
            attempts.age < LOOKS
        });
        self.attempts = all;
    }

    /// The resends before a call that says which attempt it is, unless a proxy or a service passes on what an
    /// open request says.
    pub(super) fn resends_told(&mut self, pid: u32, attempt: u32) -> Option<u32> {
        let process = self.process(pid);
        if process.is_crowded() {
            return None;
        }
        let open: Vec<Key> = process.open().collect();
        let is_passed_on =
            |key: Key| self.request(key).is_some_and(|request| request.attempt == Some(attempt));
        (!open.into_iter().any(is_passed_on)).then(|| attempt.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_where_the_rfc_says() {
        let base = Destination::new(b"A.example:80", b"/b/c/d;p?q".to_vec()).expect("a destination");
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

    proptest::proptest! {
        #[test]
        fn garbage_is_no_panic(base: Vec<u8>, location: Vec<u8>) {
            let base = Destination { host: b"h"[..].into(), target: [&b"/"[..], &base].concat().into() };
            let _ = base.resolve(&location);
        }
    }
}
