//! Any spans, any query: the store tells what the model tells.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{prelude::*, sample::select};
use tracer_model::{
    answer::Window,
    span::{Event, Kind, Link, Scope, Span, SpanId, StatusCode, TraceId, Value},
};
use tracer_store::{
    Limits, Order, Query, SearchOptions, Store,
    query::{Condition, Term},
};

use crate::{
    model::Model,
    spans::{MS, START_UNIX_NS, resource, span},
};

const QUERIES: [&str; 72] = [
    "",
    "service:carts",
    "service:ca*",
    "-service:carts",
    "operation:\"GET /x\"",
    "name:GET*",
    "kind:client",
    "status:error",
    "-status:error kind:server",
    "trace:2",
    "-trace:2",
    "duration>3ms",
    "duration<=1ms -duration<1ms",
    "a=x",
    "a=1",
    "a!=x",
    "-a=x",
    "a=*",
    "-a=*",
    "a=x*",
    "a>0",
    "a<=2.5",
    "a=true",
    "host.name=node-1",
    "host.name=x",
    "host.name!=node-1",
    "host.name=*",
    "url.path=/orders/*",
    "url.path=/orders/7",
    "url.path!=/orders/7",
    "ORDERS",
    "orders/1",
    "-orders",
    "get",
    "cart",
    "ÄPF",
    "absent-text",
    "nokey=*",
    "\"\"=*",
    "a=x kind:server orders duration>1ms",
    "service:CARTS",
    "service:=carts",
    "service:=Carts",
    "service:CA*",
    "operation:ÄPFEL",
    "service!=carts",
    "operation!=work kind!=client",
    "status!=error",
    "trace!=2",
    "trace:0000000000000000000000000000000* service:carts",
    "trace:1*",
    "-trace:1*",
    "trace.duration>3ms",
    "trace.duration<=20ms service:carts",
    "-trace.duration>3ms",
    "trace.spans>2",
    "trace.spans=1",
    "trace.errors=0",
    "-trace.errors=0 kind:server",
    "trace:2 trace.spans>1 trace.errors>0",
    "calls:carts>orders",
    "-calls:carts>orders",
    "calls:*>*",
    "calls:ORD*>*",
    "calls:outside>carts",
    "calls:*>db:5432",
    "calls:kafka>*",
    "calls:cash>kafka trace.spans>1",
    "trace:3 calls:*>cash",
    "service:carts status:error OR service:orders a=x",
    "trace.errors>0 a=x OR calls:carts>* OR absent-text",
    "nokey=* OR get duration<2ms OR -calls:*>*",
];

