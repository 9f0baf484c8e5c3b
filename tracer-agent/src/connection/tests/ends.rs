//! Connections that end before their exchanges do.

use tracer_common::{CLOSE_ALL, CLOSE_EARLY, CLOSE_SEND, CLOSE_UNREAD, CLOSE_UNSEEN, OPEN_CLOSED};

use super::*;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n";
const SENT_BYTES: u32 = ASK.len() as u32;

fn client() -> Driver {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH | OPEN_CLIENT);
    driver.data(1, SEND, 0, ASK, MS);
    driver
}

fn outcomes(driver: &Driver) -> Vec<Outcome> {
    driver.seen.exchanges.iter().map(|(_, exchange)| exchange.outcome).collect()
}

#[test]
fn a_client_that_leaves_its_answer_unread_has_its_span_at_once() {
    for answer in [&b""[..], HEAD] {
        let mut driver = client();
        if !answer.is_empty() {
            driver.data(1, RECEIVE, 0, answer, 2 * MS);
        }
        driver.close(1, CLOSE_ALL | CLOSE_UNREAD, 0, SENT_BYTES, 3 * MS);
        driver.tick(4 * MS);
        driver.tick(200 * MS);
        assert_eq!(outcomes(&driver), [Outcome::Left]);
        assert_eq!(driver.seen.exchanges[0].1.end_ns, 3 * MS);
    }
}

#[test]
fn what_may_still_be_read_is_waited_for() {
    // After a half-close and the server's end, and after a reset, the process may read what is there.
    for (half_closed, error) in [(true, 0), (false, libc::ECONNRESET as u16)] {
        let mut driver = client();
        if half_closed {
            driver.close(1, CLOSE_SEND, 0, SENT_BYTES, 2 * MS);
        }
        driver.close(1, CLOSE_ALL | CLOSE_UNREAD, error, SENT_BYTES, 3 * MS);
        driver.tick(1000 * MS);
        assert!(outcomes(&driver).is_empty());
        driver.data(1, RECEIVE, 0, ANSWER, 1001 * MS);
        assert_eq!(outcomes(&driver), [Outcome::Complete], "{half_closed} {error}");
    }
}

#[test]
fn a_server_that_leaves_the_rest_of_a_request_has_not_answered() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n", MS);
    driver.close(1, CLOSE_ALL | CLOSE_UNREAD, 0, 0, 2 * MS);
    driver.tick(3 * MS);
    driver.tick(200 * MS);
    assert_eq!(outcomes(&driver), [Outcome::NoResponse]);
}

#[test]
fn a_client_that_closes_first_has_left_its_response_or_has_waited_in_vain() {
    for error in [0, libc::ECONNRESET as u16] {
        for (answer, outcome) in [(HEAD, Outcome::Left), (&b""[..], Outcome::NoResponse)] {
            let mut driver = client();
            if !answer.is_empty() {
                driver.data(1, RECEIVE, 0, answer, 2 * MS);
            }
            driver.close(1, CLOSE_SEND, 0, SENT_BYTES, 3 * MS);
            driver.close(1, CLOSE_ALL | CLOSE_EARLY, error, SENT_BYTES, 4 * MS);
            driver.tick(5 * MS);
            driver.tick(200 * MS);
            assert_eq!(outcomes(&driver), [outcome]);
        }
    }
}

#[test]
fn a_server_that_closes_first_has_cut_its_response() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, ASK, MS);
    driver.data(1, SEND, 0, HEAD, 2 * MS);
    driver.close(1, CLOSE_SEND, 0, HEAD.len() as u32, 3 * MS);
    driver.close(1, CLOSE_ALL | CLOSE_EARLY, 0, HEAD.len() as u32, 4 * MS);
    driver.tick(5 * MS);
    driver.tick(200 * MS);
    assert_eq!(outcomes(&driver), [Outcome::Truncated]);
}

#[test]
fn at_the_end_a_closed_connection_ends_as_it_is_and_an_open_request_is_counted() {
    let mut driver = client();
    driver.data(1, RECEIVE, 0, HEAD, 2 * MS);
    driver.close(1, CLOSE_ALL | CLOSE_UNREAD, libc::ECONNRESET as u16, SENT_BYTES, 3 * MS);
    driver.open(2, OPEN_BIRTH);
    driver.data(2, RECEIVE, 0, ASK, 3 * MS);
    driver.table.finish(4 * MS, &mut driver.seen);
    assert_eq!(outcomes(&driver), [Outcome::Reset]);
    assert_eq!(driver.seen.of(Counter::ExchangesOpen), 1);
}

