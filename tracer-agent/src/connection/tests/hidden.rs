//! Requests whose heads a server reads in the middle of a read, behind a body: only the client's end was copied.

use super::*;

/// First sequence numbers of what the client sends, and of what the server sends.
const FIRST: [u32; 2] = [5_000, u32::MAX - 100];
const CLIENT: u64 = 1;
const SERVER: u64 = 2;
const EARLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Both ends of a connection on one host, and how many bytes each has sent.
struct Ends {
    driver: Driver,
    sent: [u32; 2],
    time_ns: u64,
}

impl Ends {
    fn new() -> Self {
        let mut driver = Driver::new();
        for (connection, flags, own) in [(CLIENT, OPEN_CLIENT, 0), (SERVER, 0, 1)] {
            let record = OpenRecord {
                kind: RecordKind::Open as u8,
                flags: flags | OPEN_BIRTH,
                family: libc::AF_INET as u16,
                connection,
                send_first: FIRST[own],
                receive_first: FIRST[1 - own],
                ..OpenRecord::default()
            };
            driver.table.open(&record, &[], &mut driver.seen);
        }
        Self { driver, sent: [0; 2], time_ns: 0 }
    }

    /// A call at one end, whose first and last bytes are copied.
    fn call(&mut self, end: u64, direction: u8, offset: u32, bytes: &[u8], copied: (usize, usize)) {
        self.time_ns += MS;
        let is_clients = (end == CLIENT) == (direction == SEND);
        let head = copied.0.min(bytes.len());
        let tail = copied.1.min(bytes.len() - head);
        let header = DataHeader {
            kind: RecordKind::Data as u8,
            direction,
            flags: FLAG_TURN | FLAG_PRE_SEND,
            prefix_length: head as u16,
            tail_length: tail as u8,
            connection: end,
            time_ns: self.time_ns,
            start_ns: self.time_ns,
            pid: end as u32,
            tid: 10 + end as u32,
            position: FIRST[usize::from(!is_clients)].wrapping_add(offset),
            length: bytes.len() as u32,
            ..DataHeader::default()
        };
        let (head, tail) = (&bytes[..head], &bytes[bytes.len() - tail..]);
        self.driver.table.data(&header, head, tail, &mut self.driver.seen);
    }

    /// The client sends bytes. Returns their offset.
    fn client_sends(&mut self, bytes: &[u8]) -> u32 {
        let offset = self.sent[0];
        self.sent[0] += bytes.len() as u32;
        self.call(CLIENT, SEND, offset, bytes, (bytes.len(), 0));
        offset
    }

    /// The server answers, and the client reads that.
    fn answer(&mut self, bytes: &[u8]) {
        let offset = self.sent[1];
        self.sent[1] += bytes.len() as u32;
        self.call(SERVER, SEND, offset, bytes, (bytes.len(), 0));
        self.call(CLIENT, RECEIVE, offset, bytes, (bytes.len(), 0));
    }

    fn of(&self, kind: Kind) -> Vec<(u64, Outcome, Option<u16>, u64)> {
        let exchanges = self.driver.seen.exchanges.iter().filter(|(_, made)| made.kind == kind);
        exchanges
            .map(|(_, made)| {
                let http: &HttpExchange = made.payload().expect("HTTP");
                (made.request_offset, made.outcome, http.status, made.start_ns)
            })
            .collect()
    }
}

