//! A load of numbered requests, and the account of each request from both sides.
//!
//! A client process sends `GET /load/NUMBER` over connections that it keeps; [`server`] answers with a status and a
//! body that tell the number. [`Tally`] sorts the spans of both sides by number, so that a request without a span, with
//! two spans, or with the response of another request is named.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{count_for, count_of, programs::Program, receiver::Received};

/// Names the port of the server to the client process.
const PORT: &str = "TRACER_LOAD_PORT";
/// Names the number of connections to the client process.
const CONNECTIONS: &str = "TRACER_LOAD_CONNECTIONS";
/// The longest time without a response.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of each request. A request is longer than its response, so that the requests dominate `bytes.lost`.
pub const REQUEST_BYTES: u64 = 400;
/// Bytes of each response of [`server`]; the client checks that they are that many.
pub const RESPONSE_BYTES: u64 = 161;
/// Bytes of a response's body.
const BODY_BYTES: i64 = 15;

/// The status that the server gives to the request of this number: neighbours differ.
fn status_of(number: u32) -> i64 {
    210 + i64::from(number % 10)
}

/// nginx that answers numbered requests; more of its configuration goes into `more`.
pub fn server(more: &str) -> Program {
    let answers: String = (0..10)
        .map(|digit| format!("location ~ {digit}$ {{ return {} \"$uri\\n\"; }} ", status_of(digit)))
        .collect();
    Program::nginx(&format!("access_log off; keepalive_timeout 1h; {answers} {more}"))
}

/// The bytes of a request; `is_last` if the server shall close the connection.
fn request(number: u32, is_last: bool) -> Vec<u8> {
    let close = if is_last { "Connection: close\r\n" } else { "" };
    let head = format!("GET /load/{number:08} HTTP/1.1\r\nHost: load\r\n{close}X-Filler: ");
    let mut request = head.into_bytes();
    request.resize(REQUEST_BYTES as usize - 4, b'f');
    request.extend_from_slice(b"\r\n\r\n");
    request
}

/// How fast and how long a client sends.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The most requests.
    pub requests: u32,
    /// Requests a second, as far as connections are idle; `None` for as fast as it can.
    pub rate: Option<u64>,
    /// The time after which no more are sent.
    pub time: Duration,
    /// Whether each request has a connection of its own, one after the other.
    pub reconnects: bool,
}

impl Pace {
    /// So many requests as fast as they go.
    pub const fn full_speed(requests: u32) -> Self {
        Self { requests, rate: None, time: Duration::from_secs(600), reconnects: false }
    }
}

/// A client process. It ends with this value.
pub struct Client {
    child: Child,
    answers: BufReader<UnixStream>,
    /// The number of the next request.
    next: u32,
}

