//! Calls that are made again.

use super::*;

const APP: Unit = Unit::thread(1, 1);

/// A process with an open request, and the connections that it makes.
struct App {
    world: World,
    request: Pending,
    connections: u64,
}

/// How a call ends.
#[derive(Clone, Copy)]
enum Ending {
    With(Outcome),
    At(u16, &'static str),
}

use self::Ending::{At, With};

const RESET: Ending = With(Outcome::Reset);
const FINE: Ending = At(200, "");

impl App {
    fn new() -> Self {
        let mut world = World::new();
        let (_, server) = world.connection(1);
        let request = world.open(&server, APP, 0, None);
        Self { world, request, connections: 100 }
    }

    /// A call on a connection of its own.
    fn open(&mut self, attempt: Option<u32>) -> Pending {
        self.connections += 1;
        let (End(facts), _) = self.world.connection(self.connections);
        let start_ns = self.world.now();
        let mut opened = Opened {
            kind: Kind::Call,
            unit: APP,
            start_ns,
            offset: 0,
            target: 1,
            incoming: None,
            carried: None,
            attempt,
            is_export: false,
            injection: None,
            inserted: 0,
            is_lengthened: false,
            is_late: false,
            asked: crate::short_bytes::ShortBytes::default(),
        };
        self.world.correlator.opened(&facts, &mut opened);
        Pending { facts, unit: APP, offset: 0, start_ns }
    }

    fn exchange(&mut self, call: &Pending, asked: &str, ends: Ending) -> Exchange {
        let head = format!("{asked} HTTP/1.1\r\nhost: Shop.example\r\n\r\n");
        let method = asked.find(' ').expect("a target");
        let mut exchange = self.world.exchange(call, APP);
        let (status, response_head) = match ends {
            With(outcome) => {
                exchange.outcome = outcome;
                exchange.response_start_ns = None;
                (None, None)
            }
            At(status, fields) => {
                (Some(status), Some(format!("HTTP/1.1 {status} X\r\n{fields}\r\n\r\n").into()))
            }
        };
        exchange.payload = Arc::new(HttpExchange {
            method: 0..method,
            target: method + 1..asked.len(),
            noted: Noted::of(head.as_bytes()),
            request_head: head.into(),
            response_head,
            status,
            minor_version: 1,
            export_body: None,
            request_body_bytes: None,
            response_body_bytes: None,
        });
        exchange
    }

    fn end(&mut self, call: &Pending, asked: &str, ends: Ending) -> Option<u32> {
        let exchange = self.exchange(call, asked, ends);
        self.world.correlator.closed(&call.facts, &exchange);
        self.link(call, &exchange)
    }

    fn link(&mut self, call: &Pending, exchange: &Exchange) -> Option<u32> {
        let link = self.world.correlator.link(&call.facts, exchange);
        self.world.correlator.left(call.facts.number);
        link.resend
    }

