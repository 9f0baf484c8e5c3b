//! Byte streams and what must come of them: whole, byte by byte, cut at every place, and uncopied in part.

mod lost;

use proptest::prelude::*;

use super::*;
use crate::{
    exchange::{Exchange, Unit},
    protocol::{
        http::{HttpExchange, Noted},
        interface::{End, Parser, Want},
    },
    trace_context::HeaderFormat,
};

/// One end of a conversation: who speaks, and what.
type Line<'a> = (Side, &'a [u8]);

const Q: Side = Side::Request;
const A: Side = Side::Response;

/// What an exchange is compared by.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Seen {
    method: String,
    target: String,
    status: Option<u16>,
    request_body: Option<u64>,
    response_body: Option<u64>,
    outcome: Outcome,
}

fn seen(method: &str, target: &str, status: u16, request_body: u64, response_body: u64) -> Seen {
    Seen {
        method: method.to_owned(),
        target: target.to_owned(),
        status: Some(status),
        request_body: Some(request_body),
        response_body: Some(response_body),
        outcome: Outcome::Complete,
    }
}

fn http(exchange: &Exchange) -> &HttpExchange {
    exchange.payload().expect("HTTP")
}

/// A parser with a clock that goes on by one for each call.
struct Driver {
    parser: Http1,
    out: Vec<Yield>,
    now: u64,
}

impl Driver {
    fn new(start: Start) -> Self {
        Self { parser: Http1::new(start, Role::Client, Limits::default()), out: Vec::new(), now: 0 }
    }

    /// One system call; its bytes are all copied.
    fn call(&mut self, side: Side, bytes: &[u8]) {
        self.copied(side, bytes, bytes.len(), 0);
    }

    /// One system call of which the first and the last bytes are copied.
    fn copied(&mut self, side: Side, bytes: &[u8], head: usize, tail: usize) {
        self.now += 1;
        let head = head.min(bytes.len());
        let tail = tail.min(bytes.len() - head);
        let middle = bytes.len() - head - tail;
        let mut call = Call {
            start_ns: self.now,
            end_ns: self.now,
            unit: Unit::thread(1, 2),
            after: (middle + tail) as u64,
            first: true,
        };
        if head > 0 {
            self.parser.data(side, &bytes[..head], &call, &mut self.out);
            call.first = false;
        }
        if middle > 0 {
            call.after = tail as u64;
            self.parser.skip(side, middle as u64, &call, &mut self.out);
            call.first = false;
        }
        if tail > 0 {
            call.after = 0;
            self.parser.data(side, &bytes[bytes.len() - tail..], &call, &mut self.out);
        }
    }

    fn end(&mut self, side: Side) {
        self.now += 1;
        self.parser.end(side, End::Closed, self.now, &mut self.out);
    }

    fn close(&mut self, end: End) {
        self.now += 1;
        self.parser.close(end, self.now, &mut self.out);
    }

    fn exchanges(&self) -> Vec<&Exchange> {
        self.out
            .iter()
            .filter_map(|made| if let Yield::Exchange(exchange) = made { Some(exchange) } else { None })
            .collect()
    }

    fn seen(&self) -> Vec<Seen> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.exchanges()
            .into_iter()
            .map(|exchange| Seen {
                method: text(http(exchange).method()),
                target: text(http(exchange).target()),
                status: http(exchange).status,
                request_body: http(exchange).request_body_bytes,
                response_body: http(exchange).response_body_bytes,
                outcome: exchange.outcome,
            })
            .collect()
    }

    fn count(&self, wanted: Counter) -> u64 {
        self.out
            .iter()
            .map(|made| {
                if let Yield::Count(counter, n) = made
                    && *counter == wanted
                {
                    *n
                } else {
                    0
                }
            })
            .sum()
    }
}

