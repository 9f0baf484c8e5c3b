//! Records as the kernel writes them, in orders that it may write them in.

mod change;
mod datagrams;
mod ends;
mod hidden;
mod layer;
mod lengthened;
mod memory;
mod unix;

use std::net::SocketAddr;

use tracer_common::{
    CLOSE_ALL, CLOSE_SEND, CapturePolicy, CloseRecord, DataHeader, FLAG_END, FLAG_PRE_SEND, FLAG_TURN,
    Kind as RecordKind, OPEN_BIRTH, OPEN_CLIENT, OpenRecord, RECEIVE, SEND,
};

use super::*;
use crate::{exchange::Outcome, protocol::http::HttpExchange};

/// What came out.
#[derive(Default)]
struct Seen {
    exchanges: Vec<(ConnectionFacts, Exchange)>,
    counts: Vec<(Counter, u64)>,
    policies: Vec<(u64, Direction, CapturePolicy)>,
    opaque: usize,
    undecoded: usize,
    undecoded_answered: Vec<u64>,
    opened: usize,
    /// Of each request, the bytes inserted before it, and whether another program did that.
    requests: Vec<(u32, bool)>,
    left: Vec<u64>,
    not_lengthened: Vec<u64>,
}

impl ConnectionOutput for Seen {
    fn opened(&mut self, _: &ConnectionFacts, opened: &mut Opened) {
        self.opened += 1;
        self.requests.push((opened.inserted, opened.is_lengthened));
    }
    fn answered(&mut self, _: &ConnectionFacts, _: Kind, _: u64, _: (u32, Unit)) {}
    fn closed(&mut self, _: &ConnectionFacts, _: &Exchange) {}
    fn read(&mut self, _: &ConnectionFacts, _: Unit, _: u64) {}
    fn undecoded(&mut self, _: u64, _: Unit, _: u64) {
        self.undecoded += 1;
    }
    fn undecoded_answered(&mut self, _: u64, _: u32, time_ns: u64) {
        self.undecoded_answered.push(time_ns);
    }
    fn opaque(&mut self, _: u32) {
        self.opaque += 1;
    }
    fn left(&mut self, connection: u64) {
        self.left.push(connection);
    }
    fn not_lengthened(&mut self, connection: u64) {
        self.not_lengthened.push(connection);
    }
    fn exchange(&mut self, facts: &ConnectionFacts, exchange: &Exchange) {
        self.exchanges.push((facts.clone(), exchange.clone()));
    }
    fn count(&mut self, _: u32, counter: Counter, n: u64) {
        self.counts.push((counter, n));
    }
    fn policy(&mut self, connection: u64, direction: Direction, policy: CapturePolicy) {
        self.policies.push((connection, direction, policy));
    }
    fn boundary(&mut self, _: &ConnectionFacts, _: u32) {}
}

impl Seen {
    fn of(&self, wanted: Counter) -> u64 {
        self.counts.iter().filter(|(counter, _)| *counter == wanted).map(|(_, n)| n).sum()
    }

    /// Target and status of each exchange.
    fn targets(&self) -> Vec<(String, Option<u16>)> {
        self.exchanges
            .iter()
            .map(|(_, exchange)| {
                let http: &HttpExchange = exchange.payload().expect("HTTP");
                (String::from_utf8_lossy(http.target()).into_owned(), http.status)
            })
            .collect()
    }
}

/// The first sequence numbers: close to where they wrap.
const SENT: u32 = u32::MAX - 10;
const RECEIVED: u32 = 1_000;

struct Driver {
    table: Table,
    seen: Seen,
}

impl Driver {
    fn new() -> Self {
        let protocol = protocol::Limits {
            exchange_timeout_ns: 1_000_000_000_000,
            formats: crate::trace_context::HeaderFormats::default(),
        };
        let limits = Limits { connections: 16, message_memory: 256 << 10, protocol };
        Self { table: Table::new(limits), seen: Seen::default() }
    }