impl Client {
    /// Starts a command that calls [`serve`]. The process waits; it connects with the first [`Self::run`].
    pub fn start(command: &mut Command, port: u16, connections: usize) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = command
            .env(PORT, port.to_string())
            .env(CONNECTIONS, connections.to_string())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child, answers: BufReader::new(ours), next: 0 })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The number of requests that were sent so far: their numbers are all smaller ones.
    pub fn sent(&self) -> u32 {
        self.next
    }

    /// Sends requests and waits for all their responses. Returns how many were sent. With none, it only connects.
    pub fn run(&mut self, pace: Pace) -> io::Result<u32> {
        let rate = pace.rate.unwrap_or(0);
        let (time_ms, reconnects) = (pace.time.as_millis(), u32::from(pace.reconnects));
        let line = format!("{} {} {rate} {time_ms} {reconnects}\n", self.next, pace.requests);
        self.answers.get_mut().write_all(line.as_bytes())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let sent =
            answer.trim().parse().map_err(|_| io::Error::other(format!("the client failed: {answer:?}")))?;
        self.next += sent;
        Ok(sent)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The client process: obeys the other end of its standard input until that is closed.
pub fn serve() -> io::Result<()> {
    let variable = |name: &str| -> io::Result<usize> {
        let text = std::env::var(name).map_err(io::Error::other)?;
        text.parse().map_err(io::Error::other)
    };
    let (port, connections) = (variable(PORT)? as u16, variable(CONNECTIONS)?);
    // SAFETY: no other code of this process uses its standard input.
    let commands = UnixStream::from(unsafe { OwnedFd::from_raw_fd(libc::STDIN_FILENO) });
    let mut answers = commands.try_clone()?;
    let mut senders = None;
    for line in BufReader::new(commands).lines() {
        let line = line?;
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [first, requests, rate, time_ms, reconnects] = numbers[..] else {
            return Err(io::Error::other(format!("no command: {line}")));
        };
        let senders = match &mut senders {
            Some(senders) => senders,
            none => none.insert(Connections::open(port, connections)?),
        };
        let pace = Pace {
            requests: requests as u32,
            rate: (rate > 0).then_some(rate),
            time: Duration::from_millis(time_ms),
            reconnects: reconnects == 1,
        };
        let sent = match pace.reconnects {
            true => reconnect(port, first as u32, pace),
            false => senders.run(first as u32, pace),
        };
        match sent {
            Ok(sent) => writeln!(answers, "{sent}")?,
            Err(error) => writeln!(answers, "{error}")?,
        }
    }
    Ok(())
}

/// A connection with at most one open request.
struct Connection {
    stream: TcpStream,
    number: u32,
    response: Vec<u8>,
}

/// Connections that are waited for together.
struct Connections {
    all: Vec<Connection>,
    epoll: OwnedFd,
    /// Those without an open request; the one that has waited longest comes first.
    idle: VecDeque<usize>,
}

impl Connections {
    fn open(port: u16, count: usize) -> io::Result<Self> {
        // SAFETY: no pointers.
        let epoll = unsafe { libc::epoll_create1(0) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nothing else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut all = Vec::new();
        for index in 0..count {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
            // SAFETY: both descriptors are open, the event is ours.
            let added = unsafe {
                libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &raw mut event)
            };
            if added != 0 {
                return Err(io::Error::last_os_error());
            }
            all.push(Connection { stream, number: 0, response: Vec::new() });
        }
        Ok(Self { idle: (0..count).collect(), all, epoll })
    }

    fn run(&mut self, first: u32, pace: Pace) -> io::Result<u32> {
        let begin = Instant::now();
        let mut last_response = begin;
        let (mut sent, mut answered) = (0, 0);
        let mut buffer = [0; 4096];
        // SAFETY: zeroed events are valid.
        let mut events: [libc::epoll_event; 256] = unsafe { std::mem::zeroed() };
        loop {
            let elapsed = begin.elapsed();
            let due = pace.rate.map_or(pace.requests, |rate| {
                let due = elapsed.min(pace.time).as_secs_f64() * rate as f64;
                pace.requests.min(due as u32)
            });
            let is_over = elapsed >= pace.time || sent == pace.requests;
            while !is_over
                && sent < due
                && let Some(index) = self.idle.pop_front()
            {
                let connection = &mut self.all[index];
                connection.number = first + sent;
                connection.stream.write_all(&request(connection.number, false))?;
                sent += 1;
            }
            if is_over && answered == sent {
                return Ok(sent);
            }
            // SAFETY: room for 256 events.
            let ready = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 256, 1) };
            for event in events.iter().take(ready.max(0) as usize) {
                let index = event.u64 as usize;
                let connection = &mut self.all[index];
                let length = connection.stream.read(&mut buffer)?;
                if length == 0 {
                    return Err(io::Error::other("the server closed a connection"));
                }
                connection.response.extend_from_slice(&buffer[..length]);
                if !connection.response.ends_with(b"\n") || connection.response.ends_with(b"\r\n") {
                    continue;
                }
                let end = format!("\r\n\r\n/load/{:08}\n", connection.number);
                let is_right = connection.response.ends_with(end.as_bytes());
                if !is_right || connection.response.len() as u64 != RESPONSE_BYTES {
                    let text = String::from_utf8_lossy(&connection.response);
                    return Err(io::Error::other(format!("no response to {}: {text:?}", connection.number)));
                }
                connection.response.clear();
                answered += 1;
                last_response = Instant::now();
                self.idle.push_back(index);
            }
            if last_response.elapsed() > PATIENCE && answered < sent {
                return Err(io::Error::other("the server does not answer"));
            }
        }
    }
}

