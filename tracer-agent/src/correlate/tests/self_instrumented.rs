//! Applications that trace themselves.

use super::*;

const APP: Unit = Unit::thread(1, 1);
const NEXT: Unit = Unit::thread(2, 2);

fn world(sdk: Sdk) -> World {
    let mut world = World::new();
    world.correlator.rules.sdk = sdk;
    world
}

/// A context of this trace and span.
fn context(trace: u8, span: u8) -> Incoming {
    Incoming { parent_id: [span; 8], ..incoming(trace) }
}

/// A process exports spans, with this answer.
fn export(world: &mut World, unit: Unit, status: u16) {
    export_of(world, unit, status, None);
}

/// A span as its application exports it: its id, that of its parent, its kind.
type Exported = (u8, Option<u8>, u8);

/// A process exports these spans of services with these names.
fn export_spans(world: &mut World, unit: Unit, names: &[&str], spans: &[Exported]) {
    let hex = |id: u8| format!("{id:02x}").repeat(8);
    let spans = spans.iter().map(|(id, parent, kind)| {
        let parent = parent.map(|parent| format!("\"parentSpanId\":\"{}\",", hex(parent)));
        format!("{{\"spanId\":\"{}\",{}\"kind\":{kind}}}", hex(*id), parent.unwrap_or_default())
    });
    let spans = spans.collect::<Vec<_>>().join(",");
    let resources = names.iter().map(|name| {
        format!(
            "{{\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\"value\":{{\"stringValue\":\"{name}\"}}}}]}},\
             \"scopeSpans\":[{{\"spans\":[{spans}]}}]}}"
        )
    });
    let body = format!("{{\"resourceSpans\":[{}]}}", resources.collect::<Vec<_>>().join(","));
    export_of(world, unit, 200, Some(body));
}

fn export_of(world: &mut World, unit: Unit, status: u16, body: Option<String>) {
    let number = world.now() + 10_000;
    let (call, _) = world.connection(number);
    let made = world.open(&call, unit, 0, None);
    let mut exchange = world.exchange(&made, unit);
    let head: &[u8] = match body {
        None => b"POST /v1/traces HTTP/1.1\r\ncontent-type: application/x-protobuf\r\n\r\n",
        Some(_) => {
            b"POST /v1/traces HTTP/1.1\r\ncontent-type: application/json\r\nuser-agent: OTel-OTLP-Exporter-X/1\r\n\r\n"
        }
    };
    let http: &HttpExchange = exchange.payload().expect("HTTP");
    exchange.payload = Arc::new(HttpExchange {
        request_head: bytes::Bytes::from_static(head),
        noted: Noted::of(head),
        export_body: body.map(bytes::Bytes::from),
        method: 0..4,
        target: 5..15,
        status: Some(status),
        ..http.clone()
    });
    world.correlator.closed(&made.facts, &exchange);
    world.correlator.link(&made.facts, &exchange);
}

#[test]
fn a_call_has_the_ids_of_the_application_s_own_header() {
    for is_server_first in [false, true] {
        let mut world = world(Sdk::Adopt);
        let (_, one) = world.connection(1);
        let (call, server) = world.connection(2);
        let request = world.open(&one, APP, 0, Some(context(7, 1)));
        let (made, served) = if is_server_first {
            let served = world.open(&server, NEXT, 0, Some(context(7, 2)));
            (world.open(&call, APP, 0, Some(context(7, 2))), served)
        } else {
            (
                world.open(&call, APP, 0, Some(context(7, 2))),
                world.open(&server, NEXT, 0, Some(context(7, 2))),
            )
        };
        let links = [&served, &made, &request].map(|pending| world.close(pending));
        assert!(links.iter().all(|link| link.trace_id == [7; 16] && !link.is_suppressed));
        assert_eq!(links[0].parent, Some(([2; 8], Evidence::Header)));
        assert_eq!(links[1].span_id, [2; 8]);
        assert_eq!(links[1].parent, Some((links[2].span_id, Evidence::ForwardedHeader)));
    }
}