    fn open(&mut self, connection: u64, flags: u8) {
        let record = OpenRecord {
            kind: RecordKind::Open as u8,
            flags,
            family: libc::AF_INET as u16,
            connection,
            send_first: SENT,
            receive_first: RECEIVED,
            local_port: 80,
            remote_port: 4000 + connection as u16,
            local_address: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            remote_address: [127, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ..OpenRecord::default()
        };
        self.table.open(&record, &[], &mut self.seen);
    }

    fn data(&mut self, connection: u64, direction: u8, offset: u32, bytes: &[u8], time_ns: u64) {
        let first = if direction == SEND { SENT } else { RECEIVED };
        let header = DataHeader {
            kind: RecordKind::Data as u8,
            direction,
            flags: FLAG_TURN | FLAG_PRE_SEND,
            prefix_length: bytes.len() as u16,
            connection,
            time_ns,
            start_ns: time_ns,
            pid: 1,
            tid: 1,
            position: first.wrapping_add(offset),
            length: bytes.len() as u32,
            ..DataHeader::default()
        };
        self.table.data(&header, bytes, &[], &mut self.seen);
    }

    fn close(&mut self, connection: u64, state: u8, error: u16, sent: u32, time_ns: u64) {
        let record = CloseRecord {
            kind: RecordKind::Close as u8,
            state,
            error,
            connection,
            time_ns,
            send_end: SENT.wrapping_add(sent),
            receive_end: RECEIVED,
            ..CloseRecord::default()
        };
        self.table.close(&record, &mut self.seen);
    }

    fn tick(&mut self, now_ns: u64) {
        self.table.tick(now_ns, &mut self.seen);
    }
}

const ASK: &[u8] = b"GET /a HTTP/1.1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MS: u64 = 1_000_000;

fn one(target: &str) -> Vec<(String, Option<u16>)> {
    vec![(target.to_owned(), Some(200))]
}

#[test]
fn sequence_numbers_may_wrap_in_the_middle() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, ASK, 1);
    driver.data(1, SEND, 0, &ANSWER[..5], 2);
    driver.data(1, SEND, 5, &ANSWER[5..], 3);
    assert_eq!(driver.seen.targets(), one("/a"));
    let (facts, exchange) = &driver.seen.exchanges[0];
    assert_eq!((exchange.kind, exchange.start_ns, exchange.end_ns), (Kind::Serve, 1, 3));
    assert_eq!(facts.remote, SocketAddr::from(([127, 0, 0, 2], 4001)).into());
}

#[test]
fn records_of_two_cpus_may_change_places() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 7, &ASK[7..], 2);
    driver.data(1, RECEIVE, 0, &ASK[..7], 1);
    driver.data(1, SEND, 9, &ANSWER[9..], 4);
    driver.data(1, SEND, 0, &ANSWER[..9], 3);
    assert_eq!(driver.seen.targets(), one("/a"));
    assert_eq!(driver.seen.of(Counter::BytesLost), 0);
}

#[test]
fn a_response_that_overtakes_its_request_waits_for_it() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH | OPEN_CLIENT);
    driver.data(1, SEND, 0, ASK, 1);
    driver.data(1, RECEIVE, 0, ANSWER, 2);
    let second = ASK.len() as u32;
    driver.data(1, RECEIVE, ANSWER.len() as u32, ANSWER, 4);
    driver.data(1, SEND, second, b"GET /b HTTP/1.1\r\n\r\n", 3);
    assert_eq!(driver.seen.targets().len(), 2);
    assert_eq!(driver.seen.of(Counter::ExchangesUnpaired), 0);
    assert!(driver.seen.exchanges.iter().all(|(_, exchange)| exchange.kind == Kind::Call));
}

#[test]
fn bytes_that_were_seen_twice_count_once() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, ASK, 1);
    driver.data(1, RECEIVE, 0, ASK, 2);
    driver.data(1, SEND, 0, &ANSWER[..20], 3);
    driver.data(1, SEND, 10, &ANSWER[10..], 4);
    assert_eq!(driver.seen.targets(), one("/a"));
    assert_eq!(driver.seen.of(Counter::BytesOverlapping), ASK.len() as u64 + 10);
}

#[test]
fn bytes_that_never_come_are_a_gap_after_a_while_and_the_connection_goes_on() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, b"POST /up HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", MS);
    let end = 43 + 1000;
    driver.data(1, SEND, 0, ANSWER, 2 * MS);
    driver.data(1, RECEIVE, end, b"GET /next HTTP/1.1\r\n\r\n", 3 * MS);
    driver.tick(4 * MS);
    assert_eq!(driver.seen.of(Counter::BytesLost), 0, "it may still come");
    driver.tick(100 * MS);
    assert_eq!(driver.seen.of(Counter::BytesLost), 1000);
    driver.data(1, SEND, ANSWER.len() as u32, ANSWER, 101 * MS);
    assert_eq!(driver.seen.targets(), [("/up".to_owned(), Some(200)), ("/next".to_owned(), Some(200))]);
}

