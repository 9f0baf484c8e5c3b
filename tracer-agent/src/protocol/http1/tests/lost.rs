//! Streams with gaps, and those that are seen from mid-stream on.

use super::*;

/// Which target got which status, with those that are certain only.
fn pairs(driver: &Driver) -> Vec<(String, Option<u16>)> {
    let complete = driver.seen().into_iter().filter(|seen| seen.outcome == Outcome::Complete);
    complete.map(|seen| (seen.target, seen.status)).collect()
}

#[test]
fn a_response_whose_end_was_lost_does_not_take_the_next_ones_place() {
    for answer in [
        "HTTP/1.1 202 B\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 202 B\r\nContent-Length: 2\r\n\r\nok",
    ] {
        // The next request is seen before the loss is, or after it.
        for early in [true, false] {
            let mut driver = Driver::new(Start::Birth);
            driver.call(Side::Request, b"GET /1 HTTP/1.1\r\n\r\n");
            driver.call(Side::Response, b"HTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello");
            if early {
                driver.call(Side::Request, b"GET /2 HTTP/1.1\r\n\r\n");
            }
            driver.now += 1;
            driver.parser.gap(Side::Response, 7, driver.now, &mut driver.out);
            if !early {
                driver.call(Side::Request, b"GET /2 HTTP/1.1\r\n\r\n");
            }
            driver.call(Side::Response, answer.as_bytes());
            driver.call(Side::Request, b"GET /3 HTTP/1.1\r\n\r\n");
            driver.call(Side::Response, b"HTTP/1.1 203 C\r\nContent-Length: 0\r\n\r\n");
            driver.call(Side::Request, b"GET /4 HTTP/1.1\r\n\r\n");
            driver.call(Side::Response, b"HTTP/1.1 204 D\r\n\r\n");
            let pairs = pairs(&driver);
            let right = [("/2", 202), ("/3", 203), ("/4", 204)];
            for (target, status) in &pairs {
                assert!(right.iter().any(|(t, s)| t == target && Some(*s) == *status), "{pairs:?} {early}");
            }
            assert!(pairs.iter().any(|(target, _)| target == "/4"), "{pairs:?}: it never heals");
        }
    }
}

#[test]
fn requests_that_come_late_are_not_taken_for_those_behind_the_last_response() {
    let request = |n: u64| format!("GET /{n} HTTP/1.1\r\n\r\n");
    let response = |n: u64| format!("HTTP/1.1 {} A\r\nContent-Length: 0\r\n\r\n", 200 + n);
    // The stream of requests has a hole, so the first ones wait; the responses do not.
    for late in 1..4 {
        let mut driver = Driver::new(Start::MidStream);
        driver.parser.skip(Q, 0, &Call::default(), &mut driver.out);
        driver.now = 100;
        driver.call(A, response(late).as_bytes());
        for n in 1..=late {
            driver.now = 50 + n;
            driver.call(Q, request(n).as_bytes());
        }
        driver.now = 100;
        for n in late + 1..late + 4 {
            driver.call(Q, request(n).as_bytes());
            driver.call(A, response(n).as_bytes());
        }
        let pairs = pairs(&driver);
        assert!(
            pairs
                .iter()
                .all(|(target, status)| *status == Some(200 + target[1..].parse::<u16>().expect("a number"))),
            "{pairs:?}"
        );
        assert!(pairs.len() >= 2, "{pairs:?}: it never heals");
    }
}

#[test]
fn a_body_that_ended_unseen_ends_with_the_last_byte_that_was_seen() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Side::Request, b"GET /1 HTTP/1.1\r\n\r\n");
    driver.call(Side::Response, b"HTTP/1.1 200 A\r\nContent-Length: 1000\r\n\r\n");
    let seen = driver.now;
    driver.parser.gap(Side::Response, 1000, seen + 240_000_000_000, &mut driver.out);
    let exchanges = driver.exchanges();
    assert_eq!((exchanges[0].end_ns, exchanges[0].outcome), (seen, Outcome::Lost));
}

