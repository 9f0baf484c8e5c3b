//! Both ends of a call, clocks, and gaps.

use super::*;
use crate::{
    answer::Network,
    samples::texts,
    span::{Event, StatusCode},
};

/// A client's span of `shop` from 1000 to 2000, and a server's of `prices`.
fn call(server_start: u64, server_end: u64) -> [Span; 2] {
    [
        on_host("a", called(Kind::Client, "shop", span(1, 1000, 2000))),
        on_host("b", called(Kind::Server, "prices", child(2, 1, server_start, server_end))),
    ]
}

fn gaps(span: &TraceSpan) -> Vec<(u64, u64, &str)> {
    span.gaps.iter().map(|gap| (gap.start_ns, gap.end_ns, &*gap.name)).collect()
}

#[test]
fn the_network_is_what_lies_between_both_ends() {
    let answer = laid_out(&call(1100, 1850));
    let (client, server) = (of(&answer, 1), of(&answer, 2));
    assert_eq!((client.peer, server.peer), (Some(1), Some(0)));
    assert_eq!(client.network, Some(Network { request_ns: 100, response_ns: 150 }));
    assert_eq!((server.network, client.clock_skew_ns, server.clock_skew_ns), (None, None, None));
    assert_eq!(gaps(client), [(0, 100, "network"), (850, 1000, "network")]);
    assert_eq!(answer.notes, [""; 0]);
}

#[test]
fn a_clock_that_differs_is_corrected_and_the_evidence_told() {
    // The server seems to begin 500 before its client: centred, it begins at 1100. What it did moves with it.
    let [client, server] = call(500, 1300);
    let below = on_host("b", called(Kind::Internal, "prices", child(3, 2, 600, 700)));
    let answer = laid_out(&[client, server, below]);
    let (client, server, below) = (of(&answer, 1), of(&answer, 2), of(&answer, 3));
    assert_eq!(
        (server.clock_skew_ns, server.clock_shift_ns, server.duration_ns),
        (Some(-600), Some(600), 800)
    );
    assert_eq!(
        server.clock_evidence.as_deref(),
        Some("It begins 500 ns before its client sends the request.")
    );
    assert_eq!((below.clock_skew_ns, below.clock_shift_ns, &below.clock_evidence), (None, Some(600), &None));
    assert_eq!(client.network, Some(Network { request_ns: 100, response_ns: 100 }));
    assert_eq!((client.start_ns, server.start_ns, below.start_ns), (0, 100, 200));
    assert_eq!((client.self_ns, server.self_ns, below.self_ns), (200, 700, 100));
    assert_eq!(gaps(client), [(0, 100, "network"), (900, 1000, "network")]);
    assert_eq!(answer.summary.duration_ns, 1000);
    assert_eq!(
        answer.notes,
        [
            "The clock of prices seems to be 600 ns behind that of shop (1 call). Its spans, and those below them, are \
             moved to fit; the time on the network is split in halves."
        ]
    );
    let answer = laid_out(&call(1500, 2300));
    let server = of(&answer, 2);
    assert_eq!((server.clock_skew_ns, server.clock_shift_ns), (Some(400), Some(-400)));
    assert_eq!(server.clock_evidence.as_deref(), Some("It ends 300 ns after its client has the response."));
    assert!(answer.notes[0].contains("ahead of"), "{:?}", answer.notes);
}

#[test]
fn a_chain_of_clocks_is_corrected_call_by_call() {
    // c's clock agrees with b's, which is an hour ahead of a's.
    let hour = 3_600_000_000_000;
    let spans = [
        on_host("a", called(Kind::Client, "shop", span(1, 1000, 2000))),
        on_host("b", called(Kind::Server, "prices", child(2, 1, hour + 1000, hour + 1800))),
        on_host("b", called(Kind::Client, "prices", child(3, 2, hour + 1100, hour + 1700))),
        on_host("c", called(Kind::Server, "stock", child(4, 3, hour + 1200, hour + 1600))),
        // It lies where the one an hour before would fit: its clock is that of a.
        on_host("d", called(Kind::Client, "stock", child(5, 4, hour + 1300, hour + 1500))),
        on_host("a", called(Kind::Server, "shop", child(6, 5, 1500, 1600))),
    ];
    let answer = laid_out(&spans);
    let starts = [1, 2, 3, 4, 5, 6].map(|id| of(&answer, id).start_ns);
    assert_eq!(starts, [0, 100, 200, 300, 400, 450]);
    let shift = 100 - hour as i64;
    assert_eq!([2, 3, 4, 5].map(|id| of(&answer, id).clock_shift_ns), [Some(shift); 4]);
    assert_eq!(of(&answer, 6).clock_shift_ns, Some(-50));
    assert_eq!([4, 6].map(|id| of(&answer, id).clock_skew_ns.is_some()), [false, true]);
    assert_eq!(answer.summary.duration_ns, 1000);
}

