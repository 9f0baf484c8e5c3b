//! Spans for analyses: those of the store's columns are those of whole spans.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tracer_model::{
    answer::Window,
    facts::{Facts, Gathered},
    span::{Kind, Span, TraceId, Value},
};
use tracer_store::{Limits, Store};

use crate::{
    against_model::{batches, filled, windows},
    spans::{MS, START_UNIX_NS, span},
};

const ALWAYS: Window = Window { start_unix_us: 0, end_unix_us: u64::MAX };

/// A span that was gathered: its id, its parent, when it was under way, and what it says.
type Told = (u64, u64, u64, u64, String);

fn told(gathered: &Gathered) -> BTreeMap<TraceId, Vec<Told>> {
    let facts: &[Facts] = gathered.facts.all();
    let mut begin = 0;
    let each = gathered.traces.iter().map(|(trace_id, end)| {
        let rows = &gathered.rows[std::mem::replace(&mut begin, *end)..*end];
        let mut rows: Vec<Told> = rows
            .iter()
            .map(|row| {
                let facts = format!("{:?}", facts[row.facts as usize]);
                (row.span_id, row.parent, row.start_ns, row.end_ns, facts)
            })
            .collect();
        rows.sort_unstable();
        (*trace_id, rows)
    });
    each.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_gathered_from_columns_is_what_whole_spans_tell(
        batches in batches(),
        window in windows(),
        max_spans_per_segment in 1..30usize,
    ) {
        let (store, _) = filled(&batches, max_spans_per_segment);
        let window = window.unwrap_or(ALWAYS);
        let mut expected = Gathered::default();
        for trace in 1..12u128 {
            let spans = store.trace(TraceId(trace.to_be_bytes()), usize::MAX).unwrap_or_default();
            let begins_us = spans.iter().map(|span| span.start_unix_ns / 1000).min();
            if begins_us.is_some_and(|begins| begins >= window.start_unix_us && begins < window.end_unix_us) {
                expected.add(&spans);
            }
        }
        let gathered = store.gather(window, usize::MAX, None);
        prop_assert_eq!(told(&gathered), told(&expected));
        prop_assert_eq!((gathered.omitted_traces, gathered.incomplete), (0, None));
    }
}

#[test]
fn of_too_many_spans_the_newest_whole_traces_are_gathered_and_the_others_counted() {
    let store = Store::in_memory(Limits { max_spans_per_segment: 4, ..Limits::default() });
    // Each trace has two spans, the second of trace 2 comes with the last ones.
    let pair = |trace: u128, at_ms| {
        vec![span(trace, 1, 0, "shop", "a", at_ms), span(trace, 2, 1, "shop", "b", at_ms)]
    };
    store.insert(pair(1, 0));
    store.insert(vec![pair(2, 1).remove(0)]);
    for trace in 3..8 {
        store.insert(pair(trace, trace as u64));
    }
    store.insert(vec![pair(2, 1).remove(1)]);
    let gathered = store.gather(ALWAYS, 8, None);
    let traces: Vec<TraceId> = told(&gathered).into_keys().collect();
    let id = |trace: u128| TraceId(trace.to_be_bytes());
    assert!(traces.contains(&id(7)) && !traces.contains(&id(2)) && !traces.contains(&id(1)), "{traces:?}");
    assert!(gathered.omitted_traces > 0);
    assert_eq!(gathered.rows.len(), traces.len() * 2, "each trace is whole");
}

#[test]
fn values_that_differ_from_span_to_span_are_told_of_each() {
    let store = Store::in_memory(Limits::default());
    let spans: Vec<Span> = (0..200)
        .map(|id| {
            let mut span = span(1, id + 1, 0, "shop", "GET", 0);
            span.kind = Kind::Client;
            span.start_unix_ns = START_UNIX_NS + id * MS;
            span.attributes = vec![
                ("server.address".into(), Value::Str(format!("host-{id}").into())),
                ("http.request.resend_count".into(), Value::Int(id as i64)),
            ];
            span
        })
        .collect();
    store.insert(spans);
    let gathered = store.gather(ALWAYS, usize::MAX, None);
    for (id, row) in gathered.rows.iter().enumerate() {
        let facts = &gathered.facts.all()[row.facts as usize];
        let peer = facts.peer.as_ref().map(|peer| peer.name.clone());
        assert_eq!((peer, usize::from(facts.resend)), (Some(format!("host-{id}")), id));
    }
}