/// Sends requests on connections of their own. Returns how many were sent.
fn reconnect(port: u16, first: u32, pace: Pace) -> io::Result<u32> {
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < pace.time && sent < pace.requests {
        if pace.rate.is_some_and(|rate| f64::from(sent) >= begin.elapsed().as_secs_f64() * rate as f64) {
            // It keeps the pace, and waits for nothing.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let number = first + sent;
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        stream.write_all(&request(number, true))?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        if !response.ends_with(format!("\r\n\r\n/load/{number:08}\n").as_bytes()) {
            return Err(io::Error::other(format!("no response to {number}")));
        }
        sent += 1;
    }
    Ok(sent)
}

/// The spans of one side by the number of their request.
#[derive(Clone, Debug, Default)]
struct Side {
    /// The number of spans of each request.
    spans: Vec<u32>,
    /// Requests whose span has no whole response.
    incomplete: BTreeSet<u32>,
}

impl Side {
    fn add(&mut self, number: u32) {
        let index = number as usize;
        if self.spans.len() <= index {
            self.spans.resize(index + 1, 0);
        }
        self.spans[index] += 1;
    }

    fn count(&self, number: u32) -> u32 {
        self.spans.get(number as usize).copied().unwrap_or(0)
    }
}

/// The spans of numbered requests. It keeps only what the account needs, so that millions have room.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    client: Side,
    server: Side,
    /// The number of each client span, by its id.
    ids: HashMap<[u8; 8], u32>,
    /// The parent of each server span, with the number of the request; without those that have none.
    parents: Vec<([u8; 8], u32)>,
    /// Spans that fit no request that was sent.
    wrong: Vec<String>,
    spans: u64,
}

impl Tally {
    /// The tally of these spans.
    pub fn of(spans: &[Received]) -> Self {
        let mut this = Self::default();
        spans.iter().for_each(|span| this.add(span));
        this
    }

    /// Adds a span.
    pub fn add(&mut self, span: &Received) {
        self.spans += 1;
        let path = span.path();
        let Some(number) = path.strip_prefix("/load/").and_then(|text| text.parse::<u32>().ok()) else {
            return self.wrong.push(format!("a span of {path:?}"));
        };
        let (side, name) =
            if span.is_server() { (&mut self.server, "server") } else { (&mut self.client, "client") };
        side.add(number);
        let (status, size) =
            (span.number("http.response.status_code"), span.number("http.response.body.size"));
        if status.is_none() || size.is_none() {
            side.incomplete.insert(number);
        }
        let is_wrong = status.is_some_and(|status| status != status_of(number))
            || size.is_some_and(|size| size != BODY_BYTES);
        if is_wrong {
            self.wrong
                .push(format!("{name} span of {path} with status {status:?} and a body of {size:?} bytes"));
        }
        if let (false, Ok(id)) = (span.is_server(), span.span.span_id[..].try_into()) {
            self.ids.insert(id, number);
        } else if let Ok(parent) = span.span.parent_span_id[..].try_into() {
            self.parents.push((parent, number));
        }
    }

    /// What became of the requests `0..sent`.
    pub fn account(&self, sent: u32) -> Account {
        let mut faults = self.wrong.clone();
        let mut side = |side: &Side, name: &str| {
            for (number, count) in (0u32..).zip(&side.spans) {
                if *count > 1 {
                    faults.push(format!("{count} {name} spans of request {number}"));
                }
                if *count > 0 && number >= sent {
                    faults.push(format!("a {name} span of request {number}, which was never sent"));
                }
            }
            (0..sent).filter(|number| side.count(*number) == 0).collect::<Vec<_>>()
        };
        let missing = [side(&self.client, "client"), side(&self.server, "server")];
        let mut linked = 0;
        for (parent, number) in &self.parents {
            match self.ids.get(parent) {
                Some(other) if other == number => linked += 1,
                Some(other) => {
                    faults.push(format!("request {number} hangs on the client span of request {other}"))
                }
                None => {}
            }
        }
        let incomplete = [&self.client, &self.server].map(|side| side.incomplete.len() as u64);
        Account { sent, spans: self.spans, missing, incomplete, linked, faults }
    }
}