#[test]
fn a_reset_that_overtakes_the_last_bytes_does_not_hide_them() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH | OPEN_CLIENT);
    driver.data(1, SEND, 0, ASK, MS);
    driver.close(1, CLOSE_ALL, libc::ECONNRESET as u16, ASK.len() as u32, 2 * MS);
    driver.data(1, RECEIVE, 0, ANSWER, 3 * MS);
    assert_eq!(driver.seen.targets(), one("/a"));
    assert_eq!(driver.seen.exchanges[0].1.outcome, Outcome::Complete);
    driver.tick(500 * MS);
    assert!(driver.table.is_empty());
}

#[test]
fn a_reset_without_an_answer_is_told_after_a_while() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH | OPEN_CLIENT);
    driver.data(1, SEND, 0, ASK, MS);
    driver.close(1, CLOSE_ALL, libc::ECONNRESET as u16, ASK.len() as u32, 2 * MS);
    assert!(driver.seen.exchanges.is_empty());
    driver.tick(200 * MS);
    assert_eq!(driver.seen.exchanges[0].1.outcome, Outcome::Reset);
    assert_eq!(driver.seen.exchanges[0].1.end_ns, 2 * MS);
    assert!(driver.table.is_empty());
}

#[test]
fn a_body_that_lasts_until_the_close_ends_with_its_last_byte() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, b"GET /a HTTP/1.0\r\n\r\n", 1);
    let answer = b"HTTP/1.0 200 OK\r\n\r\nuntil the end";
    driver.data(1, SEND, 0, answer, 2);
    // The end counts the FIN, or does not.
    driver.close(1, CLOSE_SEND, 0, answer.len() as u32, 5);
    driver.close(1, CLOSE_ALL, 0, answer.len() as u32 + 1, 6);
    assert_eq!(driver.seen.targets(), one("/a"));
    assert_eq!(
        (driver.seen.exchanges[0].1.outcome, driver.seen.exchanges[0].1.end_ns),
        (Outcome::Complete, 2)
    );
    assert!(driver.table.is_empty());
}

#[test]
fn a_request_that_comes_byte_by_byte_is_recognised() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    for (offset, byte) in ASK.iter().enumerate() {
        driver.data(1, RECEIVE, offset as u32, &[*byte], 1 + offset as u64);
        driver.tick(offset as u64 * 100 * MS);
    }
    driver.data(1, SEND, 0, ANSWER, 100);
    assert_eq!(driver.seen.targets(), one("/a"));
}

#[test]
fn other_protocols_are_counted_once_and_left_alone() {
    for (first, counter) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], Counter::ConnectionsTls),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Counter::ConnectionsHttp2),
        (b"*1\r\n$4\r\nPING\r\n", Counter::ConnectionsOther),
    ] {
        let mut driver = Driver::new();
        driver.open(1, OPEN_BIRTH);
        driver.data(1, RECEIVE, 0, first, 1);
        driver.data(1, SEND, 0, b"whatever", 2);
        assert_eq!(driver.seen.of(counter), 1);
        let ignored =
            [Direction::Receive, Direction::Send].map(|direction| (1, direction, CapturePolicy::Ignore));
        assert_eq!(driver.seen.policies[..2], ignored);
        assert!(driver.seen.exchanges.is_empty());
    }
}

#[test]
fn a_long_body_is_told_to_the_kernel_until_it_ends() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, ASK, 1);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    driver.data(1, SEND, 0, head, 2);
    let position = SENT.wrapping_add(head.len() as u32 + 100_000);
    let body = (1, Direction::Send, CapturePolicy::BodyUntil { position });
    assert_eq!(driver.seen.policies, [body]);
}

#[test]
fn a_policy_that_did_not_change_for_a_direction_is_not_told_again() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    let head = b"POST /up HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";
    driver.data(1, RECEIVE, 0, head, 1);
    driver.data(1, RECEIVE, head.len() as u32, &vec![b'x'; 100_000], 2);
    driver.data(1, SEND, 0, ANSWER, 3);
    driver.data(1, RECEIVE, head.len() as u32 + 100_000, ASK, 4);
    driver.data(1, SEND, ANSWER.len() as u32, ANSWER, 5);
    let position = RECEIVED + head.len() as u32 + 100_000;
    let expected = [CapturePolicy::BodyUntil { position }, CapturePolicy::Heads]
        .map(|policy| (1, Direction::Receive, policy));
    assert_eq!(driver.seen.policies, expected);
    assert_eq!(driver.seen.exchanges.len(), 2);
}