#[test]
fn open_requests_of_connections_that_are_forgotten_are_counted() {
    let mut driver = Driver::new();
    for connection in 1..=17 {
        driver.open(connection, OPEN_BIRTH);
        driver.data(connection, RECEIVE, 0, ASK, connection * MS);
    }
    assert_eq!(driver.seen.of(Counter::ConnectionsEvicted), 1);
    assert_eq!(driver.seen.of(Counter::ExchangesOpen), 1);
}

#[test]
fn what_an_opaque_connection_carries_is_not_lost() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, b"SSH-2.0-OpenSSH_9.2\r\n", MS);
    assert_eq!(driver.seen.opaque, 1);
    driver.close(1, CLOSE_ALL, 0, 5000, 2 * MS);
    driver.tick(3 * MS);
    driver.tick(200 * MS);
    driver.table.finish(300 * MS, &mut driver.seen);
    assert_eq!(driver.seen.of(Counter::BytesLost), 0);
}

#[test]
fn bytes_of_http_0_9_are_not_lost() {
    const REST: &[u8] = &[b'x'; 50_000];
    let answer = b"<html>hello</html>\n";
    let sent = (answer.len() + REST.len()) as u32;
    // A request without a version: nothing of the connection is shown from then on. A response without a head: it is
    // read as long as a head can be.
    for (request, is_shown, counter) in
        [(&b"GET /a\r\n"[..], false, Counter::ConnectionsOther), (ASK, true, Counter::ExchangesUnparsed)]
    {
        let mut driver = Driver::new();
        driver.open(1, OPEN_BIRTH);
        driver.data(1, RECEIVE, 0, request, MS);
        driver.data(1, SEND, 0, answer, 2 * MS);
        for part in REST.chunks(if is_shown { 25_000 } else { usize::MAX }).enumerate().filter(|_| is_shown) {
            let offset = answer.len() + part.0 * 25_000;
            driver.data(1, SEND, offset as u32, part.1, 3 * MS);
        }
        driver.close(1, CLOSE_SEND, 0, sent + 1, 3 * MS);
        driver.close(1, CLOSE_ALL, 0, sent + 1, 3 * MS);
        driver.tick(4 * MS);
        driver.tick(200 * MS);
        driver.table.finish(300 * MS, &mut driver.seen);
        let seen = &driver.seen;
        let unanswered =
            seen.exchanges.iter().filter(|(_, made)| made.outcome == Outcome::NoResponse).count();
        let told = seen.of(counter) + unanswered as u64;
        assert_eq!((seen.of(Counter::BytesLost), told), (0, 1), "{:?}", seen.counts);
    }
}

#[test]
fn a_connection_whose_end_no_record_told_ends_counted_and_its_request_with_an_unknown_end() {
    let mut driver = client();
    driver.data(1, RECEIVE, 0, HEAD, 2 * MS);
    driver.open(2, OPEN_BIRTH);
    driver.data(2, RECEIVE, 0, ASK, 2 * MS);
    driver.open(3, OPEN_BIRTH);
    driver.data(3, RECEIVE, 0, ASK, 90 * MS);
    let idle = driver.table.idle_since(50 * MS);
    assert_eq!(
        idle.iter().map(|it| (it.number, it.is_replaced)).collect::<Vec<_>>(),
        [(1, false), (2, false)]
    );
    for connection in 1..4 {
        driver.close(connection, CLOSE_ALL | CLOSE_UNSEEN, 0, 0, 50 * MS);
    }
    driver.tick(200 * MS);
    assert_eq!(outcomes(&driver), [Outcome::Lost; 2]);
    assert_eq!(driver.table.len(), 1, "one has moved bytes since the sockets were looked at");
    let seen = &driver.seen;
    assert_eq!((seen.of(Counter::ConnectionsEndUnseen), seen.of(Counter::BytesLost)), (2, 0));
    assert!(driver.table.idle_since(50 * MS).is_empty());
}