#[test]
fn a_trace_that_the_application_began_holds_the_call_and_not_the_request() {
    let mut world = world(Sdk::Adopt);
    let (_, one) = world.connection(1);
    let (call, _) = world.connection(2);
    let request = world.open(&one, APP, 0, None);
    let made = world.open(&call, APP, 0, Some(context(7, 2)));
    let (inner, outer) = (world.close(&made), world.close(&request));
    assert_eq!((inner.trace_id, inner.span_id, inner.parent), ([7; 16], [2; 8], None));
    assert_ne!(outer.trace_id, inner.trace_id);
}

#[test]
fn a_header_that_was_passed_on_or_sent_before_is_not_taken_again() {
    let mut world = world(Sdk::Adopt);
    let (_, one) = world.connection(1);
    let (call, _) = world.connection(2);
    let request = world.open(&one, APP, 0, Some(context(7, 1)));
    let passed_on = world.open(&call, APP, 0, Some(context(7, 1)));
    let link = world.close(&passed_on);
    assert_eq!((link.trace_id, evidence(&link)), ([7; 16], Some(Evidence::ForwardedHeader)));
    assert_ne!(link.span_id, [1; 8]);
    world.close(&request);
    let late = world.open(&call, APP, 10, Some(context(7, 1)));
    let link = world.close(&late);
    assert_ne!(link.span_id, [1; 8], "passed on when the request had ended");
    assert_eq!((link.trace_id, link.parent), ([7; 16], Some(([1; 8], Evidence::Header))));
    let attempts = [20, 30].map(|offset| {
        let made = world.open(&call, APP, offset, Some(context(8, 2)));
        world.close(&made).span_id
    });
    assert_eq!(attempts[0], [2; 8]);
    assert_ne!(attempts[1], [2; 8], "another attempt with the same header");
}

#[test]
fn what_another_process_of_the_host_has_received_or_sent_is_not_taken() {
    let mut world = world(Sdk::Adopt);
    let (_, one) = world.connection(1);
    let (call, _) = world.connection(2);
    // The web process queues a job with what it received, or with what it calls with itself.
    let request = world.open(&one, APP, 0, Some(context(7, 1)));
    let own = world.open(&call, APP, 0, Some(context(7, 2)));
    world.close(&request);
    assert_eq!(world.close(&own).span_id, [2; 8]);
    for span in [1, 2] {
        let (job, _) = world.connection(10 + u64::from(span));
        let made = world.open(&job, NEXT, 0, Some(context(7, span)));
        assert_ne!(world.close(&made).span_id, [span; 8]);
    }
}

#[test]
fn span_ids_are_remembered_up_to_a_bound() {
    let mut seen = FirstSeen::default();
    let (End(facts), _) = World::new().connection(1);
    let hops = [0, 1].map(|wire| Hop::of(&facts, Direction::Send, wire));
    let id = |n: u64| n.to_ne_bytes();
    assert!(seen.add(id(0), hops[0]) && seen.add(id(0), hops[0]));
    assert!(!seen.add(id(0), hops[1]));
    for n in 1..=100_000 {
        assert!(seen.add(id(n), hops[0]));
    }
    assert!(seen.add(id(0), hops[1]), "forgotten");
    assert!(!seen.add(id(100_000), hops[1]));
}

#[test]
fn where_requests_come_unseen_a_header_may_have_come_with_one() {
    for sdk in [Sdk::Adopt, Sdk::Suppress] {
        let mut world = world(sdk);
        let (call, _) = world.connection(1);
        world.correlator.opaque(1);
        let made = world.open(&call, APP, 0, Some(context(7, 2)));
        let link = world.close(&made);
        assert_ne!(link.span_id, [2; 8]);
        assert!(!link.is_suppressed);
        // In both cases it is of that trace, and below that span.
        assert_eq!((link.trace_id, link.parent), ([7; 16], Some(([2; 8], Evidence::Header))));
    }
}