#[test]
fn data_without_an_open_record_is_counted() {
    let mut driver = Driver::new();
    driver.data(9, RECEIVE, 0, ASK, 1);
    assert_eq!(
        (driver.seen.of(Counter::ConnectionsUnknownStart), driver.seen.of(Counter::BytesLost)),
        (1, ASK.len() as u64)
    );
}

#[test]
fn a_full_table_forgets_the_quietest_and_counts_it() {
    let mut driver = Driver::new();
    for connection in 1..=16 {
        driver.open(connection, OPEN_BIRTH);
        driver.data(connection, RECEIVE, 0, ASK, 100 - connection);
    }
    driver.open(17, OPEN_BIRTH);
    assert_eq!(driver.table.len(), 16);
    assert_eq!(driver.seen.of(Counter::ConnectionsEvicted), 1);
    driver.data(16, SEND, 0, ANSWER, 200);
    assert!(driver.seen.exchanges.is_empty(), "the sixteenth was the quietest");
    driver.data(1, SEND, 0, ANSWER, 200);
    assert_eq!(driver.seen.targets(), one("/a"));
}

#[test]
fn the_end_of_a_stream_may_be_seen_with_its_last_bytes_still_on_their_way() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH | OPEN_CLIENT);
    driver.data(1, SEND, 0, ASK, 1);
    let answer = b"HTTP/1.1 200 OK\r\n\r\nall of it";
    let header = DataHeader {
        kind: RecordKind::Data as u8,
        direction: RECEIVE,
        flags: FLAG_END,
        connection: 1,
        time_ns: 4,
        start_ns: 4,
        position: RECEIVED + answer.len() as u32,
        ..DataHeader::default()
    };
    driver.table.data(&header, &[], &[], &mut driver.seen);
    assert!(driver.seen.exchanges.is_empty());
    driver.data(1, RECEIVE, 0, answer, 3);
    assert_eq!(driver.seen.targets(), one("/a"));
    assert_eq!(driver.seen.exchanges[0].1.end_ns, 3);
}

proptest::proptest! {
    #[test]
    fn nothing_that_a_ring_could_hold_is_a_panic(
        records in proptest::collection::vec((0u64..4, 0u8..4, 0u32..80, proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), proptest::prelude::any::<u16>()), 0..80),
    ) {
        let mut driver = Driver::new();
        for (index, (connection, what, offset, bytes, flags)) in records.into_iter().enumerate() {
            match what {
                0 => driver.open(connection, flags as u8),
                1 => driver.data(connection, (flags & 1) as u8, offset, &bytes, index as u64),
                2 => driver.close(connection, (flags & 3) as u8, flags, offset, index as u64),
                _ => driver.tick(index as u64 * 30 * MS),
            }
        }
    }
}

/// The two ends of one connection, of which the client's sends are seen after they were done.
#[test]
fn a_first_request_that_its_server_read_before_the_client_was_seen_sending_starts_no_later() {
    let mut driver = Driver::new();
    let (client, server) = (1, 2);
    let end = |connection, flags, local_port, remote_port, send_first, receive_first| OpenRecord {
        kind: RecordKind::Open as u8,
        flags: flags | OPEN_BIRTH,
        family: libc::AF_INET as u16,
        connection,
        send_first,
        receive_first,
        local_port,
        remote_port,
        local_address: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        remote_address: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ..OpenRecord::default()
    };
    let mut seen = Times::default();
    let mut moved = |table: &mut Table, connection, direction, position, bytes: &[u8], time_ns| {
        let header = DataHeader {
            kind: RecordKind::Data as u8,
            direction,
            flags: FLAG_TURN,
            prefix_length: bytes.len() as u16,
            connection,
            time_ns,
            start_ns: time_ns,
            pid: 1,
            tid: 1,
            position,
            length: bytes.len() as u32,
            ..DataHeader::default()
        };
        table.data(&header, bytes, &[], &mut seen);
    };
    let table = &mut driver.table;
    table.open(&end(server, 0, 80, 4000, RECEIVED, SENT), &[], &mut Times::default());
    moved(table, server, RECEIVE, SENT, ASK, 10 * MS);
    table.open(&end(client, OPEN_CLIENT, 4000, 80, SENT, RECEIVED), &[], &mut Times::default());
    moved(table, client, SEND, SENT, ASK, 12 * MS);
    moved(table, server, SEND, RECEIVED, ANSWER, 20 * MS);
    moved(table, client, RECEIVE, RECEIVED, ANSWER, 21 * MS);
    for _ in 0..2 {
        table.tick(22 * MS, &mut seen);
    }
    assert_eq!(seen.0, [(Kind::Serve, 10 * MS), (Kind::Call, 10 * MS)]);
}