#[test]
fn clocks_of_what_waits_for_nothing_are_left_alone() {
    let early = |kind, other| {
        [
            on_host("a", called(kind, "shop", span(1, 1000, 2000))),
            on_host("b", called(other, "mail", child(2, 1, 500, 700))),
        ]
    };
    let mut unseen = call(500, 1300);
    unseen[0].attributes = vec![("tracer.http.end_unknown".into(), Value::Bool(true))];
    let mut undated = call(500, 1300);
    undated[1].start_unix_ns = 0;
    for spans in [
        early(Kind::Producer, Kind::Consumer),
        early(Kind::Internal, Kind::Internal),
        early(Kind::Client, Kind::Internal),
        unseen,
        undated,
    ] {
        let answer = laid_out(&spans);
        assert!(answer.spans.iter().all(|span| span.clock_shift_ns.is_none()), "{spans:?}");
    }
}

#[test]
fn both_ends_on_one_host_have_one_clock() {
    // The server's last write is seen after its client's last read.
    let [client, server] = call(1100, 2005).map(|span| {
        let mut resource = (*span.resource).clone();
        resource.attributes.retain(|(key, _)| &**key != "host.name");
        resource.attributes.push(("host.id".into(), Value::Str("one".into())));
        Span { resource: Arc::new(resource), ..span }
    });
    let answer = laid_out(&[client, server]);
    assert_eq!(of(&answer, 1).network, Some(Network { request_ns: 100, response_ns: 0 }));
    assert_eq!(of(&answer, 2).clock_skew_ns, None);
    assert_eq!(answer.notes, [""; 0]);
}

#[test]
fn a_client_that_gave_up_and_a_server_that_took_longer_say_nothing_of_clocks() {
    let [client, server] = call(1600, 2400);
    let answer = laid_out(&[Span { status: StatusCode::Error, ..client }, server]);
    assert_eq!((of(&answer, 1).network, of(&answer, 2).clock_skew_ns), (None, None));
    assert_eq!(of(&answer, 1).peer, Some(1));
    let answer = laid_out(&call(900, 2400));
    assert_eq!((of(&answer, 1).network, of(&answer, 2).clock_skew_ns), (None, None));
}

#[test]
fn a_client_with_two_servers_below_it_has_no_peer() {
    let [client, server] = call(1100, 1400);
    let second = Span { span_id: SpanId(3_u64.to_be_bytes()), ..server.clone() };
    let answer = laid_out(&[client, server, second]);
    assert!(answer.spans.iter().all(|span| span.peer.is_none() && span.network.is_none()));
}

#[test]
fn the_first_byte_divides_a_clients_time_and_ends_a_servers_work() {
    let first_byte = |span: Span| Span {
        attributes: vec![("tracer.http.time_to_first_byte".into(), Value::Double(7e-7))],
        ..span
    };
    let client = first_byte(called(Kind::Client, "shop", span(1, 1000, 2000)));
    let answer = laid_out(&[client]);
    assert_eq!(
        gaps(of(&answer, 1)),
        [(0, 700, "waiting for the first byte"), (700, 1000, "receiving the response")]
    );
    let server = first_byte(called(Kind::Server, "shop", span(1, 1000, 2000)));
    let late_call = called(Kind::Client, "shop", child(2, 1, 1800, 1900));
    let answer = laid_out(&[server, late_call]);
    assert_eq!(
        gaps(of(&answer, 1)),
        [(700, 800, "sending the response"), (900, 1000, "sending the response")],
        "only its own time"
    );
}

#[test]
fn a_server_waits_for_its_client_until_the_request_is_there() {
    let with_end = |seconds, kind| {
        let attributes = vec![
            ("tracer.http.time_to_request_end".into(), Value::Double(seconds)),
            ("tracer.http.time_to_first_byte".into(), Value::Double(7e-7)),
        ];
        laid_out(&[Span { attributes, ..called(kind, "shop", span(1, 1000, 2000)) }])
    };
    assert_eq!(
        gaps(of(&with_end(3e-7, Kind::Server), 1)),
        [(0, 300, "waiting for the client"), (700, 1000, "sending the response")]
    );
    for seconds in [0.0, -1.0, 1.1e-6, f64::NAN, 1e300] {
        let answer = with_end(seconds, Kind::Server);
        assert_eq!(gaps(of(&answer, 1)), [(700, 1000, "sending the response")], "{seconds}");
    }
    assert_eq!(gaps(of(&with_end(3e-7, Kind::Client), 1))[0].2, "waiting for the first byte");
}