/// What became of requests. The first of two is the client's side, the second the server's.
#[derive(Clone, Debug)]
pub struct Account {
    /// Requests that were sent.
    pub sent: u32,
    /// The spans that came.
    pub spans: u64,
    /// Requests without a span.
    pub missing: [Vec<u32>; 2],
    /// Spans without a whole response.
    pub incomplete: [u64; 2],
    /// Server spans whose parent is the client span of the same request.
    pub linked: u32,
    /// Spans that are wrong: doubled, invented, mispaired or linked to another request.
    pub faults: Vec<String>,
}

impl Account {
    /// Whether each request has one right span on each side, and the server's is linked to the client's.
    pub fn is_complete(&self) -> bool {
        self.check_complete().is_ok()
    }

    /// Whether each request from this one on has a span on each side.
    pub fn is_whole_from(&self, number: u32) -> bool {
        self.missing.iter().flatten().all(|missing| *missing < number)
    }

    /// As [`Self::is_complete`], with the requests that are not.
    pub fn check_complete(&self) -> Result<(), String> {
        self.check_faults()?;
        let is_whole = self.missing.iter().all(Vec::is_empty) && self.incomplete == [0, 0];
        if is_whole && self.linked == self.sent { Ok(()) } else { Err(self.to_string()) }
    }

    /// Whether the ledger explains each request without a span, by the losses of its side. `pids` are the first
    /// processes of client and server, `connections` is how many there are.
    ///
    /// - `bytes.lost` of a side covers request and response of each request that has no span there.
    /// - Some of these requests may be partly lost, and `bytes.lost` covers the request alone: two at the edge of a
    ///   loss on each connection, and two for each message that the side counts as seen and not reported.
    /// - `bytes.lost` is no more than these bytes and those of requests whose span is incomplete.
    /// - Each of the requests lost a record on each side.
    ///
    /// Lost bytes are counted only when a later record of the connection, or its end, was seen, and an earlier one.
    pub fn check_explained(&self, status: &Value, pids: [u32; 2], connections: u32) -> Result<(), String> {
        self.check_faults()?;
        let missing = self.missing.each_ref().map(|missing| missing.len() as u64);
        for (side, name) in ["client", "server"].into_iter().enumerate() {
            let count = |name| count_for(status, pids[side], name);
            let bytes = count("bytes.lost");
            let unreported = count("exchanges.before_boundary") + count("exchanges.unparsed");
            let partly = missing[side].min(2 * (u64::from(connections) + unreported));
            let whole = missing[side] - partly;
            let (least, most) = (
                whole * (REQUEST_BYTES + RESPONSE_BYTES)
                    + partly.saturating_sub(2 * unreported) * REQUEST_BYTES,
                (missing[side] + self.incomplete[side]) * (REQUEST_BYTES + RESPONSE_BYTES),
            );
            // Nothing is known of the bytes before the first record of a connection whose beginning was lost.
            let least = if count("connections.joined") > 0 { 0 } else { least };
            if !(least..=most).contains(&bytes) {
                return Err(format!(
                    "{} requests have no {name} span, and the ledger of that side has {bytes} bytes lost, not \
                     {least} to {most}, and {unreported} messages not reported: {self}",
                    missing[side]
                ));
            }
        }
        let records = count_of(status, "events.lost");
        if missing[0] + missing[1] > records {
            return Err(format!(
                "more requests have no span than the {records} lost records explain: {self}"
            ));
        }
        Ok(())
    }