/// Kind and start of each exchange.
#[derive(Default)]
struct Times(Vec<(Kind, u64)>);

impl ConnectionOutput for Times {
    fn opened(&mut self, _: &ConnectionFacts, _: &mut Opened) {}
    fn answered(&mut self, _: &ConnectionFacts, _: Kind, _: u64, _: (u32, Unit)) {}
    fn closed(&mut self, _: &ConnectionFacts, _: &Exchange) {}
    fn read(&mut self, _: &ConnectionFacts, _: Unit, _: u64) {}
    fn undecoded(&mut self, _: u64, _: Unit, _: u64) {}
    fn undecoded_answered(&mut self, _: u64, _: u32, _: u64) {}
    fn opaque(&mut self, _: u32) {}
    fn left(&mut self, _: u64) {}
    fn not_lengthened(&mut self, _: u64) {}
    fn exchange(&mut self, _: &ConnectionFacts, exchange: &Exchange) {
        self.0.push((exchange.kind, exchange.start_ns));
    }
    fn count(&mut self, _: u32, _: Counter, _: u64) {}
    fn policy(&mut self, _: u64, _: Direction, _: CapturePolicy) {}
    fn boundary(&mut self, _: &ConnectionFacts, _: u32) {}
}

#[test]
fn a_response_whose_records_were_lost_before_the_close_is_a_loss_and_no_failure() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, ASK, MS);
    driver.close(1, CLOSE_ALL, 0, 120, 2 * MS);
    for n in 0..3 {
        driver.tick((500 + n) * MS);
    }
    let outcomes: Vec<Outcome> = driver.seen.exchanges.iter().map(|(_, made)| made.outcome).collect();
    assert_eq!(outcomes, [Outcome::Lost]);
    assert_eq!(driver.seen.of(Counter::BytesLost), 120);
}

#[test]
fn what_was_read_before_the_end_and_is_told_after_it_is_no_loss() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, ASK, MS);
    driver.data(1, SEND, 0, ANSWER, MS);
    let record = CloseRecord {
        kind: RecordKind::Close as u8,
        state: CLOSE_ALL,
        connection: 1,
        time_ns: 2 * MS,
        send_end: SENT.wrapping_add(ANSWER.len() as u32 + 1),
        receive_end: RECEIVED.wrapping_add(2 * ASK.len() as u32),
        ..CloseRecord::default()
    };
    driver.table.close(&record, &mut driver.seen);
    driver.tick(3 * MS);
    driver.data(1, RECEIVE, ASK.len() as u32, ASK, 4 * MS);
    assert_eq!(driver.seen.of(Counter::ConnectionsUnknownStart), 0);
    assert_eq!(driver.seen.of(Counter::BytesLost), 0);
    for n in 0..3 {
        driver.tick((500 + n) * MS);
    }
    assert_eq!(driver.seen.left, [1]);
}

#[test]
fn a_client_that_resets_is_told_on_the_servers_side() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, ASK, MS);
    driver.close(1, CLOSE_ALL, libc::ECONNRESET as u16, 0, 2 * MS);
    for n in 0..3 {
        driver.tick((500 + n) * MS);
    }
    assert_eq!(driver.seen.exchanges[0].1.outcome, Outcome::Reset);
}

#[test]
fn the_first_response_too_waits_for_its_request() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH | OPEN_CLIENT);
    driver.data(1, RECEIVE, 0, ANSWER, 2);
    driver.data(1, SEND, 0, ASK, 1);
    assert_eq!(driver.seen.targets(), one("/a"));

    // Its request never comes: it is counted, and the connection goes on.
    driver.open(2, OPEN_BIRTH | OPEN_CLIENT);
    driver.data(2, RECEIVE, 0, ANSWER, MS);
    driver.tick(100 * MS);
    assert_eq!(driver.seen.of(Counter::ExchangesUnpaired), 1);
}

#[test]
fn a_connection_that_is_not_read_hides_requests_and_one_that_ends_does_not() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, ASK, MS);
    driver.data(1, SEND, 0, ANSWER, 2 * MS);
    driver.close(1, CLOSE_ALL, 0, ANSWER.len() as u32, 3 * MS);
    assert_eq!((driver.seen.opaque, driver.seen.left.as_slice()), (0, &[1][..]));
    driver.open(2, OPEN_BIRTH);
    driver.data(2, RECEIVE, 0, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 4 * MS);
    assert_eq!(driver.seen.opaque, 1, "TLS of a server");
    driver.open(3, OPEN_BIRTH | OPEN_CLIENT);
    driver.data(3, SEND, 0, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 5 * MS);
    assert_eq!(driver.seen.opaque, 1, "TLS of a client is no request of its own");
}

