//! What holds of each trace, however its ids and times are.

use proptest::{collection::vec, prelude::*};

use super::*;

/// Spans whose ids, parents, kinds and times meet often.
fn any_trace() -> impl Strategy<Value = Vec<Span>> {
    let one = (1..12_u64, 0..14_u64, 0..60_u64, 0..60_u64, 0..6_i64, 0..3_usize);
    vec(one, 0..24).prop_map(|spans| {
        let services = ["shop", "prices", "stock"].map(resource);
        let spans = spans.into_iter().map(|(id, parent, start, end, kind, service)| Span {
            parent_span_id: (parent > 0).then(|| SpanId(parent.to_be_bytes())),
            kind: Kind::from_number(kind),
            resource: Arc::clone(&services[service]),
            ..span(id, start, end)
        });
        spans.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn each_span_is_there_once_and_parents_come_first(spans in any_trace()) {
        let answer = laid_out(&spans);
        // Copies are one.
        let mut distinct: Vec<&Span> = Vec::new();
        for span in &spans {
            if !distinct.iter().any(|known| known.identity() == span.identity()) {
                distinct.push(span);
            }
        }
        let mut ids: Vec<_> = distinct.iter().map(|span| (span.span_id.hex(), SpanKind::from(span.kind))).collect();
        let mut answered: Vec<_> = answer.spans.iter().map(|span| (span.span_id.clone(), span.kind)).collect();
        ids.sort();
        answered.sort();
        prop_assert_eq!(ids, answered);
        for (place, span) in answer.spans.iter().enumerate() {
            match span.parent {
                Some(parent) => {
                    prop_assert!((parent as usize) < place);
                    prop_assert_eq!(answer.spans[parent as usize].depth + 1, span.depth);
                }
                None => prop_assert_eq!(span.depth, 0),
            }
            if let Some(peer) = span.peer {
                prop_assert_eq!(answer.spans[peer as usize].peer, Some(place as u32));
            }
        }
    }

    #[test]
    fn own_time_and_gaps_lie_in_the_span(spans in any_trace()) {
        let answer = laid_out(&spans);
        let mut by_service = std::collections::BTreeMap::new();
        for span in &answer.spans {
            prop_assert!(span.self_ns <= span.duration_ns);
            prop_assert!(span.start_ns + span.duration_ns <= answer.summary.duration_ns);
            for gap in &span.gaps {
                prop_assert!(span.start_ns <= gap.start_ns && gap.start_ns < gap.end_ns);
                prop_assert!(gap.end_ns <= span.start_ns + span.duration_ns);
            }
            *by_service.entry(answer.services[span.service as usize].name.clone()).or_insert(0) += span.self_ns;
        }
        let shares = answer.summary.services.iter().map(|share| (share.service.clone(), share.self_ns));
        prop_assert_eq!(shares.collect::<std::collections::BTreeMap<_, _>>(), by_service);
    }

    #[test]
    fn clocks_are_corrected_where_that_is_certain_and_no_child_leaves_its_parent(spans in any_trace()) {
        // Long after 1970: before that, nothing can be moved to.
        let later_ns = 1000;
        let spans: Vec<Span> = spans
            .into_iter()
            .map(|span| {
                let host = span.service_name().to_owned();
                let start_unix_ns = if span.start_unix_ns == 0 { 0 } else { span.start_unix_ns + later_ns };
                on_host(&host, Span { start_unix_ns, end_unix_ns: span.end_unix_ns + later_ns, ..span })
            })
            .collect();
        let answer = laid_out(&spans);
        for span in &answer.spans {
            let shift = span.clock_shift_ns.unwrap_or(0);
            let id = SpanId::parse(&span.span_id).unwrap();
            // Each is as long as it was.
            let sent = spans.iter().any(|sent| {
                let duration_ns = if sent.start_unix_ns == 0 { 0 } else { sent.duration_ns() };
                sent.span_id == id && SpanKind::from(sent.kind) == span.kind && duration_ns == span.duration_ns
            });
            prop_assert!(sent, "{:?}", span);
            let Some(parent) = span.parent.map(|parent| &answer.spans[parent as usize]) else {
                prop_assert_eq!(shift, 0, "a root stands where it was");
                continue;
            };
            let parent_shift = parent.clock_shift_ns.unwrap_or(0);
            let own = shift - parent_shift;
            prop_assert_eq!(own != 0, span.clock_skew_ns.is_some_and(|skew| skew != 0));
            prop_assert_eq!(span.clock_evidence.is_some(), span.clock_skew_ns.is_some());
            let time = |span: &TraceSpan, shift: i64| {
                (span.start_ns as i128 - shift as i128, span.start_ns as i128 - shift as i128 + span.duration_ns as i128)
            };
            let is_within = |(start, end): (i128, i128), (begin, finish): (i128, i128)| begin <= start && end <= finish;
            let was_within = is_within(time(span, shift), time(parent, parent_shift));
            let lies_within = is_within(time(span, 0), time(parent, 0));
            prop_assert!(!was_within || lies_within, "it left its parent: {:?}", span);
            if own != 0 {
                prop_assert!(!was_within && lies_within, "moved without need, or not far enough: {:?}", span);
                prop_assert_eq!((parent.kind, span.kind), (SpanKind::Client, SpanKind::Server));
                prop_assert!(answer.services[parent.service as usize].name != answer.services[span.service as usize].name);
            }
        }
    }

    #[test]
    fn critical_stretches_cover_the_root_once(spans in any_trace()) {
        let answer = laid_out(&spans);
        let mut stretches = Vec::new();
        for span in &answer.spans {
            for stretch in &span.critical {
                prop_assert!(span.start_ns <= stretch.start_ns && stretch.end_ns <= span.start_ns + span.duration_ns);
                stretches.push((stretch.start_ns, stretch.end_ns));
            }
        }
        stretches.sort_unstable();
        for pair in stretches.windows(2) {
            prop_assert_eq!(pair[0].1, pair[1].0, "one follows upon the other");
        }
        let root = answer.spans.iter().filter(|span| span.parent_span_id.is_none() && span.parent.is_none()).min_by_key(|span| span.start_ns);
        let root = root.or(answer.spans.first());
        let covered = stretches.first().zip(stretches.last()).map(|(first, last)| (first.0, last.1));
        if let Some(root) = root.filter(|root| root.duration_ns > 0) {
            // Of roots that start together, the longest comes first.
            prop_assert!(covered.is_some_and(|(start, end)| start == root.start_ns && end >= start));
        }
        if let (Some(root), Some((start, end))) = (root, covered) {
            prop_assert_eq!((start, end), (root.start_ns, root.start_ns + root.duration_ns));
        }
    }

    #[test]
    fn a_summary_is_that_of_the_layout_and_limits_hold(spans in any_trace(), most in 0..30_usize) {
        let options = Options { max_spans: most, ..Options::default() };
        let answer = lay_out(&spans, &options);
        let mut written = Vec::new();
        write_json(&spans, &options, &mut written).unwrap();
        prop_assert_eq!(serde_json::from_slice::<TraceAnswer>(&written).unwrap(), answer.clone());
        prop_assert_eq!(&answer.summary, &summarize(&spans));
        prop_assert_eq!(answer.spans.len(), most.min(answer.summary.spans as usize));
        prop_assert_eq!(answer.spans.len() + answer.omitted_spans as usize, answer.summary.spans as usize);
    }
}