fn values() -> impl Strategy<Value = Value> {
    let text = select(vec!["x", "xy", "y", "", "1", "2.5", "node-1", "/orders/7", "Äpfel"]);
    let scalar = prop_oneof![
        4 => text.prop_map(|text| Value::Str(text.into())),
        1 => any::<bool>().prop_map(Value::Bool),
        2 => select(vec![0, 1, -1, 2, 1 << 28, -(1 << 28) - 1, i64::MIN, i64::MAX]).prop_map(Value::Int),
        1 => select(vec![0.0, 1.0, 2.5, -1e300]).prop_map(Value::Double),
        1 => Just(Value::Bytes(Arc::from(*b"x"))),
        1 => Just(Value::Empty),
    ];
    let list = prop::collection::vec(scalar.clone(), 0..3);
    prop_oneof![
        8 => scalar,
        1 => list.clone().prop_map(Value::Array),
        1 => list.prop_map(|values| Value::Map(values.into_iter().map(|value| ("x".into(), value)).collect())),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<(Arc<str>, Value)>> {
    let target = (0..200u32).prop_map(|number| Value::Str(format!("/orders/{number}").into()));
    let attribute = prop_oneof![
        3 => (select(vec!["a", "host.name", ""]), values()).prop_map(|(key, value)| (Arc::from(key), value)),
        2 => target.prop_map(|target| (Arc::from("url.path"), target)),
        1 => Just((Arc::from("server.address"), Value::Str("db".into()))),
        1 => Just((Arc::from("server.port"), Value::Int(5432))),
        1 => Just((Arc::from("messaging.system"), Value::Str("kafka".into()))),
        1 => values().prop_map(|value| (Arc::from("url.full"), value)),
    ];
    prop::collection::vec(attribute, 0..4)
}

fn spans() -> impl Strategy<Value = Span> {
    let ids = (1..12u128, 1..6u64, 0..6u64);
    let of = (select(vec!["carts", "orders", "cash"]), select(vec!["GET /x", "GET /y", "äpfel", "work"]));
    let kinds =
        [Kind::Server, Kind::Client, Kind::Internal, Kind::Producer, Kind::Consumer, Kind::Unspecified];
    let how = (select(kinds.to_vec()), select(vec![StatusCode::Unset, StatusCode::Ok, StatusCode::Error]));
    let when = (0..40u64, -2..6i64);
    let more = (any::<bool>(), attributes(), 0..3u32);
    (ids, of, how, when, attributes(), more).prop_map(
        |((trace, id, parent), (service, name), (kind, status), (at_ms, lasts_ms), attributes, more)| {
            let mut span = span(trace, id, parent, service, name, at_ms);
            let (has_more, more_attributes, dropped) = more;
            span.end_unix_ns = span.start_unix_ns.saturating_add_signed(lasts_ms * MS as i64 + 77);
            (span.kind, span.status, span.attributes) = (kind, status, attributes);
            span.dropped_attributes = dropped;
            if has_more {
                span.status_message = "went wrong".into();
                span.trace_state = "v=1".into();
                let event = Event {
                    time_unix_ns: span.start_unix_ns,
                    name: "exception".into(),
                    attributes: more_attributes.clone(),
                    dropped_attributes: dropped,
                };
                let link = Link {
                    trace_id: TraceId((trace << 70 | 3).to_be_bytes()),
                    span_id: SpanId((id << 40).to_be_bytes()),
                    trace_state: "w=2".into(),
                    attributes: more_attributes.clone(),
                    dropped_attributes: dropped,
                    flags: 0x300,
                };
                span.links = vec![link; dropped as usize];
                span.events = vec![event; 1 + dropped as usize];
                span.scope =
                    Arc::new(Scope { name: "other".into(), attributes: more_attributes, ..Scope::default() });
                span.resource = resource(service);
            }
            span
        },
    )
}

pub fn windows() -> impl Strategy<Value = Option<Window>> {
    let within = (0..40u64, 0..40u64).prop_map(|(start_ms, length_ms)| {
        let start_unix_us = START_UNIX_NS / 1000 + start_ms * 1000;
        Window { start_unix_us, end_unix_us: start_unix_us + length_ms * 1000 }
    });
    prop_oneof![Just(None), within.prop_map(Some)]
}

pub fn filled(batches: &[Vec<Span>], max_spans_per_segment: usize) -> (Store, Model) {
    let store = Store::in_memory(Limits { max_spans_per_segment, ..Limits::default() });
    let mut model = Model::default();
    for batch in batches {
        store.insert(batch.clone());
        batch.iter().cloned().for_each(|span| model.add(span));
    }
    (store, model)
}

pub fn batches() -> impl Strategy<Value = Vec<Vec<Span>>> {
    prop::collection::vec(prop::collection::vec(spans(), 0..40), 0..6)
}

/// Where two spans have one id, or go round in circles, there is more than one way to tell of them.
fn has_distinct_ids(spans: &[Span]) -> bool {
    let ids: std::collections::HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    ids.len() == spans.len()
        && spans.iter().all(|span| span.parent_span_id.is_none_or(|parent| parent < span.span_id))
}

const ALWAYS: Window = Window { start_unix_us: 0, end_unix_us: u64::MAX / 1000 };

proptest! {
    #[test]
    fn searches_find_what_the_model_finds(
        batches in batches(),
        segment in select(vec![1, 7, 1000]),
        window in windows(),
        limit in 0..12usize,
        orders in select(vec![[Order::Newest, Order::Slowest], [Order::Errors, Order::Spans]]),
    ) {
        let (store, model) = filled(&batches, segment);
        for text in QUERIES {
            let query = Query::parse(text).expect(text);
            for order in orders {
                let answer = store.search(&query, &SearchOptions { limit, window, order, deadline: None });
                let wanted = model.search(&query, window, order);
                prop_assert_eq!(answer.has_more, wanted.len() > limit, "{}", text);
                let found: Vec<String> = answer.traces.iter().map(|trace| trace.trace_id.clone()).collect();
                let wanted: Vec<String> = wanted.iter().take(limit).map(|(_, id)| id.hex()).collect();
                prop_assert_eq!(found, wanted, "{}", text);
                for trace in answer.traces {
                    let matched = trace.matched_span_id.as_deref().and_then(SpanId::parse);
                    let is_right = matched.is_some_and(|matched| model.meets(&query, &trace.trace_id, matched));
                    prop_assert!(is_right, "{}", text);
                }
            }
        }
    }

    #[test]
    fn terms_that_nothing_meets_are_told_if_nothing_is_found(
        batches in batches(),
        segment in select(vec![1, 7, 1000]),
        window in windows(),
        texts in prop::collection::vec(select(QUERIES.to_vec()), 1..4),
    ) {
        let (store, model) = filled(&batches, segment);
        let query = Query::parse(&texts.join(" ")).expect("terms");
        let options = SearchOptions { window, ..SearchOptions::default() };
        let answer = store.search(&query, &options);
        let terms = match query.terms.as_slice() {
            [Term { condition: Condition::Any(lists), .. }] => lists.concat(),
            terms => terms.to_vec(),
        };
        // A search of one trace is asked again and again by who follows it.
        let is_of_one = query.terms.iter().any(|term| matches!(term.condition, Condition::Trace(_)) && !term.is_negated);
        for term in terms {
            let text = term.to_string();
            let alone = Query { terms: vec![term] };
            let is_empty = model.search(&alone, window, Order::Newest).is_empty();
            let is_told = answer.traces.is_empty() && !is_of_one;
            prop_assert_eq!(answer.empty_terms.contains(&text), is_empty && is_told, "{} of {}", text, query);
        }
    }

    #[test]
    fn calls_and_own_time_are_the_same_however_traces_lie_in_segments(batches in batches(), window in windows()) {
        let window = window.unwrap_or(ALWAYS);
        let told = [1, 7, 1000].map(|segment| {
            let (store, _) = filled(&batches, segment);
            let map = store.map(window, false);
            // Twice: the second time from what is kept.
            prop_assert_eq!(&map, &store.map(window, false));
            let edges: BTreeMap<_, _> =
                map.edges.into_iter().map(|edge| ((edge.from, edge.to), (edge.red.count, edge.red.errors))).collect();
            let nodes: BTreeMap<_, _> =
                map.nodes.into_iter().map(|node| (node.id, (node.red.count, node.red.errors))).collect();
            let own: BTreeMap<_, _> = store
                .services()
                .into_iter()
                .flat_map(|service| store.service(&service, window).map(|answer| (service, answer.operations)))
                .flat_map(|(service, rows)| {
                    rows.into_iter().map(move |row| ((service.clone(), row.name, row.kind), row.self_ns))
                })
                .collect();
            Ok((edges, nodes, own))
        });
        let [one, several, all] = told;
        let one = one?;
        prop_assert_eq!(&one, &several?);
        prop_assert_eq!(&one, &all?);
    }

    #[test]
    fn traces_come_back_as_they_came(batches in batches(), segment in select(vec![1, 7, 1000])) {
        let (store, model) = filled(&batches, segment);
        for number in 1..12u128 {
            let trace_id = TraceId(number.to_be_bytes());
            let wanted = model.trace(trace_id);
            prop_assert_eq!(store.trace_spans(trace_id) as usize, wanted.len());
            prop_assert_eq!(store.trace(trace_id, 3).unwrap_or_default(), wanted[..wanted.len().min(3)].to_vec());
            prop_assert_eq!(store.trace(trace_id, usize::MAX).unwrap_or_default(), wanted);
        }
        prop_assert_eq!(store.status().spans as usize, model.spans.len());
    }

    #[test]
    fn summaries_tell_of_all_spans_of_a_trace(batches in batches(), segment in select(vec![1, 7, 1000])) {
        let (store, model) = filled(&batches, segment);
        let options = SearchOptions { limit: 100, ..SearchOptions::default() };
        for summary in store.search(&Query::default(), &options).traces {
            let trace_id = TraceId::parse(&summary.trace_id).expect("an id");
            let spans = model.trace(trace_id);
            let (start, duration) = model.start_and_duration(trace_id);
            prop_assert_eq!((summary.start_unix_us, summary.duration_ns), (start / 1000, duration));
            prop_assert_eq!(summary.spans as usize, spans.len());
            let errors = spans.iter().filter(|span| span.status == StatusCode::Error).count();
            prop_assert_eq!(summary.errors as usize, errors);
            // What is told of it where it is drawn is told of it here.
            let mut drawn = tracer_model::layout::summarize(&spans);
            let mut told = summary.clone();
            told.services.sort_by(|a, b| (a.self_ns, &a.service).cmp(&(b.self_ns, &b.service)));
            drawn.services.sort_by(|a, b| (a.self_ns, &a.service).cmp(&(b.self_ns, &b.service)));
            drawn.matched_span_id = summary.matched_span_id.clone();
            if has_distinct_ids(&spans) {
                prop_assert_eq!(told, drawn);
            }
            let told: BTreeMap<_, _> = summary.services.iter().map(|of| (of.service.as_str(), of.spans)).collect();
            let mut counted = BTreeMap::new();
            spans.iter().for_each(|span| *counted.entry(span.resource.service_name()).or_insert(0) += 1);
            prop_assert_eq!(told, counted);
        }
    }

    #[test]
    fn services_and_operations_are_those_of_the_spans(
        batches in batches(),
        segment in select(vec![1, 7, 1000]),
        window in windows(),
    ) {
        let (store, model) = filled(&batches, segment);
        let window = window.unwrap_or(ALWAYS);
        let told = store.service_rows(window).services.into_iter();
        let told: BTreeMap<_, _> = told
            .map(|row| (row.service, (row.red.count, row.red.errors, row.red.p50_ns, row.red.p95_ns)))
            .collect();
        let wanted = model.services(window);
        prop_assert_eq!(&told, &wanted);
        for service in store.services() {
            prop_assert_eq!(store.operations(&service), model.operations(&service));
            let answer = store.service(&service, window).expect("a service that is listed");
            let red = answer.service.red;
            let told = (red.count, red.errors, red.p50_ns, red.p95_ns);
            prop_assert_eq!(told, wanted.get(&service).copied().unwrap_or_default());
            let in_columns: u64 = answer.series.columns.iter().map(|red| red.count).sum();
            prop_assert_eq!(in_columns, red.count);
            let of_service = model.spans.iter().filter(|span| {
                span.resource.service_name() == service && crate::model::is_within(span, Some(window))
            });
            let in_operations: u64 = answer.operations.iter().map(|row| row.red.count).sum();
            prop_assert_eq!(in_operations as usize, of_service.count());
        }
        prop_assert!(store.service("nobody", window).is_none());
    }

    #[test]
    fn heatmaps_count_what_the_model_counts(
        batches in batches(),
        segment in select(vec![1, 7, 1000]),
        window in windows(),
        columns in 1..20u32,
        rows in 1..20u32,
    ) {
        let (store, model) = filled(&batches, segment);
        let window = window.unwrap_or(Window {
            start_unix_us: START_UNIX_NS / 1000,
            end_unix_us: START_UNIX_NS / 1000 + 40_000,
        });
        for text in QUERIES {
            let query = Query::parse(text).expect(text);
            let map = store.heatmap(&query, window, columns, rows, None);
            prop_assert!(map.row_ns.len() <= rows as usize && map.columns == columns);
            let told: BTreeMap<_, _> =
                map.cells.iter().map(|cell| ((cell.column, cell.row), (cell.count, cell.errors))).collect();
            prop_assert_eq!(told, model.cells(&query, window, &map), "{}", text);
        }
    }

    #[test]
    fn ranks_are_those_among_the_spans_of_the_operation(batches in batches(), segment in select(vec![1, 1000])) {
        let (store, model) = filled(&batches, segment);
        for span in &model.spans {
            let of_operation = model.spans.iter().filter(|other| {
                (&other.name, other.kind) == (&span.name, span.kind)
                    && other.resource.service_name() == span.resource.service_name()
            });
            let all = of_operation.clone().count();
            let no_longer = of_operation.filter(|other| other.duration_ns() <= span.duration_ns()).count();
            let rank = store.rank(span.resource.service_name(), &span.name, span.kind, span.duration_ns());
            prop_assert_eq!(rank, Some((no_longer as f64 / all as f64, all as u32)));
        }
    }
}
