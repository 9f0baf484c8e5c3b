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
        // Exact duplicates are one.
        let mut distinct: Vec<&Span> = Vec::new();
        for span in &spans {
            if !distinct.contains(&span) {
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
        prop_assert_eq!(&answer.summary, &summarize(&spans));
        prop_assert_eq!(answer.spans.len(), most.min(answer.summary.spans as usize));
        prop_assert_eq!(answer.spans.len() + answer.omitted_spans as usize, answer.summary.spans as usize);
    }
}
