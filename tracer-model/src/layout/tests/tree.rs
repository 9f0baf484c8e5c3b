//! The tree, and what is odd in it.

use super::*;

#[test]
fn parents_come_before_children_and_children_by_their_starts() {
    // As they may arrive: the children first.
    let spans = [
        child(4, 2, 130, 140),
        child(3, 1, 160, 190),
        child(5, 2, 115, 125),
        child(2, 1, 110, 150),
        span(1, 100, 200),
    ];
    let answer = laid_out(&spans);
    assert_eq!(order(&answer), [(1, 0), (2, 1), (5, 2), (4, 2), (3, 1)]);
    let parents: Vec<_> = answer.spans.iter().map(|span| span.parent).collect();
    assert_eq!(parents, [None, Some(0), Some(1), Some(1), Some(0)]);
    assert_eq!((of(&answer, 4).start_ns, of(&answer, 4).duration_ns), (30, 10));
    assert_eq!(answer.notes, [""; 0]);
    assert_eq!(answer.summary.duration_ns, 100);
}

#[test]
fn the_longer_of_two_that_start_together_comes_first() {
    let answer = laid_out(&[span(1, 0, 100), child(2, 1, 10, 20), child(3, 1, 10, 30)].map(later));
    assert_eq!(order(&answer), [(1, 0), (3, 1), (2, 1)]);
}

/// A span at a time of day: a start of zero is none.
fn later(span: Span) -> Span {
    Span { start_unix_ns: span.start_unix_ns + 1_000_000, end_unix_ns: span.end_unix_ns + 1_000_000, ..span }
}

#[test]
fn spans_without_their_parent_stand_as_roots_and_are_counted() {
    let answer =
        laid_out(&[child(2, 9, 100, 200), child(3, 9, 110, 120), child(4, 8, 90, 95), child(5, 2, 150, 160)]);
    assert_eq!(order(&answer), [(4, 0), (2, 0), (5, 1), (3, 0)]);
    assert_eq!(of(&answer, 2).parent, None);
    assert_eq!(of(&answer, 2).parent_span_id.as_deref(), Some("0000000000000009"));
    assert_eq!(
        answer.notes,
        ["3 of 4 spans have a parent that is not here (2 missing parents in all). They stand as roots."]
    );
    assert!(!answer.summary.has_root);
    assert_eq!(answer.summary.root_name, "span 4", "the earliest");

    let answer = laid_out(&[child(2, 9, 90, 200), span(1, 100, 120)]);
    assert_eq!(answer.notes, ["1 of 2 spans has a parent that is not here. It stands as a root."]);
    assert!(answer.summary.has_root);
    assert_eq!(
        answer.summary.root_name, "span 1",
        "a span without a parent is the root, also if it is not the earliest"
    );
}

#[test]
fn exact_duplicates_are_shown_once() {
    let spans = [
        span(1, 100, 200),
        child(2, 1, 110, 120),
        span(1, 100, 200),
        child(2, 1, 110, 120),
        child(2, 1, 110, 120),
    ];
    let answer = laid_out(&spans);
    assert_eq!(order(&answer), [(1, 0), (2, 1)]);
    assert_eq!(answer.summary.spans, 2);
    assert_eq!(answer.notes, ["3 copies of spans came. Each span is shown once."]);
}

#[test]
fn of_copies_the_one_that_ends_last_is_shown() {
    let whole = Span { end_unix_ns: 190, ..child(2, 1, 110, 120) };
    let answer = laid_out(&[span(1, 100, 200), child(2, 1, 110, 120), whole, child(2, 1, 110, 130)]);
    assert_eq!(of(&answer, 2).duration_ns, 80);
    assert_eq!(answer.summary.spans, 2);
    assert_eq!(answer.notes, ["2 copies of spans came. Each span is shown once."]);
}

#[test]
fn spans_with_one_id_that_differ_are_all_shown() {
    let mut other = child(2, 1, 110, 130);
    other.name = "other".into();
    let answer = laid_out(&[span(1, 100, 200), child(2, 1, 110, 120), other, child(3, 2, 111, 112)]);
    let ids: Vec<u64> = order(&answer).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [1, 2, 2, 3]);
    let names: Vec<&str> = answer.spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["span 1", "other", "span 2", "span 3"]);
    assert_eq!(answer.spans[3].parent, Some(2), "the first that came with the id");
}

