//! What a span says of itself.

use super::*;
use crate::{
    answer::AttributeValue,
    samples::texts,
    span::{Event, Link, StatusCode, TraceId},
};

fn target(pairs: &[(&str, &str)]) -> String {
    let span = Span { attributes: texts(pairs), ..span(1, 1, 2) };
    summarize(&[span]).root_target
}

#[test]
fn targets_say_what_was_asked() {
    let long = format!("select *\n   from orders where id in ({})", "1, ".repeat(100));
    // 80 characters of the query as it was sent.
    let short = format!("mysql select * from orders where id in ({}1", "1, ".repeat(14));
    for (pairs, expected) in [
        (
            &[
                ("http.request.method", "GET"),
                ("url.path", "/a"),
                ("url.query", "b=c"),
                ("http.route", "/{x}"),
            ][..],
            "GET /a?b=c",
        ),
        (&[("http.request.method", "POST"), ("url.full", "http://shop:8080/a/b?c=d")], "POST /a/b?c=d"),
        (&[("http.request.method", "GET"), ("url.full", "https://shop")], "GET /"),
        (&[("http.request.method", "GET"), ("url.full", "https://shop?a=b")], "GET ?a=b"),
        (
            &[
                ("http.request.method", "_OTHER"),
                ("http.request.method_original", "BREW"),
                ("http.route", "/pot"),
            ],
            "BREW /pot",
        ),
        (&[("http.method", "GET"), ("http.target", "/old?x=1")], "GET /old?x=1"),
        (&[("http.method", "GET"), ("http.url", "http://shop/old")], "GET /old"),
        (
            &[
                ("db.system.name", "postgresql"),
                ("db.operation.name", "SELECT"),
                ("db.collection.name", "orders"),
            ],
            "postgresql SELECT orders",
        ),
        (&[("db.system", "redis"), ("db.statement", "GET key")], "redis GET key"),
        (&[("db.system", "mysql"), ("db.query.text", &long)], &short),
        (
            &[("db.system.name", "mysql"), ("db.query.summary", "SELECT a, b"), ("db.query.text", "x")],
            "mysql SELECT a, b",
        ),
        (
            &[("rpc.system", "grpc"), ("rpc.service", "shop.Cart"), ("rpc.method", "Add")],
            "grpc shop.Cart/Add",
        ),
        (&[("rpc.system.name", "grpc"), ("rpc.method", "shop.Cart/Add")], "grpc shop.Cart/Add"),
        (
            &[
                ("messaging.system", "kafka"),
                ("messaging.operation.type", "send"),
                ("messaging.destination.name", "orders"),
            ],
            "kafka send orders",
        ),
        (&[("http.request.method", "GET")], "span 1"),
        (&[("db.system.name", "")], "span 1"),
        (&[], "span 1"),
    ] {
        assert_eq!(target(pairs), expected, "{pairs:?}");
    }
    assert_eq!(
        target(&[("http.request.method", "GET"), ("url.path", &"é".repeat(1000))]).chars().count(),
        400
    );
}

#[test]
fn the_status_of_http_is_read_by_its_old_and_its_new_name() {
    for (key, value, expected) in [
        ("http.response.status_code", Value::Int(503), Some(503)),
        ("http.status_code", Value::Str("404".into()), Some(404)),
        ("http.response.status_code", Value::Int(-1), None),
        ("http.response.status_code", Value::Int(70_000), None),
        ("http.response.status_code", Value::Double(200.0), None),
        ("rpc.grpc.status_code", Value::Int(2), None),
    ] {
        let span = Span { attributes: vec![(key.into(), value.clone())], ..span(1, 1, 2) };
        assert_eq!(summarize(&[span]).http_status, expected, "{key} {value:?}");
    }
}

#[test]
fn an_error_says_what_it_is_by_its_status_or_its_exception_or_its_type() {
    let exception = Event {
        time_unix_ns: 5,
        name: "exception".into(),
        attributes: texts(&[("exception.type", "IOError"), ("exception.message", "no such file")]),
        dropped_attributes: 0,
    };
    let failed =
        Span { status: StatusCode::Error, attributes: texts(&[("error.type", "timeout")]), ..span(1, 1, 2) };
    let message = |span: Span| laid_out(&[span]).spans[0].status_message.clone();
    assert_eq!(
        message(Span { status_message: "said".into(), events: vec![exception.clone()], ..failed.clone() }),
        "said"
    );
    assert_eq!(message(Span { events: vec![exception.clone()], ..failed.clone() }), "no such file");
    assert_eq!(message(failed.clone()), "timeout");
    assert_eq!(message(Span { status: StatusCode::Unset, ..failed }), "");
}

