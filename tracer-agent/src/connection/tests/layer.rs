//! Connections whose bytes are read above the transport.

use super::*;

const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

impl Driver {
    /// Bytes of a layer, carried by a record at this offset on the wire.
    fn decrypted(&mut self, connection: u64, direction: u8, wire: u32, bytes: &[u8], time_ns: u64) {
        let first = if direction == SEND { SENT } else { RECEIVED };
        let header = DataHeader {
            kind: RecordKind::Data as u8,
            direction,
            flags: FLAG_TURN | FLAG_PRE_SEND,
            connection,
            time_ns,
            start_ns: time_ns,
            pid: 1,
            tid: 1,
            position: first.wrapping_add(wire),
            length: bytes.len() as u32,
            ..DataHeader::default()
        };
        self.table.decrypted(&header, bytes, &mut self.seen);
    }

    /// Offset and target of each exchange.
    fn offsets(&self) -> Vec<u64> {
        self.seen.exchanges.iter().map(|(_, exchange)| exchange.request_offset).collect()
    }
}

#[test]
fn an_opaque_connection_is_read_once_its_layer_is_and_offsets_are_those_on_the_wire() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, HELLO, 1);
    assert_eq!((driver.seen.of(Counter::ConnectionsTls), driver.seen.opaque), (1, 1));
    driver.table.begin_layer(1, true);
    driver.decrypted(1, RECEIVE, 500, ASK, 10);
    driver.decrypted(1, SEND, 700, ANSWER, 20);
    driver.decrypted(1, RECEIVE, 600, ASK, 30);
    driver.decrypted(1, SEND, 800, ANSWER, 40);
    assert_eq!(driver.seen.targets(), [one("/a"), one("/a")].concat());
    assert_eq!(driver.offsets(), [500, 600]);
    let times = driver.seen.exchanges.iter().map(|(_, made)| (made.start_ns, made.end_ns));
    assert_eq!(times.collect::<Vec<_>>(), [(10, 20), (30, 40)]);
    assert_eq!(driver.seen.policies.len(), 2, "the kernel still copies nothing of the wire");
}

#[test]
fn requests_in_one_record_have_offsets_of_their_own() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.table.begin_layer(1, true);
    driver.decrypted(1, RECEIVE, 500, &[ASK, ASK].concat(), 10);
    driver.decrypted(1, SEND, 700, &[ANSWER, ANSWER].concat(), 20);
    assert_eq!(driver.offsets(), [500, 500 + ASK.len() as u64]);
}

#[test]
fn a_layer_that_is_met_in_the_middle_begins_with_a_request() {
    let mut driver = Driver::new();
    driver.open(1, 0);
    driver.data(1, SEND, 0, HELLO, 1);
    driver.decrypted(1, SEND, 100, b"the rest of a response", 10);
    for turn in 0..4 {
        let time = 20 + 20 * u64::from(turn);
        driver.decrypted(1, RECEIVE, 1_000 + turn * 100, ASK, time);
        driver.decrypted(1, SEND, 1_000 + turn * 100, ANSWER, time + 10);
    }
    assert!(!driver.offsets().is_empty());
    assert!(driver.offsets().iter().all(|offset| offset % 100 == 0), "{:?}", driver.offsets());
    assert_eq!(driver.seen.of(Counter::ExchangesUnpaired), 0);
}

#[test]
fn a_response_that_is_told_before_its_request_waits_in_a_layer_too() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.table.begin_layer(1, true);
    driver.decrypted(1, SEND, 700, ANSWER, 20);
    driver.decrypted(1, RECEIVE, 500, ASK, 10);
    assert_eq!(driver.seen.targets(), one("/a"));
}

#[test]
fn what_waits_on_the_wire_is_let_go_when_a_layer_begins() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    // The bytes before these do not come.
    driver.data(1, RECEIVE, 100, HELLO, 1);
    assert!(driver.table.retained() > 0);
    driver.table.begin_layer(1, true);
    driver.decrypted(1, RECEIVE, 500, ASK, 10);
    driver.decrypted(1, SEND, 700, ANSWER, 20);
    assert_eq!((driver.seen.targets(), driver.table.retained()), (one("/a"), 0));
    driver.close(1, CLOSE_ALL, 0, 5_000, 2 * MS);
    driver.tick(3 * MS);
    driver.tick(4 * MS);
    assert!(driver.table.is_empty(), "nothing is waited for");
}

#[test]
fn memory_of_a_layer_is_given_up() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.table.begin_layer(1, true);
    // Heads that do not end, far beyond the bound of the table.
    for n in 0..16 {
        let number = 2 + n;
        driver.open(number, OPEN_BIRTH);
        driver.table.begin_layer(number, true);
        driver.decrypted(number, RECEIVE, 0, b"GET /a HTTP/1.1\r\nA: ", MS);
        for part in 0..12 {
            driver.decrypted(number, RECEIVE, 5_000 * (part + 1), &[b'x'; 5000], 2 * MS + u64::from(part));
        }
    }
    driver.tick(2_000 * MS);
    assert!(driver.table.retained() <= 256 << 10, "{}", driver.table.retained());
    assert!(driver.seen.of(Counter::ExchangesForgotten) > 0);
}

#[test]
fn what_a_layer_has_open_ends_with_the_connection() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.table.begin_layer(1, true);
    driver.decrypted(1, RECEIVE, 500, ASK, MS);
    driver.close(1, CLOSE_ALL, 0, 5_000, 2 * MS);
    for n in 0..3 {
        driver.tick((500 + n) * MS);
    }
    assert_eq!(driver.seen.exchanges[0].1.outcome, Outcome::NoResponse);
    assert_eq!(driver.seen.of(Counter::BytesLost), 0, "how much the wire carried is nothing that is missing");
    assert!(driver.table.is_empty());
}