#[test]
fn a_connection_whose_addresses_a_later_one_has_is_told_as_replaced() {
    let mut driver = Driver::new();
    for connection in [1, 2] {
        let record = OpenRecord {
            kind: RecordKind::Open as u8,
            flags: OPEN_BIRTH,
            family: libc::AF_INET as u16,
            connection,
            time_ns: connection * MS,
            send_first: SENT,
            receive_first: RECEIVED,
            local_port: 80,
            remote_port: 4000,
            ..OpenRecord::default()
        };
        driver.table.open(&record, &[], &mut driver.seen);
    }
    let idle = driver.table.idle_since(10 * MS);
    assert_eq!(
        idle.iter().map(|it| (it.number, it.is_replaced)).collect::<Vec<_>>(),
        [(1, true), (2, false)]
    );
}

#[test]
fn a_request_that_is_read_when_its_client_is_gone_does_not_stay_open() {
    let mut driver = Driver::new();
    // A reset came before the first read.
    driver.open(1, OPEN_BIRTH | OPEN_CLOSED);
    driver.data(1, RECEIVE, 0, ASK, 5 * MS);
    // Another connection was reset between two requests.
    driver.open(2, OPEN_BIRTH);
    driver.data(2, RECEIVE, 0, ASK, MS);
    driver.data(2, SEND, 0, ANSWER, 2 * MS);
    driver.close(2, CLOSE_ALL | CLOSE_UNREAD, libc::ECONNRESET as u16, ANSWER.len() as u32, 3 * MS);
    driver.data(2, RECEIVE, SENT_BYTES, ASK, 5 * MS);
    driver.tick(50 * MS);
    driver.tick(200 * MS);
    assert_eq!(outcomes(&driver), [Outcome::Complete, Outcome::Reset, Outcome::Reset]);
    assert!(driver.seen.exchanges[1..].iter().all(|(_, exchange)| exchange.end_ns == 5 * MS));
    assert_eq!(driver.seen.left.len(), 2);
}

#[test]
fn a_last_byte_that_is_told_after_the_reset_that_it_caused_is_no_loss() {
    const TLS: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (asked, length) in [(ASK, 1), (ASK, 2), (TLS, 1), (TLS, 2)] {
        let mut driver = Driver::new();
        driver.open(1, OPEN_BIRTH);
        driver.data(1, RECEIVE, 0, asked, MS);
        driver.data(1, SEND, 0, ANSWER, 2 * MS);
        driver.close(1, CLOSE_ALL, libc::EPIPE as u16, ANSWER.len() as u32 + length, 3 * MS);
        driver.data(1, SEND, ANSWER.len() as u32, &b"xy"[..length as usize], 2 * MS);
        driver.tick(4 * MS);
        driver.tick(200 * MS);
        assert!(driver.table.is_empty());
        for counter in [Counter::ConnectionsUnknownStart, Counter::BytesLost] {
            assert_eq!(driver.seen.of(counter), 0, "{length} {counter:?}");
        }
    }
}

#[test]
fn a_last_byte_that_is_read_while_a_reset_comes_is_no_loss() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, RECEIVE, 0, b"G", MS);
    let record = CloseRecord {
        kind: RecordKind::Close as u8,
        state: CLOSE_ALL,
        error: libc::ECONNRESET as u16,
        connection: 1,
        time_ns: 2 * MS,
        send_end: SENT,
        receive_end: RECEIVED.wrapping_add(2),
        ..CloseRecord::default()
    };
    driver.table.close(&record, &mut driver.seen);
    // The thread that reads it does not run at once.
    driver.tick(3 * MS);
    driver.tick(300 * MS);
    driver.data(1, RECEIVE, 1, b"E", 301 * MS);
    for counter in [Counter::ConnectionsUnknownStart, Counter::BytesLost] {
        assert_eq!(driver.seen.of(counter), 0, "{counter:?}");
    }
    for at in [302, 500, 501, 502] {
        driver.tick(at * MS);
    }
    assert!(driver.table.is_empty());
}

#[test]
fn bytes_that_are_too_few_to_tell_a_protocol_are_not_lost() {
    let mut driver = Driver::new();
    driver.open(1, OPEN_BIRTH);
    driver.data(1, SEND, 0, b"H", MS);
    driver.data(1, SEND, 1, b"TT", 2 * MS);
    driver.close(1, CLOSE_ALL, 0, 3, 3 * MS);
    driver.tick(4 * MS);
    driver.tick(200 * MS);
    assert_eq!(driver.seen.left, [1]);
    assert_eq!((driver.seen.of(Counter::BytesLost), driver.seen.of(Counter::ConnectionsOther)), (0, 1));
}