#[test]
fn where_requests_come_unseen_an_exporting_application_has_no_span_twice() {
    let mut world = world(Sdk::Adopt);
    let (_, one) = world.connection(1);
    let (call, server) = world.connection(2);
    world.correlator.opaque(1);
    export(&mut world, APP, 200);
    // With the first it is seen that it continues its traces.
    for (offset, span, expected) in [(0, 2, [false, true, false]), (100, 3, [false, true, true])] {
        let request = world.open(&one, APP, offset, Some(context(7, 1)));
        let made = world.open(&call, APP, offset, Some(context(7, span)));
        let served = world.open(&server, NEXT, offset, Some(context(7, span)));
        let links = [&served, &made, &request].map(|pending| world.close(pending));
        assert_eq!(links.each_ref().map(|link| link.is_suppressed), expected);
        assert_eq!((links[0].trace_id, links[0].parent), ([7; 16], Some(([span; 8], Evidence::Header))));
    }
    // What another process of this host had before was passed on.
    let (job, _) = world.connection(3);
    let passed_on = world.open(&job, APP, 0, Some(context(7, 1)));
    assert!(!world.close(&passed_on).is_suppressed);
}

#[test]
fn an_application_that_exports_server_spans_has_none_twice_also_if_it_makes_no_calls() {
    let mut world = world(Sdk::Adopt);
    let (_, one) = world.connection(1);
    let is_suppressed = |world: &mut World, offset: u64, came: Option<Incoming>| {
        let request = world.open(&one, APP, offset, came);
        world.close(&request).is_suppressed
    };
    // Only a client's: nothing tells that it traces its server requests.
    export_spans(&mut world, APP, &["shop"], &[(5, None, 3)]);
    assert!(!is_suppressed(&mut world, 0, None));
    export_spans(&mut world, APP, &["shop"], &[(5, Some(6), 3), (6, None, 2)]);
    assert!(is_suppressed(&mut world, 100, None));
    assert!(is_suppressed(&mut world, 200, Some(context(7, 1))));
    assert!(!is_suppressed(&mut world, 300, Some(Incoming { flags: Some(0), ..context(7, 2) })));
}

/// Spans of a process's first requests: a server request, a call with the application's own header, one without a
/// header. Each may be held when it ends.
fn first_requests(world: &mut World) -> ([Pending; 3], [Exchange; 3]) {
    let (_, one) = world.connection(1);
    let ((call, _), (other, _)) = (world.connection(2), world.connection(3));
    let made = [
        world.open(&one, APP, 0, Some(context(7, 1))),
        world.open(&call, APP, 0, Some(context(7, 2))),
        world.open(&other, APP, 0, None),
    ];
    let [request, call, other] = made.each_ref().map(|made| world.exchange(made, APP));
    for (made, exchange) in [(&made[1], &call), (&made[2], &other), (&made[0], &request)] {
        world.correlator.closed(&made.facts, exchange);
    }
    (made, [request, call, other])
}

#[test]
fn the_first_requests_of_an_application_that_may_export_spans_wait_for_its_first_export() {
    let mut world = world(Sdk::Adopt);
    world.correlator.instruments(APP.pid);
    let (made, exchanges) = first_requests(&mut world);
    let mut each = made.iter().zip(&exchanges);
    assert!(each.all(|(made, exchange)| world.correlator.is_held(&made.facts, exchange)));
    let before = world.correlator.decisions();
    export_spans(&mut world, APP, &["shop"], &[(5, Some(1), 2)]);
    assert_ne!(world.correlator.decisions(), before);
    let mut each = made.iter().zip(&exchanges);
    assert!(each.all(|(made, exchange)| !world.correlator.is_held(&made.facts, exchange)));
    // The call that the application knows nothing of hangs on the span above the one that is left out.
    let link = world.correlator.link(&made[2].facts, &exchanges[2]);
    assert!(!link.is_suppressed);
    assert_eq!((link.trace_id, link.parent.map(|(id, _)| id)), ([7; 16], Some([1; 8])));
    for at in [0, 1] {
        assert!(world.correlator.link(&made[at].facts, &exchanges[at]).is_suppressed, "{at}");
    }
}