#[test]
fn losses_far_apart_do_not_end_a_connection() {
    let mut driver = Driver::new(Start::Birth);
    for n in 0..30 {
        driver.call(Side::Request, format!("GET /{n} HTTP/1.1\r\n\r\n").as_bytes());
        driver.parser.gap(Side::Response, 40, driver.now, &mut driver.out);
        for _ in 0..2 {
            driver.call(Side::Request, b"GET /again HTTP/1.1\r\n\r\n");
            driver.call(Side::Response, b"HTTP/1.1 200 A\r\nContent-Length: 0\r\n\r\n");
        }
    }
    assert_eq!(driver.count(Counter::ConnectionsGivenUp), 0);
    assert!(pairs(&driver).len() >= 30);
}

#[test]
fn a_gap_in_a_body_is_part_of_it_and_a_gap_elsewhere_loses_what_is_open() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"GET /1 HTTP/1.1\r\n\r\n");
    driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    driver.parser.gap(A, 99, 50, &mut driver.out);
    driver.call(A, b"x");
    assert_eq!(driver.seen(), [seen("GET", "/1", 200, 0, 100)]);
    driver.call(Q, b"GET /2 HTTP/1.1\r\n\r\n");
    driver.parser.gap(A, 10, 60, &mut driver.out);
    assert_eq!(driver.seen()[1].outcome, Outcome::Lost);
    // The connection heals: an exchange goes by unreported, the next is there.
    for target in ["/3", "/4"] {
        driver.call(Q, format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
        driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    assert_eq!(driver.seen()[2..], [seen("GET", "/4", 200, 0, 2)]);
    assert_eq!(driver.count(Counter::ExchangesBeforeBoundary), 1);
}

#[test]
fn requests_whose_responses_are_lost_are_counted_while_no_boundary_is_certain() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"GET /1 HTTP/1.1\r\n\r\n");
    driver.parser.gap(A, 40, 10, &mut driver.out);
    assert_eq!(driver.count(Counter::ExchangesBeforeBoundary), 0);
    // The response of each is lost, or the gap is known only when the next one has come.
    for _ in 0..3 {
        driver.call(Q, b"GET /lost HTTP/1.1\r\n\r\n");
        driver.parser.gap(A, 40, 20, &mut driver.out);
    }
    driver.call(Q, b"GET /lost HTTP/1.1\r\n\r\n");
    driver.call(Q, b"GET /unreported HTTP/1.1\r\n\r\n");
    driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    driver.call(Q, b"GET /2 HTTP/1.1\r\n\r\n");
    driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(driver.seen()[1..], [seen("GET", "/2", 200, 0, 2)]);
    assert_eq!(driver.count(Counter::ExchangesBeforeBoundary), 3 + 1 + 1);
}