    fn check_faults(&self) -> Result<(), String> {
        if self.faults.is_empty() { Ok(()) } else { Err(self.to_string()) }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Numbers that are shown.
        const SHOWN: usize = 10;
        write!(f, "{} requests", self.sent)?;
        for (side, name) in ["client", "server"].into_iter().enumerate() {
            let missing = &self.missing[side];
            let first = &missing[..missing.len().min(SHOWN)];
            write!(
                f,
                "; {} without a {name} span {first:?}, {} incomplete",
                missing.len(),
                self.incomplete[side]
            )?;
        }
        write!(f, "; {} linked; {} faults", self.linked, self.faults.len())?;
        self.faults.iter().take(SHOWN).try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue, any_value},
        trace::v1::Span,
    };
    use serde_json::json;

    use super::*;

    const PIDS: [u32; 2] = [10, 20];

    fn span(number: u32, is_server: bool) -> Received {
        let attribute = |key: &str, value| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        };
        let attributes = vec![
            attribute("url.path", any_value::Value::StringValue(format!("/load/{number:08}"))),
            attribute("http.response.status_code", any_value::Value::IntValue(status_of(number))),
            attribute("http.response.body.size", any_value::Value::IntValue(BODY_BYTES)),
        ];
        let id = |number: u32| u64::from(number + 1).to_be_bytes().to_vec();
        let (kind, span_id) = if is_server { (2, id(number + 1000)) } else { (3, id(number)) };
        let parent_span_id = if is_server { id(number) } else { Vec::new() };
        let span = Span { kind, span_id, parent_span_id, attributes, ..Span::default() };
        Received { service: String::new(), span, resource: Vec::new(), at: std::time::SystemTime::now() }
    }

    /// The spans of so many requests, both sides.
    fn spans(requests: u32) -> Vec<Received> {
        (0..requests).flat_map(|number| [span(number, false), span(number, true)]).collect()
    }

    fn status(lost_bytes: u64, lost_records: u64) -> Value {
        json!({
            "totals": [{"name": "events.lost", "count": lost_records}],
            "services": [{"pid": PIDS[1], "counts": [{"name": "bytes.lost", "count": lost_bytes}]}],
        })
    }

    #[test]
    fn a_missing_doubled_invented_or_mispaired_request_is_named() {
        assert_eq!(Tally::of(&spans(100)).account(100).check_complete(), Ok(()));
        let fault = |change: &dyn Fn(&mut Vec<Received>)| {
            let mut spans = spans(100);
            change(&mut spans);
            Tally::of(&spans).account(100).check_complete().expect_err("a fault")
        };
        assert!(fault(&|spans| drop(spans.remove(2 * 7))).contains("1 without a client span [7]"));
        assert!(fault(&|spans| drop(spans.remove(2 * 7 + 1))).contains("1 without a server span [7]"));
        assert!(fault(&|spans| spans.push(span(7, true))).contains("2 server spans of request 7"));
        assert!(fault(&|spans| spans.push(span(700, true))).contains("request 700, which was never sent"));
        let other_status = |spans: &mut Vec<Received>| {
            spans[15].span.attributes[1] = span(8, true).span.attributes[1].clone();
        };
        assert!(fault(&other_status).contains("server span of /load/00000007 with status Some(218)"));
        let other_parent =
            |spans: &mut Vec<Received>| spans[15].span.parent_span_id = spans[2].span.span_id.clone();
        assert!(fault(&other_parent).contains("request 7 hangs on the client span of request 1"));
        let one_for_the_other = |spans: &mut Vec<Received>| spans[14] = span(8, false);
        assert!(fault(&one_for_the_other).contains("2 client spans of request 8"));
    }

    #[test]
    fn a_ledger_that_explains_less_or_more_than_is_missing_is_a_fault() {
        let mut some = spans(100);
        some.retain(|span| !span.is_server() || !span.path().starts_with("/load/0000005"));
        let account = Tally::of(&some).account(100);
        let check = |bytes, records| account.check_explained(&status(bytes, records), PIDS, 1);
        assert_eq!(check(10 * 561, 10), Ok(()));
        // Two may be partly lost.
        assert_eq!(check(8 * 561 + 2 * 400, 10), Ok(()));
        assert!(check(8 * 561 + 2 * 400 - 1, 10).is_err());
        assert!(check(10 * 561 + 1, 10).is_err());
        assert!(check(10 * 561, 9).is_err());
        // The losses of the other side explain nothing.
        let mut swapped = status(10 * 561, 10);
        swapped["services"][0]["pid"] = PIDS[0].into();
        assert!(account.check_explained(&swapped, PIDS, 1).is_err());
    }
}