#[test]
fn the_first_requests_of_an_application_that_exports_nothing_keep_their_spans() {
    let mut world = world(Sdk::Adopt);
    // Nothing tells of an SDK before the first header of its own.
    let (made, exchanges) = first_requests(&mut world);
    let is_held = [0, 1, 2].map(|at| world.correlator.is_held(&made[at].facts, &exchanges[at]));
    assert_eq!(is_held, [false, true, false]);
    for at in 0..3 {
        assert!(!world.correlator.link(&made[at].facts, &exchanges[at]).is_suppressed, "{at}");
    }
    world.now_ns += 11_000_000_000;
    let (_, one) = world.connection(4);
    let late = world.open(&one, APP, 0, None);
    let exchange = world.exchange(&late, APP);
    world.correlator.closed(&late.facts, &exchange);
    assert!(!world.correlator.is_held(&late.facts, &exchange), "it has had time to export");
}

#[test]
fn the_name_of_its_service_is_told_once_and_taken_back_if_there_are_several() {
    let mut world = world(Sdk::Adopt);
    let told = [Some(Some("shop")), None, Some(None), None, None];
    for (name, expected) in ["shop", "shop", "store", "shop", "store"].into_iter().zip(told) {
        export_spans(&mut world, APP, &[name], &[(5, None, 3)]);
        let told = world.correlator.take_name();
        assert_eq!(told, expected.map(|name: Option<&str>| (APP.pid, name.map(str::to_owned))));
    }
}

#[test]
fn spans_of_others_that_a_process_exports_tell_nothing_of_it() {
    #[derive(Debug)]
    enum Case {
        SeveralServices,
        ReceivesExports,
        MayReceiveExports,
        ReceivesExportsAndItsOwn,
    }
    for case in [
        Case::SeveralServices,
        Case::ReceivesExports,
        Case::MayReceiveExports,
        Case::ReceivesExportsAndItsOwn,
    ] {
        let mut world = world(Sdk::Adopt);
        let (_, one) = world.connection(1);
        let request = world.open(&one, APP, 0, Some(context(7, 1)));
        world.close(&request);
        let names = match case {
            Case::SeveralServices => &["shop", "prices"][..],
            _ => &["shop"],
        };
        match case {
            Case::SeveralServices => {}
            Case::MayReceiveExports => world.correlator.opaque(APP.pid),
            Case::ReceivesExports | Case::ReceivesExportsAndItsOwn => {
                world.is_export = true;
                let received = world.open(&one, APP, 100, None);
                world.close(&received);
                world.is_export = false;
            }
        }
        // A span below a request that was seen is its own.
        let is_own = matches!(case, Case::ReceivesExportsAndItsOwn);
        export_spans(&mut world, APP, names, &[(6, is_own.then_some(1), 2)]);
        assert_eq!(world.correlator.take_name().is_some(), is_own, "{case:?}");
        let request = world.open(&one, APP, 200, None);
        assert_eq!(world.close(&request).is_suppressed, is_own, "{case:?}");
    }
}

#[test]
fn other_formats_are_taken_like_a_traceparent_if_they_are_configured() {
    let b3 = format!("b3: {}-{}-1", "07".repeat(16), "02".repeat(8));
    for formats in [&[HeaderFormat::B3][..], &[]] {
        let mut world = world(Sdk::Adopt);
        world.formats = HeaderFormats::new(formats);
        let (call, server) = world.connection(1);
        let made = world.open_with(&call, APP, 0, None, Some(&b3));
        let served = world.open_with(&server, NEXT, 0, None, Some(&b3));
        let (inner, outer) = (world.close(&served), world.close(&made));
        assert_eq!(outer.span_id == [2; 8], !formats.is_empty());
        assert_eq!((outer.format, inner.format), (formats.first().copied(), formats.first().copied()));
        let expected = if formats.is_empty() { Evidence::Wire } else { Evidence::Header };
        assert_eq!(inner.parent, Some((outer.span_id, expected)));
    }
}