#[test]
fn a_server_that_answers_before_it_has_read_the_body_has_a_span_for_each_upload() {
    let mut ends = Ends::new();
    let body = [&b"400\r\n"[..], &[b'x'; 1024], b"\r\n"].concat().repeat(8);
    let body = [&body[..], b"0\r\nTrailer: x\r\n\r\n"].concat();
    let mut rest = Vec::new();
    let mut rest_at = 0;
    let mut offsets = Vec::new();
    for n in 0..40 {
        let head = format!("POST /{n} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let at = ends.client_sends(head.as_bytes());
        offsets.push(u64::from(at));
        if n == 0 {
            ends.call(SERVER, RECEIVE, at, head.as_bytes(), (4096, 0));
        } else {
            // The rest of the body before, and the head behind it.
            rest.extend(head.as_bytes());
            ends.call(SERVER, RECEIVE, rest_at, &rest, (256, 8));
        }
        let read_ns = ends.time_ns;
        ends.answer(EARLY);
        assert_eq!(ends.of(Kind::Serve).last().map(|it| it.3), Some(read_ns), "when it was read");
        let at = ends.client_sends(&body);
        ends.call(SERVER, RECEIVE, at, &body[..6000], (256, 8));
        (rest, rest_at) = (body[6000..].to_vec(), at + 6000);
    }
    let told = |kind| -> Vec<_> { ends.of(kind).into_iter().map(|it| (it.0, it.1, it.2)).collect() };
    let expected: Vec<_> = offsets.iter().map(|at| (*at, Outcome::Complete, Some(200))).collect();
    assert_eq!(told(Kind::Serve), expected);
    assert_eq!(told(Kind::Call), expected);
    let seen = &ends.driver.seen;
    assert_eq!(seen.of(Counter::ExchangesUnpaired) + seen.of(Counter::ExchangesUnparsed), 0);
}

/// The server answers the second request before its client's send is told, and the client tells it `late_ns` later.
fn late(late_ns: u64) -> Ends {
    let mut ends = Ends::new();
    let head = b"POST /0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let at = ends.client_sends(head);
    ends.call(SERVER, RECEIVE, at, head, (4096, 0));
    ends.answer(EARLY);
    let with = |next: &[u8]| [&b"400\r\n"[..], &[b'x'; 1024], b"\r\n0\r\nA: b\r\n\r\n", next].concat();
    let body = with(b"POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    let at = ends.sent[0];
    ends.call(SERVER, RECEIVE, at, &body, (256, 8));
    let answered = ends.sent[1];
    ends.sent[1] += EARLY.len() as u32;
    ends.call(SERVER, SEND, answered, EARLY, (4096, 0));
    ends.time_ns += late_ns;
    ends.driver.table.tick(ends.time_ns, &mut ends.driver.seen);
    ends.client_sends(&body);
    ends.call(CLIENT, RECEIVE, answered, EARLY, (4096, 0));
    // It costs no other one.
    let body = with(b"GET /2 HTTP/1.1\r\n\r\n");
    let at = ends.client_sends(&body);
    ends.call(SERVER, RECEIVE, at, &body, (256, 8));
    ends.answer(EARLY);
    ends
}

#[test]
fn a_response_waits_for_the_request_that_its_client_tells_later() {
    let ends = late(10 * MS);
    let seen = &ends.driver.seen;
    assert_eq!((ends.of(Kind::Serve).len(), ends.of(Kind::Call).len()), (3, 3));
    assert_eq!(seen.of(Counter::ExchangesUnpaired) + seen.of(Counter::ExchangesUnparsed), 0);
}

#[test]
fn a_response_whose_record_comes_behind_its_receive_is_that_of_the_request_before() {
    let mut ends = Ends::new();
    let body = [&b"400\r\n"[..], &[b'x'; 1024], b"\r\n0\r\nA: b\r\n\r\n"].concat();
    let head = |n: u32| format!("POST /{n} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    let mut offsets = vec![u64::from(ends.client_sends(&head(0)))];
    ends.call(SERVER, RECEIVE, 0, &head(0), (4096, 0));
    ends.answer(EARLY);
    for n in 1..4 {
        let at = ends.client_sends(&body);
        offsets.push(u64::from(ends.client_sends(&head(n))));
        ends.call(SERVER, RECEIVE, at, &[&body[..], &head(n)].concat(), (256, 8));
        // The two CPUs' records change places.
        let answered = ends.sent[1];
        ends.sent[1] += EARLY.len() as u32;
        ends.call(CLIENT, RECEIVE, answered, EARLY, (4096, 0));
        ends.call(SERVER, SEND, answered, EARLY, (4096, 0));
    }
    let told = |kind| -> Vec<_> { ends.of(kind).into_iter().map(|it| it.0).collect() };
    assert_eq!(told(Kind::Call), offsets);
    assert_eq!(told(Kind::Serve), offsets);
}

#[test]
fn a_request_that_the_client_tells_too_late_is_counted_as_one() {
    let ends = late(100 * MS);
    assert_eq!(ends.of(Kind::Serve).len(), 2);
    let seen = &ends.driver.seen;
    assert_eq!(seen.of(Counter::ExchangesUnpaired) + seen.of(Counter::ExchangesUnparsed), 1);
}