#[test]
fn services_attributes_events_and_links_are_told() {
    let mut first = called(Kind::Server, "shop", span(1, 1000, 2000));
    first.scope = Arc::new(Scope { name: "http".into(), version: "1.2".into(), ..Scope::default() });
    first.attributes = vec![("list".into(), Value::Array(vec![Value::Int(1)]))];
    first.dropped_attributes = 2;
    first.events = vec![Event {
        time_unix_ns: 900,
        name: "early".into(),
        attributes: texts(&[("k", "v")]),
        dropped_attributes: 0,
    }];
    first.links = [5, 6]
        .map(|id: u128| Link {
            trace_id: TraceId(id.to_be_bytes()),
            span_id: SpanId([1; 8]),
            trace_state: "".into(),
            attributes: Vec::new(),
            dropped_attributes: 0,
            flags: 0,
        })
        .into();
    let mut second = called(Kind::Internal, "shop", child(2, 1, 1100, 1200));
    second.scope = Arc::new(Scope { name: "orm".into(), ..Scope::default() });
    let third = called(Kind::Server, "prices", child(3, 1, 1300, 1400));
    let options = Options { is_stored: &|id| id == TraceId(5_u128.to_be_bytes()), ..Options::default() };
    let answer = lay_out(vec![third, second, first], &options);
    let services: Vec<_> = answer.services.iter().map(|service| (&*service.name, &*service.scope)).collect();
    assert_eq!(services, [("shop", "http 1.2, orm"), ("prices", "")]);
    let places: Vec<_> = answer.spans.iter().map(|span| (span.service, &*span.scope)).collect();
    assert_eq!(places, [(0, "http 1.2"), (0, "orm"), (1, "")]);
    let root = of(&answer, 1);
    let list = AttributeValue { key: "list".into(), value: "[1]".into(), kind: "array".into() };
    assert_eq!(root.attributes, [list]);
    assert_eq!((root.events[0].time_ns, &*root.events[0].name), (0, "early"));
    assert_eq!(root.links.iter().map(|link| link.is_stored).collect::<Vec<_>>(), [true, false]);
    assert_eq!(answer.notes, ["The senders left out 2 attributes of these spans."]);
}

#[test]
fn long_values_are_cut_and_say_so_and_too_many_are_left_out() {
    let attributes = texts(&[("big", "ééé"), ("small", "x")]);
    let spans =
        [Span { attributes: attributes.clone(), ..span(1, 1, 2) }, Span { attributes, ..child(2, 1, 1, 2) }];
    let options = Options { max_value_bytes: 5, max_attribute_bytes: 40, ..Options::default() };
    let answer = lay_out(&spans, &options);
    let values: Vec<_> = answer
        .spans
        .iter()
        .map(|span| span.attributes.iter().map(|each| &*each.value).collect::<Vec<_>>())
        .collect();
    assert_eq!(values, [vec!["éé… (4 of 6 bytes)", "x"], vec![]]);
    assert_eq!(
        answer.notes,
        ["2 attributes are left out here, since the trace has too many. Its OTLP JSON has them all."]
    );
}

#[test]
fn names_of_a_megabyte_are_cut() {
    let long: Arc<str> = "n".repeat(1 << 20).into();
    let spans = [Span { name: Arc::clone(&long), resource: resource(&long), ..span(1, 1, 2) }];
    let answer = laid_out(&spans);
    let root = &answer.spans[0];
    assert_eq!((root.name.len(), root.target.len(), answer.services[0].name.len()), (1000, 400, 1000));
    let summary = summarize(&spans);
    let services: Vec<_> = summary.services.iter().map(|share| share.service.len()).collect();
    assert_eq!((summary.root_name.len(), summary.root_service.len(), services), (1000, 1000, vec![1000]));
}