#[test]
fn suppressed_calls_leave_the_links_below_them() {
    let mut world = world(Sdk::Suppress);
    let (_, one) = world.connection(1);
    let (call, server) = world.connection(2);
    let request = world.open(&one, APP, 0, Some(context(7, 1)));
    let made = world.open(&call, APP, 0, Some(context(7, 2)));
    let served = world.open(&server, NEXT, 0, Some(context(7, 2)));
    let links = [&served, &made, &request].map(|pending| world.close(pending));
    assert_eq!(links.each_ref().map(|link| link.is_suppressed), [false, true, false]);
    assert_eq!((links[0].trace_id, links[0].parent), ([7; 16], Some(([2; 8], Evidence::Header))));
}

#[test]
fn a_process_that_exports_spans_gets_none_and_what_is_below_hangs_on_what_is_above() {
    for (sdk, status, expected) in
        [(Sdk::Suppress, 200, true), (Sdk::Suppress, 503, false), (Sdk::Adopt, 200, false)]
    {
        let mut world = world(sdk);
        let (_, one) = world.connection(1);
        let (call, server) = world.connection(2);
        export(&mut world, APP, status);
        let request = world.open(&one, APP, 0, Some(context(7, 1)));
        let made = world.open(&call, APP, 0, None);
        let served = world.open(&server, NEXT, 0, None);
        let links = [&served, &made, &request].map(|pending| world.close(pending));
        assert_eq!(links.each_ref().map(|link| link.is_suppressed), [false, expected, expected]);
        let above = if expected { [1; 8] } else { links[1].span_id };
        assert_eq!((links[0].trace_id, links[0].parent), ([7; 16], Some((above, Evidence::Wire))));
        // Another program may do otherwise.
        world.correlator.program(1, "/usr/bin/other", None);
        let request = world.open(&one, APP, 100, None);
        assert!(!world.close(&request).is_suppressed);
    }
}

#[test]
fn with_adopt_no_span_is_there_twice_once_a_process_exports_its_own() {
    let mut world = world(Sdk::Adopt);
    let (_, one) = world.connection(1);
    let (call, server) = world.connection(2);
    let (bare, _) = world.connection(3);
    let ask = |world: &mut World, offset: u64, own: Option<Incoming>| {
        let request = world.open(&one, APP, offset, Some(context(7, 1)));
        let without = world.open(&bare, APP, offset, None);
        let made = world.open(&call, APP, offset, own.clone());
        let served = world.open(&server, NEXT, offset, own);
        [&served, &made, &without, &request].map(|pending| world.close(pending))
    };
    let suppressed = |links: &[Link; 4]| links.each_ref().map(|link| link.is_suppressed);
    // It passes on what it gets, and may not export.
    assert_eq!(suppressed(&ask(&mut world, 0, Some(context(7, 2)))), [false; 4]);
    export(&mut world, APP, 200);
    let links = ask(&mut world, 100, Some(context(7, 3)));
    assert_eq!(suppressed(&links), [false, true, false, true]);
    assert_eq!(links[0].parent, Some(([3; 8], Evidence::Header)));
    // Nor for a request that makes no call.
    let request = world.open(&one, APP, 200, None);
    assert!(world.close(&request).is_suppressed);
}