#[test]
fn a_connection_that_was_set_up_for_a_call_is_named_and_one_that_was_opened_ahead_is_not() {
    let gaps = |set_up: f64| {
        let first = Span { kind: Kind::Client, ..child(2, 1, 1100, 1300) };
        let attributes = vec![("tracer.http.connection_setup".into(), Value::Double(set_up))];
        let second = Span { kind: Kind::Client, attributes, ..child(3, 1, 1700, 1900) };
        let answer = laid_out(&[span(1, 1000, 2000), first, second]);
        let gaps = of(&answer, 1).gaps.clone();
        gaps.into_iter().map(|gap| (gap.start_ns, gap.end_ns, gap.name)).collect::<Vec<_>>()
    };
    assert_eq!(gaps(3e-7), [(400, 700, "connection set-up".to_owned())]);
    // Before the call that came first had ended.
    assert_eq!(gaps(5e-7), []);
    for odd in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
        assert_eq!(gaps(odd), [], "{odd}");
    }
}

#[test]
fn a_first_byte_that_cannot_be_makes_no_gap() {
    for seconds in [f64::NAN, f64::INFINITY, -1.0, 1.1e-6, 1e300] {
        let attributes = vec![("tracer.http.time_to_first_byte".into(), Value::Double(seconds))];
        let answer = laid_out(&[Span { attributes, ..called(Kind::Client, "shop", span(1, 1000, 2000)) }]);
        assert_eq!(gaps(of(&answer, 1)), [], "{seconds}");
    }
}

#[test]
fn events_of_a_client_name_the_phases_of_its_request() {
    let events =
        [("connectStart", 1010), ("connectEnd", 1040), ("requestStart", 1040), ("responseStart", 1900)];
    let events = events.map(|(name, time_unix_ns)| Event {
        time_unix_ns,
        name: name.into(),
        attributes: Vec::new(),
        dropped_attributes: 0,
    });
    let client = Span { events: events.to_vec(), ..called(Kind::Client, "page", span(1, 1000, 2000)) };
    let answer = laid_out(&[client]);
    assert_eq!(
        gaps(of(&answer, 1)),
        [(10, 40, "connection set-up"), (40, 900, "waiting for the first byte")]
    );
    assert_eq!(of(&answer, 1).events[1].time_ns, 40);
}

#[test]
fn clocks_of_many_pairs_are_told_within_bounds() {
    let pairs = (0..20_u64).flat_map(|pair| {
        let service = format!("prices-{pair:02}");
        let id = pair * 2 + 1;
        let [client, server] = [
            on_host("a", called(Kind::Client, "shop", span(id, 10_000_000, 12_000_000))),
            on_host("b", called(Kind::Server, &service, child(id + 1, id, 5_000_000, 6_000_000))),
        ];
        [client, server]
    });
    let notes = laid_out(&pairs.collect::<Vec<_>>()).notes;
    assert_eq!(notes.len(), 6);
    assert!(
        notes[0].starts_with("The clock of prices-00 seems to be 5.5 ms behind that of shop (1 call)."),
        "{}",
        notes[0]
    );
    assert_eq!(notes[5], "The clocks of 15 more pairs of services seem to differ.");
}

#[test]
fn evidence_and_probability_and_an_end_that_was_not_seen_are_told() {
    let mut attributes = texts(&[("tracer.link.evidence", "wire")]);
    attributes.push(("tracer.link.probability".into(), Value::Double(0.8)));
    attributes.push(("tracer.http.end_unknown".into(), Value::Bool(true)));
    let options = Options {
        percentile: &|service, name, kind, duration_ns| {
            assert_eq!((service, name, kind, duration_ns), ("shop", "span 1", SpanKind::Server, 1000));
            Some((0.95, 40))
        },
        ..Options::default()
    };
    let [client, server] = [
        called(Kind::Server, "shop", span(1, 1000, 2000)),
        called(Kind::Server, "shop", Span { attributes, ..child(2, 1, 1000, 1500) }),
    ];
    let answer = lay_out(vec![client, server], &options);
    let (root, child) = (of(&answer, 1), of(&answer, 2));
    assert_eq!((root.evidence.as_deref(), root.likely, root.end_known), (None, None, true));
    assert_eq!((child.evidence.as_deref(), child.likely, child.end_known), (Some("wire"), Some(0.8), false));
    assert_eq!((root.percentile, root.compared_spans), (Some(0.95), 40));
    assert_eq!((child.percentile, child.compared_spans), (None, 0), "its duration is only a lower bound");
}