#[test]
fn a_joined_connection_reports_from_the_first_certain_boundary() {
    let mut driver = Driver::new(Start::MidStream);
    driver.call(A, b"rest of a body");
    for target in ["/1", "/2", "/3"] {
        driver.call(Q, format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
        driver.call(A, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    }
    assert_eq!(driver.seen(), ["/1", "/2", "/3"].map(|target| seen("GET", target, 200, 0, 2)));
    assert_eq!(driver.count(Counter::ExchangesBeforeBoundary), 0);
}

#[test]
fn an_idle_connection_that_is_joined_reports_its_first_exchange_when_the_request_side_stays_silent() {
    let (request, response) =
        (b"POST /1 HTTP/1.1\r\nContent-Length: 4\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let first = || {
        let mut driver = Driver::new(Start::MidStream);
        driver.call(Q, request);
        driver.call(Q, b"body");
        driver.call(A, response);
        assert!(driver.seen().is_empty() && driver.parser.is_answered());
        driver
    };
    let all = [seen("POST", "/1", 200, 4, 2)];
    // Until its connection ends.
    let mut driver = first();
    driver.close(End::Closed);
    assert_eq!(driver.seen(), all);
    assert_eq!(driver.count(Counter::ExchangesBeforeBoundary), 0);
    let is_late = |made: &Yield| matches!(made, Yield::Opened(Opened { is_late: true, .. }));
    assert_eq!(driver.out.iter().filter(|made| is_late(made)).count(), 1);
    // For a while.
    let mut driver = first();
    assert!(!driver.parser.is_idle());
    driver.parser.tick(driver.now + Limits::default().quiet_ns - 1, &mut driver.out);
    assert!(driver.seen().is_empty());
    driver.parser.tick(driver.now + Limits::default().quiet_ns, &mut driver.out);
    assert_eq!(driver.seen(), all);
    assert!(driver.parser.is_idle());
    // Until the next request, which is told as it comes.
    let mut driver = first();
    driver.call(Q, b"GET /2 HTTP/1.1\r\n\r\n");
    assert_eq!(driver.seen(), all);
    driver.call(A, response);
    assert_eq!(driver.seen()[1..], [seen("GET", "/2", 200, 0, 2)]);
    assert_eq!(driver.out.iter().filter(|made| is_late(made)).count(), 1);
}

#[test]
fn what_looks_like_the_first_exchange_of_a_joined_connection_is_none_if_anything_speaks_against_it() {
    let fake: &[u8] = b"GET /fake HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let courses: &[&[(Side, &[u8])]] = &[
        // The body goes on before, within or after the response.
        &[(Q, fake), (Q, fake), (A, answer)],
        &[(Q, fake), (A, &answer[..20]), (Q, fake), (A, &answer[20..])],
        &[(Q, fake), (A, answer), (Q, b"rest of a body")],
        // Bytes behind the end.
        &[(Q, b"GET /fake HTTP/1.1\r\n\r\nrest of a body"), (A, answer)],
        &[(Q, fake), (A, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more")],
        // A response that a server may send before it has read a body.
        &[(Q, fake), (A, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")],
        &[(Q, fake), (A, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")],
        &[(Q, fake), (A, b"HTTP/1.1 100 Continue\r\n\r\n"), (Q, fake)],
        // The body of the fake has not come.
        &[(Q, b"POST /fake HTTP/1.1\r\nContent-Length: 4\r\n\r\n"), (A, answer)],
        // The middle of a response.
        &[(Q, fake), (A, b"rest of a body"), (A, answer)],
    ];
    for course in courses {
        for end in [End::Closed, End::Left, End::Reset] {
            let mut driver = Driver::new(Start::MidStream);
            for (side, bytes) in *course {
                driver.call(*side, bytes);
            }
            driver.close(end);
            assert!(driver.seen().is_empty(), "{:?} after {course:?}", driver.seen());
        }
    }
    // The server has never sent a byte before: a request was under way.
    let mut driver = Driver::new(Start::MidStream);
    driver.call(Q, fake);
    driver.parser.first_byte(A);
    driver.call(A, answer);
    driver.close(End::Closed);
    assert!(driver.seen().is_empty());
    assert_eq!(driver.count(Counter::ExchangesBeforeBoundary), 1);
    // Bytes were missed in between.
    let mut driver = Driver::new(Start::MidStream);
    driver.call(Q, fake);
    driver.parser.gap(Q, 10, 5, &mut driver.out);
    driver.call(A, answer);
    driver.close(End::Closed);
    assert!(driver.seen().is_empty());
}

#[test]
fn the_answer_to_head_does_not_mislead_a_joined_connection() {
    let mut driver = Driver::new(Start::MidStream);
    for target in ["/1", "/2"] {
        driver.call(Q, format!("HEAD {target} HTTP/1.1\r\n\r\n").as_bytes());
        driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    }
    assert!(driver.seen().is_empty());
    for target in ["/3", "/4"] {
        driver.call(Q, format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
        driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    assert_eq!(driver.seen(), [seen("GET", "/3", 200, 0, 2), seen("GET", "/4", 200, 0, 2)]);
}

#[test]
fn an_upload_that_is_joined_in_the_middle_invents_nothing_whatever_answers_it() {
    let fake = b"GET /fake HTTP/1.1\r\nHost: x\r\n\r\n";
    for early in [
        &b""[..],
        b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut driver = Driver::new(Start::MidStream);
        for n in 0..20 {
            driver.call(Q, fake);
            if n == 10 && !early.is_empty() {
                driver.call(A, early);
            }
        }
        driver.close(End::Closed);
        assert!(driver.seen().is_empty(), "{:?} after {}", driver.seen(), early.escape_ascii());
    }
}

#[test]
fn chunks_that_went_by_uncopied_end_where_the_last_call_says() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"GET / HTTP/1.1\r\n\r\n");
    driver.call(A, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [&b"400\r\n"[..], &[b'x'; 1024], b"\r\n"].concat();
    // Many chunks in one call: most of their sizes are not copied.
    driver.copied(A, &chunk.repeat(8), 256, 8);
    driver.copied(A, &[&chunk.repeat(3)[..], b"0\r\n\r\n"].concat(), 16, 8);
    let ended_at = driver.now;
    driver.call(Q, b"GET /next HTTP/1.1\r\n\r\n");
    let found = driver.exchanges();
    assert_eq!((found[0].end_ns, found[0].outcome), (ended_at, Outcome::Complete));
    assert_eq!(http(found[0]).response_body_bytes, None);
    driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(driver.seen()[1], seen("GET", "/next", 200, 0, 0));
}

/// An upload in a few large reads: most sizes of its chunks are not copied, and a trailer hides its end.
fn upload(driver: &mut Driver, head: &[u8]) {
    let chunk = [&b"400\r\n"[..], &[b'x'; 1024], b"\r\n"].concat();
    driver.copied(Q, &[head, &chunk.repeat(8)].concat(), head.len() + 256, 8);
    driver.copied(Q, &[&chunk.repeat(3)[..], b"0\r\nTrailer: x\r\n\r\n"].concat(), 256, 8);
}

#[test]
fn an_upload_whose_chunks_went_by_uncopied_ends_where_the_next_request_begins() {
    let mut driver = Driver::new(Start::Birth);
    for n in 0..40 {
        let head = format!("POST /{n} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        upload(&mut driver, head.as_bytes());
        driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    driver.close(End::Closed);
    let found = pairs(&driver);
    assert_eq!(found, (0..40).map(|n| (format!("/{n}"), Some(200))).collect::<Vec<_>>());
    assert_eq!(driver.count(Counter::ExchangesUnpaired) + driver.count(Counter::ExchangesUnparsed), 0);
}

#[test]
fn a_request_that_is_hidden_behind_an_upload_costs_itself_alone() {
    let mut driver = Driver::new(Start::Birth);
    let head = b"POST /0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    // Answered before its body was read. The next request stands in the same call as the end of that body.
    driver.call(Q, head);
    driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    upload(&mut driver, b"");
    let chunk = [&b"400\r\n"[..], &[b'x'; 1024], b"\r\n"].concat();
    driver.copied(Q, &[&chunk, &b"0\r\n\r\nHEAD /hidden HTTP/1.1\r\n\r\n"[..]].concat(), 16, 2);
    driver.call(A, b"HTTP/1.1 201 OK\r\nContent-Length: 7\r\n\r\n");
    driver.call(Q, b"GET /2 HTTP/1.1\r\n\r\n");
    driver.call(A, b"HTTP/1.1 202 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(pairs(&driver), [("/0".to_owned(), Some(200)), ("/2".to_owned(), Some(202))]);
    assert_eq!(driver.count(Counter::ExchangesUnpaired) + driver.count(Counter::ExchangesUnparsed), 1);
}

#[test]
fn a_download_whose_chunks_went_by_uncopied_ends_where_the_next_response_begins() {
    let mut driver = Driver::new(Start::Birth);
    let chunk = [&b"400\r\n"[..], &[b'x'; 1024], b"\r\n"].concat();
    for n in 0..40 {
        driver.call(Q, format!("GET /{n} HTTP/1.1\r\n\r\n").as_bytes());
        driver.call(A, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        driver.copied(A, &chunk.repeat(8), 256, 8);
        driver.copied(A, &[&chunk.repeat(3)[..], b"0\r\nTrailer: x\r\n\r\n"].concat(), 256, 8);
    }
    let ends: Vec<u64> = driver.exchanges().iter().map(|exchange| exchange.end_ns).collect();
    assert_eq!(ends, (1..40).map(|n| n * 4).collect::<Vec<_>>(), "the last byte that was seen");
    assert_eq!(pairs(&driver).len(), 39);
    assert_eq!(driver.count(Counter::ExchangesUnparsed), 0);
}

#[test]
fn a_response_whose_framing_was_lost_is_not_truncated_by_the_close() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"GET / HTTP/1.1\r\n\r\n");
    driver.call(A, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    // Trailers that are longer than what is copied.
    driver.copied(A, &[&b"A: b\r\n".repeat(20_000)[..], b"\r\n"].concat(), 256, 8);
    let ended_at = driver.now;
    driver.close(End::Closed);
    let found = driver.exchanges();
    assert_eq!((found[0].end_ns, found[0].outcome), (ended_at, Outcome::Lost));
    assert_eq!(http(found[0]).status, Some(200));
}

#[test]
fn trailers_of_any_length_leave_a_response_with_its_status_and_the_next_one_whole() {
    for copied in [64 * 1024, 256] {
        let mut driver = Driver::new(Start::Birth);
        driver.call(Q, b"GET /0 HTTP/1.1\r\n\r\n");
        driver.call(A, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n");
        for trailers in b"A: b\r\n".repeat(20_000).chunks(60_000) {
            driver.copied(A, trailers, copied, 8);
        }
        driver.call(A, b"\r\n");
        let ended_at = driver.now;
        driver.call(Q, b"GET /1 HTTP/1.1\r\n\r\n");
        driver.call(A, b"HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n");
        let found = driver.exchanges();
        assert_eq!(pairs(&driver), [("/0".to_owned(), Some(200)), ("/1".to_owned(), Some(201))], "{copied}");
        assert_eq!(found[0].end_ns, ended_at);
        assert_eq!(found.iter().filter(|made| made.outcome == Outcome::Truncated).count(), 0);
        let mut driver = Driver::new(Start::Birth);
        driver.call(Q, b"GET /0 HTTP/1.1\r\n\r\n");
        driver.call(A, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n");
        for trailers in [&b"A: b\r\n".repeat(20_000)[..], b"\r\n"].concat().chunks(60_000) {
            driver.copied(A, trailers, copied, 8);
        }
        driver.close(End::Closed);
        let found = driver.exchanges();
        assert_eq!((found.len(), found[0].outcome), (1, Outcome::Lost), "{copied}");
        assert_eq!(http(driver.exchanges()[0]).status, Some(200));
    }
}

#[test]
fn an_answer_that_comes_before_the_body_ends_makes_no_request_of_that_body() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"POST /0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    driver.call(A, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    // The framing is in sight: what looks like a request is data.
    driver.call(Q, b"1a\r\n");
    driver.call(Q, b"GET /fake HTTP/1.1\r\n\r\nABCD\r\n");
    driver.call(Q, b"0\r\n\r\n");
    driver.call(Q, b"GET /1 HTTP/1.1\r\n\r\n");
    driver.call(A, b"HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(pairs(&driver), [("/0".to_owned(), Some(200)), ("/1".to_owned(), Some(201))]);
}

#[test]
fn a_quiet_second_makes_a_tentative_end_final() {
    let mut driver = Driver::new(Start::Birth);
    driver.call(Q, b"GET / HTTP/1.1\r\n\r\n");
    driver.call(A, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    driver.copied(
        A,
        &[&b"400\r\n"[..], &[b'x'; 1024], b"\r\n400\r\n", &[b'x'; 1024], b"\r\n0\r\n\r\n"].concat(),
        16,
        8,
    );
    let ended_at = driver.now;
    driver.parser.tick(ended_at + 10, &mut driver.out);
    assert!(driver.exchanges().is_empty());
    driver.parser.tick(ended_at + Limits::default().quiet_ns, &mut driver.out);
    assert_eq!(driver.exchanges()[0].end_ns, ended_at);
}