#[test]
fn with_adopt_requests_of_other_traces_than_the_application_s_own_keep_their_spans() {
    let mut world = world(Sdk::Adopt);
    let (_, one) = world.connection(1);
    let (call, _) = world.connection(2);
    export(&mut world, APP, 200);
    for offset in [0, 100] {
        let request = world.open(&one, APP, offset, Some(context(7, 1)));
        let made = world.open(&call, APP, offset, Some(context(8, 2 + offset as u8)));
        assert!(world.close(&made).is_suppressed);
        assert!(!world.close(&request).is_suppressed);
    }
}

#[test]
fn with_adopt_what_the_application_does_not_sample_is_left_to_the_sampler() {
    let mut world = world(Sdk::Adopt);
    let (_, one) = world.connection(1);
    let (call, _) = world.connection(2);
    export(&mut world, APP, 200);
    let unsampled = |span| Incoming { flags: Some(0), ..context(7, span) };
    for (offset, flags, expected) in [(0, 1, false), (100, 1, true), (200, 0, false)] {
        let with = |span| if flags == 1 { context(7, span) } else { unsampled(span) };
        let request = world.open(&one, APP, offset, Some(with(1)));
        let made = world.open(&call, APP, offset, Some(with(2 + offset as u8)));
        assert_eq!(world.close(&made).is_suppressed, flags == 1);
        assert_eq!(world.close(&request).is_suppressed, expected);
    }
    // As any header says it that links.
    world.formats = HeaderFormats::new(&[HeaderFormat::B3]);
    for (flag, expected) in [(1, true), (0, false)] {
        let b3 = format!("b3: {}-{}-{flag}", "07".repeat(16), "01".repeat(8));
        let request = world.open_with(&one, APP, 300 + flag, None, Some(&b3));
        assert_eq!(world.close(&request).is_suppressed, expected);
    }
}

#[test]
fn an_export_within_a_request_is_the_process_s_own_unless_the_request_was_one() {
    for (target, expected) in [(5, true), (9, false)] {
        let mut world = world(Sdk::Suppress);
        let (_, one) = world.connection(1);
        world.target = target;
        let request = world.open(&one, APP, 0, None);
        world.target = 9;
        export(&mut world, APP, 200);
        world.close(&request);
        let next = world.open(&one, APP, 100, None);
        assert_eq!(world.close(&next).is_suppressed, expected);
    }
}

#[test]
fn what_a_receiver_calls_for_an_export_hangs_on_the_next_span_above_the_export() {
    for (otlp_exports, hidden) in [(false, true), (true, false)] {
        let mut world = World::new();
        world.correlator.rules.otlp_exports = otlp_exports;
        let (_, one) = world.connection(1);
        let (export, receiver) = world.connection(2);
        let request = world.open(&one, APP, 0, None);
        world.is_export = true;
        let sent = world.open(&export, APP, 0, None);
        let received = world.open(&receiver, NEXT, 0, None);
        world.is_export = false;
        let below = world.call(NEXT);
        let links = [&received, &sent, &request].map(|pending| world.close(pending));
        assert_eq!(links.each_ref().map(|link| link.is_suppressed), [hidden, hidden, false]);
        let above = if hidden { &links[2] } else { &links[0] };
        assert_eq!(below.parent, Some((above.span_id, Evidence::SoleRequest)));
        assert!(links.iter().all(|link| link.trace_id == below.trace_id));
    }
}

#[test]
fn a_call_of_a_process_to_itself_is_its_own_whichever_end_is_seen_first() {
    for is_server_first in [false, true] {
        let mut world = world(Sdk::Adopt);
        export_spans(&mut world, APP, &["shop"], &[(9, None, 2)]);
        let (call, server) = world.connection(2);
        let (_, outer) = world.connection(3);
        let around = world.open(&outer, APP, 0, None);
        let ends = if is_server_first { [&server, &call] } else { [&call, &server] };
        let ends = ends.map(|end| world.open(end, APP, 0, Some(context(5, 6))));
        for end in ends.iter().rev() {
            assert!(world.close(end).is_suppressed, "the application exports it: {is_server_first}");
        }
        assert!(world.close(&around).is_suppressed);
    }
}
