//! Requests into which another program inserts bytes on their way: the positions count them, the process's bytes do not.

use super::*;

const LINE: u32 = 70;
const ASKED: u32 = ASK.len() as u32;
/// A request that is as long as a header may be.
const LONG: &[u8] =
    b"GET /a HTTP/1.1\r\nX-Long: 0123456789012345678901234567890123456789012345678901\r\n\r\n";
const LONG_ASKED: u32 = LONG.len() as u32;
const ANSWERED: u32 = ANSWER.len() as u32;

/// Requests and responses, one after the other; each request has the line in it.
fn exchange(driver: &mut Driver, n: u32) {
    let time_ns = u64::from(n) * 10 * MS;
    driver.data(1, SEND, n * (LINE + ASKED) + LINE, ASK, time_ns + 1);
    driver.data(1, RECEIVE, n * ANSWERED, ANSWER, time_ns + 2);
}

#[test]
fn inserted_bytes_are_no_gap_if_the_connection_is_seen_from_its_beginning() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_CLIENT);
    (0..4).for_each(|n| exchange(&mut driver, n));
    driver.close(1, CLOSE_ALL, 0, 4 * (LINE + ASKED) + 1, 100 * MS);
    driver.tick(200 * MS);
    assert_eq!(driver.seen.targets(), vec![("/a".to_owned(), Some(200)); 4]);
    assert_eq!(driver.seen.of(Counter::BytesLost), 0);
    let offsets: Vec<u64> = driver.seen.exchanges.iter().map(|(_, it)| it.request_offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3].map(|n| n * u64::from(ASKED)), "as the process sent them");
    let told: Vec<(u32, bool)> = driver.seen.requests.clone();
    assert_eq!(told, [0, 1, 2, 3].map(|n| (n * LINE, true)), "the other end sees them so much later");
    assert_eq!(driver.seen.left, [1]);
}

#[test]
fn a_policy_names_the_position_behind_inserted_bytes() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_CLIENT);
    let head = b"POST /up HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";
    driver.data(1, SEND, LINE, head, 1);
    let position = SENT.wrapping_add(LINE + head.len() as u32 + 100_000);
    assert_eq!(driver.seen.policies, [(1, Direction::Send, CapturePolicy::BodyUntil { position })]);
}

#[test]
fn missing_bytes_stay_a_gap_where_they_can_be_something_else() {
    for (flags, first, bytes) in [
        // Nobody saw the connection begin, or its process sends no requests.
        (0, LINE, ASK),
        (OPEN_CLIENT, 2000, ASK),
        // Less than a header, or more: another process has sent it.
        (OPEN_CLIENT, 32, ASK),
        (OPEN_CLIENT, 700, ASK),
        (OPEN_CLIENT, LINE, b"no request at all\r\n\r\n"),
    ] {
        let mut driver = Driver::new();
        driver.open(1, flags);
        driver.data(1, SEND, first, bytes, 1);
        driver.data(1, RECEIVE, 0, ANSWER, 2);
        assert!(driver.seen.exchanges.is_empty(), "{flags} {first}");
    }
    // Bytes of an earlier send whose record is late.
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH | OPEN_CLIENT);
    driver.data(1, SEND, LONG_ASKED, b"GET /b HTTP/1.1\r\n\r\n", 2);
    driver.data(1, SEND, 0, LONG, 1);
    driver.data(1, RECEIVE, 0, &[ANSWER, ANSWER].concat(), 3);
    assert_eq!(driver.seen.targets(), [("/a".to_owned(), Some(200)), ("/b".to_owned(), Some(200))]);
    assert_eq!(driver.seen.requests, [(0, false); 2]);
}

#[test]
fn bytes_of_a_record_that_came_before_the_open_record_are_not_inserted() {
    let mut driver = Driver::new();
    // The ring had no space for the open record. The next send finds some: the position is then behind the first request.
    driver.data(1, SEND, 0, LONG, 1);
    driver.open(1, OPEN_CLIENT);
    driver.data(1, SEND, LONG_ASKED, b"GET /b HTTP/1.1\r\n\r\n", 2);
    driver.data(1, RECEIVE, 0, &[ANSWER, ANSWER].concat(), 3);
    assert_eq!(driver.seen.of(Counter::BytesLost), u64::from(LONG_ASKED));
    assert!(driver.seen.requests.iter().all(|request| *request == (0, false)), "{:?}", driver.seen.requests);
    assert!(driver.seen.left.is_empty(), "no other program inserts bytes");
}

#[test]
fn an_exchange_that_went_by_unseen_is_not_taken_for_inserted_bytes() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_CLIENT);
    // The first request and its response were not shown, and no record tells that.
    driver.data(1, SEND, LONG_ASKED, ASK, MS);
    driver.data(1, RECEIVE, ANSWERED, ANSWER, 2 * MS);
    driver.tick(100 * MS);
    for n in 2..6 {
        driver.data(1, SEND, LONG_ASKED + (n - 1) * ASKED, ASK, u64::from(n) * 100 * MS);
        driver.data(1, RECEIVE, n * ANSWERED, ANSWER, (u64::from(n) * 100 + 1) * MS);
    }
    driver.close(1, CLOSE_ALL, 0, LONG_ASKED + 5 * ASKED + 1, 1000 * MS);
    driver.tick(2000 * MS);
    driver.tick(2001 * MS);
    assert_eq!(driver.seen.of(Counter::BytesLost), u64::from(LONG_ASKED + ANSWERED));
    let (first, later) = driver.seen.requests.split_first().expect("requests");
    assert!(first.1, "nothing spoke against it yet");
    assert_eq!(driver.seen.not_lengthened, [1], "what was said of the first is taken back");
    assert!(!later.is_empty() && later.iter().all(|request| *request == (0, false)), "{later:?}");
}