#[test]
fn both_ends_of_a_call_with_one_id_lie_below_each_other() {
    // As Zipkin's clients name them: the server's span has the id and the parent of the client's.
    let spans = [
        called(Kind::Server, "shop", span(1, 100, 200)),
        called(Kind::Server, "prices", child(2, 1, 120, 180)),
        called(Kind::Client, "shop", child(2, 1, 110, 190)),
        called(Kind::Internal, "prices", child(3, 2, 130, 140)),
        called(Kind::Internal, "shop", child(4, 2, 111, 112)),
    ];
    let answer = laid_out(&spans);
    assert_eq!(order(&answer), [(1, 0), (2, 1), (4, 2), (2, 2), (3, 3)]);
    assert_eq!([1, 3].map(|at| answer.spans[at].kind), [SpanKind::Client, SpanKind::Server]);
    assert_eq!(answer.spans[2].parent, Some(1), "what the client did lies below its end");
    assert_eq!(answer.spans[4].parent, Some(3), "what the server did lies below its end");
    assert_eq!((answer.spans[1].peer, answer.spans[3].peer), (Some(3), Some(1)));
    assert_eq!(answer.notes, [""; 0]);
}

#[test]
fn circles_and_spans_that_name_themselves_lose_no_span() {
    let spans = [
        child(1, 1, 100, 200),
        // 2 → 3 → 4 → 2, with 5 below 3: cut above 4, the earliest.
        child(2, 3, 130, 140),
        child(3, 4, 120, 150),
        child(4, 2, 110, 160),
        child(5, 3, 125, 126),
    ];
    let answer = laid_out(&spans);
    assert_eq!(order(&answer), [(1, 0), (4, 0), (3, 1), (5, 2), (2, 2)]);
    assert_eq!(
        answer.notes,
        [
            "Spans name each other, or themselves, as parents: 2 circles. The earliest span of each stands as a root."
        ]
    );
    assert_eq!(answer.summary.root_name, "span 1");
}

#[test]
fn times_that_cannot_be_are_put_right_and_told() {
    let answer =
        laid_out(&[span(1, 100, 200), child(2, 1, 150, 120), child(3, 1, 0, 170), child(4, 1, 0, 0)]);
    assert_eq!((of(&answer, 2).start_ns, of(&answer, 2).duration_ns), (50, 0));
    assert_eq!((of(&answer, 3).start_ns, of(&answer, 3).duration_ns), (70, 0));
    assert_eq!((of(&answer, 4).start_ns, of(&answer, 4).duration_ns), (0, 0));
    assert_eq!(
        answer.notes,
        [
            "1 span ends before it starts. It is shown without a duration.",
            "2 spans do not say when they started. They stand at their ends."
        ]
    );
    assert_eq!((answer.summary.start_unix_us, answer.summary.duration_ns), (0, 100));
}

#[test]
fn of_too_many_spans_the_deepest_are_left_out() {
    let spans = [
        span(1, 100, 200),
        child(2, 1, 110, 150),
        child(3, 2, 120, 130),
        child(4, 1, 160, 170),
        child(5, 3, 121, 122),
    ];
    let options = Options { max_spans: 3, ..Options::default() };
    let answer = lay_out(spans, &options);
    assert_eq!(order(&answer), [(1, 0), (2, 1), (4, 1)]);
    assert_eq!((answer.omitted_spans, answer.summary.spans), (2, 5));
    assert_eq!(answer.notes, ["The trace has 5 spans. The first 3 are shown: the deepest are left out."]);
    assert_eq!(of(&answer, 2).self_ns, 30, "times are those of the whole trace");
}

#[test]
fn a_trace_without_spans_is_empty() {
    assert_eq!(laid_out(&[]), TraceAnswer::default());
    assert_eq!(summarize(&[]), TraceSummary::default());
}

#[test]
fn fifty_thousand_spans_wide_deep_and_all_of_one_id_take_no_time() {
    let count = 50_000_u64;
    let begin = 1_000_000_000;
    let wide = (1..=count)
        .map(|id| if id == 1 { span(1, begin, begin * 2) } else { child(id, 1, begin + id, begin + id + 5) });
    let deep = (1..=count).map(|id| {
        if id == 1 { span(1, begin, begin * 2) } else { child(id, id - 1, begin + id, begin * 2 - id) }
    });
    let circle = (1..=count).map(|id| child(id, id % count + 1, begin + id, begin * 2));
    let one_id = (1..=count).map(|id| child(7, 7, begin + id, begin * 2));
    let same = (1..=count).map(|id| Span { name: id.to_string().into(), ..child(7, 6, begin, begin + 1) });
    for (name, spans) in [
        ("wide", wide.collect::<Vec<_>>()),
        ("deep", deep.collect()),
        ("circle", circle.collect()),
        ("one id", one_id.collect()),
        ("one id and time", same.collect()),
    ] {
        let started = std::time::Instant::now();
        let answer = lay_out(&spans, &Options::default());
        assert_eq!(answer.spans.len(), spans.len(), "{name}");
        // A hundred times what an optimized build takes: only a square would be slower.
        assert!(started.elapsed().as_secs() < 20, "{name} took {:?}", started.elapsed());
    }
}