/// The exchanges of a conversation, the same however it is cut: whole, byte by byte, and each line cut
/// in two at every place. Then the connection is closed.
fn conversation(lines: &[Line<'_>]) -> Vec<Seen> {
    let play = |cut: &dyn Fn(usize, &[u8]) -> Vec<usize>| {
        let mut driver = Driver::new(Start::Birth);
        for (index, (side, bytes)) in lines.iter().enumerate() {
            let mut from = 0;
            for to in cut(index, bytes).into_iter().chain([bytes.len()]) {
                driver.call(*side, &bytes[from..to]);
                from = to;
            }
        }
        driver.end(A);
        driver.close(End::Closed);
        driver.seen()
    };
    let whole = play(&|_, _| Vec::new());
    assert_eq!(play(&|_, bytes| (1..bytes.len()).collect()), whole, "byte by byte");
    for (line, (_, bytes)) in lines.iter().enumerate() {
        for at in 1..bytes.len() {
            assert_eq!(
                play(&|index, _| if index == line { vec![at] } else { Vec::new() }),
                whole,
                "line {line} cut at {at}"
            );
        }
    }
    whole
}

#[test]
fn a_request_and_its_response_are_an_exchange() {
    let lines: &[Line<'_>] = &[
        (Q, b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"),
        (A, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ];
    assert_eq!(conversation(lines), [seen("GET", "/a?b", 200, 0, 5)]);
}

#[test]
fn keep_alive_and_empty_lines_before_a_request() {
    let answer: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let lines: &[Line<'_>] =
        &[(Q, b"GET /1 HTTP/1.1\r\n\r\n"), (A, answer), (Q, b"\r\n\r\nGET /2 HTTP/1.1\n\n"), (A, answer)];
    assert_eq!(conversation(lines), [seen("GET", "/1", 200, 0, 0), seen("GET", "/2", 200, 0, 0)]);
}

#[test]
fn pipelined_responses_pair_in_order() {
    let lines: &[Line<'_>] = &[
        (Q, b"GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD /3 HTTP/1.1\r\n\r\n"),
        (A, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nxyHTTP/1.1 204 No\r\n\r\n"),
    ];
    assert_eq!(
        conversation(lines),
        [seen("GET", "/1", 200, 0, 1), seen("POST", "/2", 201, 3, 2), seen("HEAD", "/3", 204, 0, 0)]
    );
}

#[test]
fn answers_without_a_body_have_none_whatever_they_announce() {
    let announced = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 10\r\n\r\n").into_bytes();
    let (head, not_modified, no_content) =
        (announced("200 OK"), announced("304 Not Modified"), announced("204 No Content"));
    let lines: &[Line<'_>] = &[
        (Q, b"HEAD /1 HTTP/1.1\r\n\r\n"),
        (A, &head),
        (Q, b"GET /2 HTTP/1.1\r\n\r\n"),
        (A, &not_modified),
        (Q, b"GET /3 HTTP/1.1\r\n\r\n"),
        (A, &no_content),
    ];
    let statuses: Vec<_> =
        conversation(lines).into_iter().map(|seen| (seen.status, seen.response_body)).collect();
    assert_eq!(statuses, [(Some(200), Some(0)), (Some(304), Some(0)), (Some(204), Some(0))]);
}

#[test]
fn an_identity_coding_beside_a_length_is_no_coding() {
    let lines: &[Line<'_>] = &[
        (Q, b"POST /a HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nab"),
        (A, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Identity \r\nContent-Length: 3\r\n\r\nabc"),
        (Q, b"GET /next HTTP/1.1\r\n\r\n"),
        (A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    assert_eq!(conversation(lines), [seen("POST", "/a", 200, 2, 3), seen("GET", "/next", 200, 0, 0)]);
}

#[test]
fn chunked_bodies_with_extensions_and_trailers() {
    let lines: &[Line<'_>] = &[
        (Q, b"POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n"),
        (A, b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n"),
        (Q, b"GET /next HTTP/1.1\r\n\r\n"),
        (A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    assert_eq!(conversation(lines), [seen("POST", "/up", 200, 13, 1), seen("GET", "/next", 200, 0, 0)]);
}

#[test]
fn interim_answers_are_no_final_ones() {
    let lines: &[Line<'_>] = &[
        (Q, b"PUT /u HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
        (A, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (Q, b"body"),
        (A, b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
    ];
    assert_eq!(conversation(lines), [seen("PUT", "/u", 201, 4, 0)]);
}

#[test]
fn a_body_may_last_until_the_connection_is_closed() {
    let lines: &[Line<'_>] =
        &[(Q, b"GET /old HTTP/1.0\r\n\r\n"), (A, b"HTTP/1.0 200 OK\r\n\r\nuntil the end")];
    assert_eq!(conversation(lines), [seen("GET", "/old", 200, 0, 13)]);
}

#[test]
fn an_upgrade_ends_the_exchange_and_what_follows_is_not_read() {
    for (request, answer, status) in [
        (
            &b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"[..],
            &b"HTTP/1.1 101 Switching Protocols\r\n\r\n"[..],
            101,
        ),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 Connected\r\n\r\n", 200),
    ] {
        let mut driver = Driver::new(Start::Birth);
        driver.call(Q, request);
        driver.call(A, answer);
        driver.call(Q, b"GET /fake HTTP/1.1\r\n\r\n");
        driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        driver.close(End::Closed);
        let seen = driver.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].status, seen[0].outcome), (Some(status), Outcome::Complete));
        assert_eq!(driver.parser.want(A), Want::Nothing);
        assert_eq!(driver.count(Counter::ConnectionsTunnel), 1);
    }
}

#[test]
fn a_connect_that_is_refused_is_an_exchange_like_any_other() {
    let lines: &[Line<'_>] = &[
        (Q, b"CONNECT a:443 HTTP/1.1\r\n\r\n"),
        (A, b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno"),
        (Q, b"OPTIONS * HTTP/1.1\r\n\r\n"),
        (A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    assert_eq!(conversation(lines), [seen("CONNECT", "a:443", 407, 0, 2), seen("OPTIONS", "*", 200, 0, 0)]);
}

#[test]
fn a_proxy_header_before_the_first_request_is_passed_over() {
    for prefix in
        [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c0123456789ab"]
    {
        let request = [prefix, b"GET /p HTTP/1.1\r\n\r\n"].concat();
        let lines: &[Line<'_>] = &[(Q, &request), (A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")];
        assert_eq!(conversation(lines), [seen("GET", "/p", 200, 0, 0)]);
    }
}

#[test]
fn times_are_those_of_first_and_last_bytes() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"POST / HTTP/1.1\r\n");
    driver.call(Q, b"Content-Length: 4\r\n\r\nab");
    driver.call(Q, b"cd");
    driver.call(A, b"HTTP/1.1 200 OK\r\n");
    driver.call(A, b"Content-Length: 9000\r\n\r\nx");
    driver.copied(A, &[b'x'; 8999], 16, 8);
    let exchanges = driver.exchanges();
    let found = exchanges[0];
    assert_eq!(
        (found.start_ns, found.request_end_ns, found.response_start_ns, found.end_ns),
        (1, 3, Some(4), 6)
    );
    assert_eq!(http(found).response_body_bytes, Some(9000));
}

#[test]
fn the_wanted_part_of_a_body_is_told() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!([Q, A].map(|side| driver.parser.want(side)), [Want::Heads; 2]);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n";
    driver.call(A, head);
    let offset = head.len() as u64 + 9000;
    assert_eq!(driver.parser.want(A), Want::BodyUntil(offset));
    driver.copied(A, &[b'x'; 5000], 16, 8);
    assert_eq!(driver.parser.want(A), Want::BodyUntil(offset));
    driver.copied(A, &[b'x'; 4000], 16, 8);
    assert_eq!([Q, A].map(|side| driver.parser.want(side)), [Want::Heads; 2]);
    assert_eq!(driver.seen().len(), 1);
}

#[test]
fn a_final_answer_may_come_before_the_body_of_its_request_ends() {
    let lines: &[Line<'_>] = &[
        (Q, b"POST /early HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc"),
        (A, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
        (Q, b"defGET /next HTTP/1.1\r\n\r\n"),
        (A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    let found = conversation(lines);
    assert_eq!((found[0].status, found[0].request_body), (Some(413), None));
    assert_eq!(found[1], seen("GET", "/next", 200, 0, 0));
}

#[test]
fn exchanges_that_do_not_end_say_how() {
    let outcome = |answer: &[u8], end: End| {
        let mut driver = Driver::new(Start::Birth);
        driver.call(Q, b"GET / HTTP/1.1\r\n\r\n");
        driver.call(A, answer);
        driver.close(end);
        driver.exchanges()[0].outcome
    };
    assert_eq!(outcome(b"", End::Closed), Outcome::NoResponse);
    assert_eq!(outcome(b"HTTP/1.1 2", End::Closed), Outcome::NoResponse);
    assert_eq!(outcome(b"", End::Reset), Outcome::Reset);
    assert_eq!(
        outcome(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", End::Closed),
        Outcome::Truncated
    );
    assert_eq!(
        outcome(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", End::Closed),
        Outcome::Truncated
    );
    assert_eq!(outcome(b"HTTP/1.1 200 OK\r\n\r\nsome", End::Reset), Outcome::Reset);
}

#[test]
fn a_late_answer_does_not_pair_with_a_later_request() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"GET /slow HTTP/1.1\r\n\r\n");
    driver.parser.tick(Limits::default().exchange_timeout_ns + 2, &mut driver.out);
    assert_eq!(driver.exchanges()[0].outcome, Outcome::Timeout);
    driver.call(Q, b"GET /next HTTP/1.1\r\n\r\n");
    driver.call(
        A,
        b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    let found = driver.seen();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1], seen("GET", "/next", 200, 0, 0));
}

#[test]
fn an_answer_to_nothing_is_counted_and_not_reported() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"GET / HTTP/1.1\r\n\r\n");
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    driver.call(A, answer);
    assert!(!driver.parser.is_ready(A));
    driver.call(A, answer);
    assert_eq!((driver.seen().len(), driver.count(Counter::ExchangesUnpaired)), (1, 1));
}

#[test]
fn heads_up_to_the_limit_are_read_and_longer_ones_are_counted() {
    let request = |length: usize| {
        let head = b"GET / HTTP/1.1\r\nX: ";
        [&head[..], &vec![b'x'; length - head.len() - 4], b"\r\n\r\n"].concat()
    };
    let limit = Limits::default().head_bytes;
    for (length, reported) in [(limit, 1), (limit + 1, 0)] {
        let mut driver = Driver::new(Start::Birth);
        for part in request(length).chunks(4096) {
            driver.call(Q, part);
        }
        driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(driver.seen().len(), reported, "{length}");
        assert_eq!(driver.count(Counter::ExchangesUnparsed), 1 - reported as u64);
    }
}

#[test]
fn bodies_that_look_like_messages_invent_nothing() {
    let body = b"GET /fake HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let request =
        [format!("POST /real HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    let answer =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    let lines: &[Line<'_>] = &[(Q, &request), (A, &answer)];
    let length = body.len() as u64;
    assert_eq!(conversation(lines), [seen("POST", "/real", 200, length, length)]);
}

#[test]
fn contradicting_lengths_are_not_guessed_at() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd");
    driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(driver.seen().is_empty());
    assert_eq!((driver.count(Counter::ExchangesUnparsed), driver.parser.want(Q)), (1, Want::Nothing));
}

/// A random exchange, and how it looks on the wire.
#[derive(Debug, Clone)]
struct Random {
    method: &'static str,
    target: String,
    status: u16,
    request: Vec<u8>,
    response: Vec<u8>,
    request_chunked: bool,
    response_chunked: bool,
}

impl Random {
    fn request_bytes(&self) -> Vec<u8> {
        message(
            &format!("{} {} HTTP/1.1\r\nHost: x\r\n", self.method, self.target),
            &self.request,
            self.request_chunked,
            false,
        )
    }

    fn response_bytes(&self) -> Vec<u8> {
        let bodyless = self.method == "HEAD" || self.status == 204;
        message(&format!("HTTP/1.1 {} X\r\n", self.status), &self.response, self.response_chunked, bodyless)
    }

    fn expected(&self) -> Seen {
        let bodyless = self.method == "HEAD" || self.status == 204;
        let response = if bodyless { 0 } else { self.response.len() as u64 };
        seen(self.method, &self.target, self.status, self.request.len() as u64, response)
    }
}

fn message(line: &str, body: &[u8], chunked: bool, bodyless: bool) -> Vec<u8> {
    let mut bytes = line.as_bytes().to_vec();
    if chunked && !bodyless {
        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(700) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
    } else {
        bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        if !bodyless {
            bytes.extend(body);
        }
    }
    bytes
}

fn randoms() -> impl Strategy<Value = Random> {
    let body = || {
        prop_oneof![
            Just(Vec::new()),
            proptest::collection::vec(any::<u8>(), 0..3000),
            Just(b"GET /fake HTTP/1.1\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ]
    };
    (
        prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("PURGE")],
        "/[a-z0-9/?=]{0,30}",
        prop_oneof![Just(200u16), Just(404), Just(204), Just(500)],
        body(),
        body(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(method, target, status, request, response, request_chunked, response_chunked)| {
            Random { method, target, status, request, response, request_chunked, response_chunked }
        })
}

proptest! {
    #[test]
    fn random_conversations_are_read_however_they_are_cut(
        exchanges in proptest::collection::vec(randoms(), 1..6),
        cuts in proptest::collection::vec(1usize..2000, 1..40),
        pipelined: bool,
    ) {
        let mut driver = Driver::new(Start::Birth);
        let mut cut = cuts.iter().cycle();
        let mut send = |driver: &mut Driver, side, bytes: &[u8]| {
            let mut rest = bytes;
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cut.next().expect("a cycle")).min(rest.len()));
                driver.call(side, now);
                rest = later;
            }
        };
        if pipelined {
            let all: Vec<u8> = exchanges.iter().flat_map(Random::request_bytes).collect();
            send(&mut driver, Q, &all);
            let all: Vec<u8> = exchanges.iter().flat_map(Random::response_bytes).collect();
            send(&mut driver, A, &all);
        } else {
            for exchange in &exchanges {
                send(&mut driver, Q, &exchange.request_bytes());
                send(&mut driver, A, &exchange.response_bytes());
            }
        }
        let expected: Vec<Seen> = exchanges.iter().map(Random::expected).collect();
        prop_assert_eq!(driver.seen(), expected);
    }

    #[test]
    fn bodies_that_are_copied_as_the_kernel_does_keep_their_ends(
        exchanges in proptest::collection::vec(randoms(), 1..6),
        size in 300usize..5000,
    ) {
        // One message after the other, each written in calls of which the kernel copies the first 4 KiB
        // after a turn, then 256 bytes, and always the last 8.
        let mut driver = Driver::new(Start::Birth);
        for exchange in &exchanges {
            for (side, bytes) in [(Q, exchange.request_bytes()), (A, exchange.response_bytes())] {
                let mut budget = 4096;
                for call in bytes.chunks(size) {
                    let head = if budget > 0 { budget.min(call.len()) } else { 256 };
                    budget = budget.saturating_sub(call.len());
                    driver.copied(side, call, head, 8);
                }
            }
        }
        driver.parser.tick(driver.now + Limits::default().quiet_ns, &mut driver.out);
        let found = driver.seen();
        prop_assert_eq!(found.len(), exchanges.len());
        for (found, sent) in found.iter().zip(&exchanges) {
            let expected = sent.expected();
            prop_assert_eq!((&found.method, &found.target, found.status, found.outcome), (&expected.method, &expected.target, expected.status, expected.outcome));
            // A size may be unknown, never wrong.
            prop_assert!(found.request_body.is_none_or(|size| Some(size) == expected.request_body));
            prop_assert!(found.response_body.is_none_or(|size| Some(size) == expected.response_body));
        }
    }

    #[test]
    fn garbage_is_no_panic(
        segments in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60), 0u64..50, any::<bool>()), 0..40),
        mid_stream: bool,
    ) {
        let mut driver = Driver::new(if mid_stream { Start::MidStream } else { Start::Birth });
        for (side, bytes, length, gap) in segments {
            let side = if side { Q } else { A };
            driver.call(side, &bytes);
            if gap {
                driver.parser.gap(side, length, driver.now, &mut driver.out);
            } else {
                driver.copied(side, &bytes, 3, 2);
            }
        }
        driver.close(End::Closed);
    }
}

#[test]
fn an_upload_that_still_moves_does_not_time_out() {
    let mut driver = Driver::new(Start::Birth);
    let limit = Limits::default().exchange_timeout_ns;
    driver.call(Side::Request, b"POST /up HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
    driver.now += limit - 1;
    driver.call(Side::Request, b"more");
    driver.parser.tick(driver.now + 10, &mut driver.out);
    assert!(driver.exchanges().is_empty());
    driver.parser.tick(driver.now + limit, &mut driver.out);
    assert_eq!(driver.exchanges()[0].outcome, Outcome::Timeout);
}

#[test]
fn lengths_beyond_all_offsets_are_no_overflow() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Side::Request, b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n");
    assert!([Q, A].iter().any(|side| driver.parser.want(*side) == Want::BodyUntil(u64::MAX)));
}

#[test]
fn heads_that_wait_are_bounded_by_their_bytes() {
    let mut driver = Driver::new(Start::Birth);
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    for _ in 0..40 {
        driver.call(Side::Request, head.as_bytes());
    }
    assert!(driver.parser.queue.bytes() <= (1 << 20) + head.len());
    assert!(driver.count(Counter::ExchangesUnparsed) > 0);
}

#[test]
fn a_head_goes_along_with_its_request_if_it_may_link_it() {
    for (field, expected) in [
        ("B3: 0", true),
        ("X-B3-Sampled: 0", true),
        ("Uber-Trace-Id: 1:2:3:4", true),
        ("X-Datadog-Trace-Id: 1", true),
        ("x-amzn-trace-id: Root=1", true),
        ("X-Request-ID: a", true),
        ("X-Real-IP: 1.2.3.4", false),
        ("X-Forwarded-For: 1.2.3.4", false),
        ("X: b3", false),
        ("B3-other: 0", false),
        ("User-Agent: uber-trace-id", false),
    ] {
        let head = format!("GET / HTTP/1.1\r\n{field}\r\n\r\n");
        assert_eq!(Noted::of(head.as_bytes()).may_link(), expected, "{field}");
    }
}

#[test]
fn a_request_carries_the_contexts_of_the_formats_that_are_configured() {
    let head = format!("GET / HTTP/1.1\r\nb3: {}-{}-1\r\n\r\n", "07".repeat(16), "02".repeat(8));
    for formats in [&[HeaderFormat::B3][..], &[HeaderFormat::Jaeger], &[]] {
        let limits = Limits { formats: HeaderFormats::new(formats), ..Limits::default() };
        let mut driver = Driver::new(Start::Birth);
        driver.parser = Http1::new(Start::Birth, Role::Server, limits);
        driver.call(Q, head.as_bytes());
        let Some(Yield::Opened(opened)) = driver.out.first() else { panic!("{formats:?}") };
        let found = opened.carried.as_ref().map(|carried| carried.contexts[0].trace_id);
        assert_eq!(found, (formats == [HeaderFormat::B3]).then_some([7; 16]), "{formats:?}");
    }
}

#[test]
fn a_head_that_never_becomes_whole_is_counted() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Side::Request, b"GET /half HTTP/1.1\r\nHost: x");
    driver.close(End::Closed);
    assert_eq!(driver.count(Counter::ExchangesUnparsed), 1);
    let mut driver = Driver::new(Start::Birth);
    driver.call(Side::Request, b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\n");
    driver.close(End::Closed);
    assert_eq!(driver.count(Counter::ExchangesUnparsed), 0);
}