#[test]
fn what_may_be_a_request_and_is_not_understood_is_told_until_the_first_that_is() {
    const TURNS: usize = 4;
    let mut driver = Driver::new();
    for (connection, flags) in [(1, 0), (2, OPEN_BIRTH)] {
        driver.seen = Seen::default();
        driver.open(connection, flags);
        for turn in 0..TURNS {
            let (asked, answered) = ((turn * ASK.len()) as u32, (turn * ANSWER.len()) as u32);
            driver.data(connection, RECEIVE, asked, ASK, 2 * turn as u64);
            driver.data(connection, SEND, answered, ANSWER, 2 * turn as u64 + 1);
        }
        let Seen { opened, undecoded, undecoded_answered, .. } = driver.seen;
        let expected = if flags == OPEN_BIRTH { (TURNS, 0) } else { (opened, TURNS - opened + 1) };
        assert!(opened > 0);
        assert_eq!((opened, undecoded), expected);
        // The first response does, and then the next request: nothing is left to wait for.
        assert_eq!(undecoded_answered, if flags == OPEN_BIRTH { vec![] } else { vec![1, 2] });
    }
}

#[test]
fn an_idle_connection_from_before_the_agent_starts_at_its_next_request() {
    // So many bytes had been sent and received.
    const BEFORE: u32 = 500;
    for (asks, answers) in [(RECEIVE, SEND), (SEND, RECEIVE)] {
        let mut driver = Driver::new();
        driver.open(1, 0);
        driver.data(1, asks, BEFORE, ASK, MS);
        driver.data(1, answers, BEFORE, ANSWER, 2 * MS);
        assert_eq!(driver.seen.targets(), []);
        driver.data(1, asks, BEFORE + ASK.len() as u32, b"GET /b HTTP/1.1\r\n\r\n", 3 * MS);
        driver.data(1, answers, BEFORE + ANSWER.len() as u32, ANSWER, 4 * MS);
        assert_eq!(driver.seen.targets(), [("/a".to_owned(), Some(200)), ("/b".to_owned(), Some(200))]);
        let (_, first) = &driver.seen.exchanges[0];
        assert_eq!((first.start_ns, first.end_ns), (MS, 2 * MS));
        assert_eq!(first.request_offset, u64::from(BEFORE));
        assert_eq!(driver.seen.of(Counter::ExchangesBeforeBoundary), 0);
    }
}

#[test]
fn a_connection_on_which_nothing_was_answered_yet_was_joined_within_a_request() {
    let mut driver = Driver::new();
    driver.open(1, 0);
    driver.data(1, RECEIVE, 500, ASK, MS);
    driver.data(1, SEND, 0, ANSWER, 2 * MS);
    driver.close(1, CLOSE_ALL, 0, ANSWER.len() as u32, 3 * MS);
    for n in 0..3 {
        driver.tick((500 + n) * MS);
    }
    assert_eq!(driver.seen.targets(), []);
    assert_eq!(driver.seen.of(Counter::ExchangesBeforeBoundary), 1);
}

/// A client whose first exchanges went by unseen: whichever of its ends is seen first, each request has its place in the
/// stream.
#[test]
fn a_connection_that_is_met_at_either_end_has_its_requests_where_they_are() {
    let (request, response) = (ASK.len() as u32, ANSWER.len() as u32);
    for begins_with_response in [true, false] {
        let mut driver = Driver::new();
        driver.open(1, OPEN_CLIENT);
        for number in 40..45 {
            if number > 40 || !begins_with_response {
                driver.data(1, SEND, number * request, ASK, u64::from(2 * number) * MS);
            }
            driver.data(1, RECEIVE, number * response, ANSWER, u64::from(2 * number + 1) * MS);
        }
        let places: Vec<_> =
            driver.seen.exchanges.iter().map(|(_, exchange)| exchange.request_offset).collect();
        let last = u64::from(44 * request);
        assert_eq!(places.last(), Some(&last), "{begins_with_response}: {places:?}");
        assert!(
            places.iter().all(|place| place % u64::from(request) == 0 && *place >= u64::from(40 * request))
        );
    }
}
