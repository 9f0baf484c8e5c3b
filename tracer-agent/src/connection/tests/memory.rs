//! The memory that the messages of all connections take has one bound.

use tracer_common::{CLOSE_ALL, OPEN_BIRTH, RECEIVE, SEND};

use super::{ANSWER, ASK, Driver, MS, one};
use crate::ledger::Counter;

/// Connections that the table holds.
const CONNECTIONS: u64 = 16;
const HEAD_BYTES: usize = 40_000;
const BOUND: usize = 256 << 10;

/// The beginning of a head that has no end yet.
fn half_head() -> Vec<u8> {
    let mut head = b"GET /half HTTP/1.1\r\nX: ".to_vec();
    head.resize(HEAD_BYTES, b'x');
    head
}

/// Connections whose processes have received these bytes at this offset; the bound holds all the time.
fn all_with(offset: u32, bytes: &[u8]) -> Driver {
    let mut driver = Driver::new();
    for connection in 1..=CONNECTIONS {
        driver.open(connection, OPEN_BIRTH);
        driver.data(connection, RECEIVE, offset, bytes, connection * 2 * MS);
        assert!(driver.table.retained() <= BOUND, "{}", driver.table.retained());
    }
    driver
}

#[test]
fn heads_that_do_not_end_are_given_up_and_counted() {
    let mut driver = all_with(0, &half_head());
    let given_up = driver.seen.of(Counter::ExchangesForgotten);
    assert!((4..CONNECTIONS - 2).contains(&given_up), "{given_up}");

    // The newest head is still there, and ends.
    driver.data(CONNECTIONS, RECEIVE, HEAD_BYTES as u32, b"\r\n\r\n", 50 * MS);
    driver.data(CONNECTIONS, SEND, 0, ANSWER, 51 * MS);
    assert_eq!(driver.seen.targets(), one("/half"));

    for connection in 1..=CONNECTIONS {
        driver.close(connection, CLOSE_ALL, 0, 0, 60 * MS);
    }
    driver.tick(200 * MS);
    driver.tick(400 * MS);
    assert_eq!((driver.table.len(), driver.table.retained()), (0, 0));
    let unparsed = driver.seen.of(Counter::ExchangesUnparsed);
    assert_eq!(given_up + unparsed, CONNECTIONS - 1, "each request without an exchange is counted once");
}

#[test]
fn a_connection_that_gave_up_a_message_is_read_again() {
    let mut driver = all_with(0, &half_head());
    let (mut received, mut sent) = (HEAD_BYTES as u32, 0);
    driver.data(1, RECEIVE, received, b"\r\n\r\n", 50 * MS);
    received += 4;
    for round in 0..3 {
        driver.data(1, SEND, sent, ANSWER, (60 + 2 * round) * MS);
        sent += ANSWER.len() as u32;
        driver.data(1, RECEIVE, received, ASK, (61 + 2 * round) * MS);
        received += ASK.len() as u32;
    }
    assert_eq!(driver.seen.targets(), [one("/a"), one("/a")].concat());
}

#[test]
fn requests_that_wait_for_their_responses_are_within_the_bound() {
    let mut head = half_head();
    head.extend_from_slice(b"\r\n\r\n");
    let mut driver = all_with(0, &head);
    assert!(driver.seen.of(Counter::ExchangesForgotten) > 3);
    // What is answered takes no memory any more.
    driver.data(CONNECTIONS, SEND, 0, ANSWER, 50 * MS);
    let before = driver.table.retained();
    driver.tick(2_000 * MS);
    assert!(driver.table.retained() <= before);
}

#[test]
fn small_requests_that_wait_long_are_kept_before_large_ones() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, ASK, MS);
    // The sweep counts the small request.
    driver.tick(2_000 * MS);
    for connection in 2..=CONNECTIONS {
        driver.open(connection, OPEN_BIRTH);
        driver.data(connection, RECEIVE, 0, &half_head(), (2_000 + 2 * connection) * MS);
    }
    assert!(driver.seen.of(Counter::ExchangesForgotten) > 3);
    driver.data(1, SEND, 0, ANSWER, 3_000 * MS);
    assert_eq!(driver.seen.targets(), one("/a"));
}

#[test]
fn segments_that_wait_for_others_are_within_the_bound() {
    // The first bytes never come.
    let mut driver = all_with(100, &half_head());
    for connection in 1..=CONNECTIONS {
        driver.close(connection, CLOSE_ALL, 0, 0, 60 * MS);
    }
    for round in 1..=3 {
        driver.tick(round * 200 * MS);
    }
    assert_eq!((driver.table.len(), driver.table.retained()), (0, 0));
}