    /// A call from its beginning to its end.
    fn call(&mut self, asked: &str, ends: Ending) -> Option<u32> {
        let call = self.open(None);
        self.end(&call, asked, ends)
    }
}

#[test]
fn calls_without_an_answer_that_are_made_again_are_counted() {
    let mut app = App::new();
    let attempts = [RESET, With(Outcome::NoResponse), With(Outcome::Timeout), FINE, FINE];
    let counts = attempts.map(|ends| app.call("GET /a?b", ends));
    assert_eq!(counts, [None, Some(1), Some(2), Some(3), None], "the last asks for the same anew");
}

#[test]
fn another_call_or_one_after_an_answer_is_no_resend() {
    for (first, ends, second) in [
        ("GET /a", RESET, "GET /b"),
        ("GET /a", RESET, "HEAD /a"),
        ("GET /a", RESET, "GET http://other.example/a"),
        ("GET /a", At(503, ""), "GET /a"),
        ("GET /a", With(Outcome::Lost), "GET /a"),
        ("GET /a", With(Outcome::Truncated), "GET /a"),
    ] {
        let mut app = App::new();
        assert_eq!(app.call(first, ends), None);
        assert_eq!(app.call(second, FINE), None, "{first} then {second}");
    }
    let mut app = App::new();
    app.call("GET /a", RESET);
    assert_eq!(app.call("GET http://SHOP.example:80/a", FINE), Some(1), "the same place in another form");
}

#[test]
fn a_call_for_another_request_or_for_none_known_is_no_resend() {
    let mut app = App::new();
    app.call("GET /a", RESET);
    let (_, server) = app.world.connection(2);
    let other = app.world.open(&server, APP, 0, None);
    assert_eq!(app.call("GET /a", FINE), None, "two requests are open");
    app.world.close(&app.request);
    assert_eq!(app.call("GET /a", FINE), None, "it is made for the other");
    app.world.close(&other);
}

#[test]
fn a_call_that_began_before_the_earlier_one_ended_is_no_resend() {
    let mut app = App::new();
    let (first, second) = (app.open(None), app.open(None));
    assert_eq!(app.end(&first, "GET /a", RESET), None);
    assert_eq!(app.end(&second, "GET /a", FINE), None);
    assert_eq!(app.call("GET /a", FINE), Some(1));
}

#[test]
fn nothing_is_counted_where_two_calls_fit() {
    let mut app = App::new();
    let (first, second) = (app.open(None), app.open(None));
    app.end(&first, "GET /a", RESET);
    app.end(&second, "GET /a", RESET);
    assert_eq!(app.call("GET /a", RESET), None, "of which of the two");
    assert_eq!(app.call("GET /a", FINE), None, "which attempt is not known");

    let mut app = App::new();
    app.call("GET /a", RESET);
    let (first, second) = (app.open(None), app.open(None));
    assert_eq!(app.end(&first, "GET /a", FINE), None, "the other may be the resend");
    assert_eq!(app.end(&second, "GET /a", FINE), None);
}

#[test]
fn redirects_are_counted_if_they_lead_to_the_call() {
    for (first, status, location, second, expected) in [
        ("GET /a/b", 302, "location: /c?d", "GET /c?d", Some(1)),
        ("GET /a/b", 308, "Location: c", "GET /a/c", Some(1)),
        ("GET /a", 301, "location: http://other.example/b#c", "GET http://other.example/b", Some(1)),
        ("POST /a", 303, "location: /b", "GET /b", Some(1)),
        ("POST /a", 302, "location: /b", "GET /b", Some(1)),
        ("POST /a", 307, "location: /b", "POST /b", Some(1)),
        ("POST /a", 307, "location: /b", "GET /b", None),
        ("POST /a", 303, "location: /b", "POST /b", None),
        ("GET /a", 302, "location: /b", "GET /a", None),
        ("GET /a", 302, "location: https://shop.example/b", "GET /b", None),
        ("GET /a", 302, "location: http://other.example/b", "GET /b", None),
        ("GET /a", 302, "location: /b\r\nlocation: /b", "GET /b", None),
        ("GET /a", 302, "x: y", "GET /a", None),
        ("GET /a", 304, "location: /b", "GET /b", None),
        ("GET /a", 201, "location: /b", "GET /b", None),
    ] {
        let mut app = App::new();
        assert_eq!(app.call(first, At(status, location)), None);
        assert_eq!(app.call(second, FINE), expected, "{first}: {status} {location}; {second}");
    }
    let mut app = App::new();
    assert_eq!(app.call("GET /a", At(302, "location: /b")), None);
    assert_eq!(app.call("GET /b", At(302, "location: /a")), Some(1));
    assert_eq!(app.call("GET /a", At(302, "location: /b")), Some(2));
    assert_eq!(app.call("GET /b", RESET), Some(3));
    assert_eq!(app.call("GET /b", FINE), Some(4));
}

#[test]
fn an_attempt_waits_for_the_one_whose_connection_is_closed() {
    let mut app = App::new();
    let first = app.open(None);
    // Of its end nothing more is known yet; it was now.
    let broken = app.exchange(&first, "GET /a", RESET);
    app.world.correlator.closing(first.facts.number);
    let second = app.open(None);
    let again = app.exchange(&second, "GET /a", FINE);
    app.world.correlator.closed(&second.facts, &again);
    assert!(app.world.correlator.may_be_resend(&second.facts, &again));
    // The request itself may be over by then.
    app.world.close(&app.request);
    app.world.correlator.forget_attempts();
    app.world.correlator.closed(&first.facts, &broken);
    assert!(!app.world.correlator.may_be_resend(&second.facts, &again));
    assert_eq!(app.link(&first, &broken), None);
    assert_eq!(app.link(&second, &again), Some(1));
}

#[test]
fn what_is_remembered_goes_with_the_request() {
    let mut app = App::new();
    for _ in 0..40 {
        app.call("GET /a", RESET);
    }
    let lost = app.open(None);
    app.world.correlator.closing(lost.facts.number);
    app.world.correlator.left(lost.facts.number);
    assert_eq!(app.world.correlator.resends.len(), 1);
    assert_eq!(app.call("GET /a", FINE), None, "more than are remembered");
    app.world.close(&app.request);
    (0..4).for_each(|_| app.world.correlator.forget_attempts());
    assert_eq!(app.world.correlator.resends.len(), 0);
}

#[test]
fn an_attempt_that_says_its_number_is_believed_unless_it_was_passed_on() {
    let mut app = App::new();
    let told = |app: &mut App, attempt| {
        let call = app.open(attempt);
        app.end(&call, "GET /a", RESET)
    };
    assert_eq!(told(&mut app, Some(1)), None);
    assert_eq!(told(&mut app, Some(3)), Some(2));
    assert_eq!(app.call("GET /a", RESET), Some(3), "after one that said so");
    assert_eq!(told(&mut app, Some(1)), None, "a first attempt, whatever came before");
    let (End(facts), _) = app.world.connection(2);
    let facts = ConnectionFacts { connector: Connector::Remote, ..facts };
    let mut opened = Opened {
        kind: Kind::Serve,
        unit: APP,
        start_ns: app.world.now(),
        offset: 0,
        target: 1,
        is_export: false,
        incoming: None,
        carried: None,
        attempt: Some(2),
        injection: None,
        inserted: 0,
        is_lengthened: false,
        is_late: false,
        asked: crate::short_bytes::ShortBytes::default(),
    };
    app.world.correlator.opened(&facts, &mut opened);
    assert_eq!(told(&mut app, Some(2)), None, "that of the request");
    assert_eq!(told(&mut app, Some(4)), Some(3));
}
