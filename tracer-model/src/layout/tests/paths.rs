//! Own time and the critical path.

use super::*;

/// Stretches of a span on the critical path.
fn critical(answer: &TraceAnswer, id: u64) -> Vec<(u64, u64)> {
    of(answer, id).critical.iter().map(|stretch| (stretch.start_ns, stretch.end_ns)).collect()
}

/// Spans from given starts to given ends, one microsecond after 1970.
fn spans(list: &[(u64, u64, u64, u64)]) -> Vec<Span> {
    let each = list.iter().map(|&(id, parent, start, end)| {
        let (start, end) = (start + 1000, end + 1000);
        if parent == 0 { span(id, start, end) } else { child(id, parent, start, end) }
    });
    each.collect()
}

#[test]
fn own_time_is_that_in_which_no_child_was_under_way() {
    let answer = laid_out(&spans(&[
        (1, 0, 0, 100),
        (2, 1, 10, 30),
        // Overlaps the one before, and contains the one after.
        (3, 1, 20, 50),
        (4, 1, 25, 35),
        // Goes on after its parent.
        (5, 1, 90, 120),
        // Begins after it.
        (6, 1, 110, 130),
        (7, 3, 15, 25),
    ]));
    assert_eq!(of(&answer, 1).self_ns, 10 + 40);
    assert_eq!(of(&answer, 2).self_ns, 20);
    assert_eq!(of(&answer, 3).self_ns, 25, "only what lies in its time counts");
    assert_eq!(answer.summary.duration_ns, 130);
}

#[test]
fn the_critical_path_is_what_the_root_waited_for() {
    let answer = laid_out(&spans(&[
        (1, 0, 0, 100),
        (2, 1, 10, 40),
        (3, 1, 50, 90),
        // Ends earlier than 3, beside it: not waited for.
        (4, 1, 45, 80),
        (5, 3, 55, 70),
    ]));
    assert_eq!(critical(&answer, 1), [(0, 10), (40, 50), (90, 100)]);
    assert_eq!(critical(&answer, 2), [(10, 40)]);
    assert_eq!(critical(&answer, 3), [(50, 55), (70, 90)]);
    assert_eq!(critical(&answer, 4), []);
    assert_eq!(critical(&answer, 5), [(55, 70)]);
}

#[test]
fn a_child_that_ends_when_the_next_begins_is_on_the_path() {
    let answer = laid_out(&spans(&[(1, 0, 0, 100), (2, 1, 0, 50), (3, 1, 50, 100)]));
    assert_eq!(critical(&answer, 1), []);
    assert_eq!((critical(&answer, 2), critical(&answer, 3)), (vec![(0, 50)], vec![(50, 100)]));
}

#[test]
fn children_that_outlive_their_parent_by_little_end_with_it_and_later_ones_are_not_waited_for() {
    let answer = laid_out(&spans(&[
        (1, 0, 0, 100),
        (2, 1, 60, 101),
        (3, 2, 70, 101),
        (4, 2, 101, 102),
        (5, 1, 100, 120),
    ]));
    assert_eq!(critical(&answer, 1), [(0, 60)]);
    assert_eq!(critical(&answer, 2), [(60, 70)]);
    assert_eq!(critical(&answer, 3), [(70, 100)]);
    assert_eq!((critical(&answer, 4), critical(&answer, 5)), (vec![], vec![]));
}

#[test]
fn work_that_goes_on_after_its_parent_was_not_waited_for() {
    let answer = laid_out(&spans(&[(1, 0, 0, 100), (2, 1, 60, 150), (3, 1, 10, 20)]));
    assert_eq!(critical(&answer, 1), [(0, 10), (20, 100)]);
    assert_eq!((critical(&answer, 2), critical(&answer, 3)), (vec![], vec![(10, 20)]));
}

#[test]
fn children_that_begin_before_their_parent_count_from_its_start() {
    let answer = laid_out(&spans(&[(1, 0, 20, 100), (2, 1, 0, 50), (3, 2, 5, 45)]));
    assert_eq!(critical(&answer, 1), [(50, 100)]);
    assert_eq!(critical(&answer, 2), [(45, 50)]);
    assert_eq!(critical(&answer, 3), [(20, 45)]);
}

#[test]
fn children_without_duration_do_not_divide_a_stretch() {
    let answer = laid_out(&spans(&[(1, 0, 0, 100), (2, 1, 40, 40), (3, 1, 100, 100)]));
    assert_eq!(critical(&answer, 1), [(0, 100)]);
}

#[test]
fn only_the_earliest_root_has_a_critical_path() {
    let answer = laid_out(&spans(&[(1, 0, 0, 10), (2, 0, 5, 100), (3, 9, 0, 50)]));
    assert_eq!(critical(&answer, 1), [(0, 10)]);
    assert_eq!((critical(&answer, 2), critical(&answer, 3)), (vec![], vec![]));
}

#[test]
fn services_are_ordered_by_their_own_time() {
    let with = |service: &str, span: Span| Span { resource: resource(service), ..span };
    let list = spans(&[(1, 0, 0, 100), (2, 1, 10, 90), (3, 2, 20, 30), (4, 1, 92, 95)]);
    let [one, two, three, four] = list.try_into().unwrap();
    let mut failed = with("prices", three);
    failed.status = crate::span::StatusCode::Error;
    let summary = summarize(&[with("shop", one), with("stock", two), failed, with("shop", four)]);
    let shares: Vec<_> = summary
        .services
        .iter()
        .map(|share| (&*share.service, share.spans, share.self_ns, share.errors))
        .collect();
    assert_eq!(shares, [("stock", 1, 70, 0), ("shop", 2, 17 + 3, 0), ("prices", 1, 10, 1)]);
    assert_eq!((summary.spans, summary.errors), (4, 1));
    assert_eq!((&*summary.root_service, &*summary.root_name, summary.start_unix_us), ("shop", "span 1", 1));
}

#[test]
fn a_summary_has_so_many_services() {
    let spans: Vec<Span> = (1..=100)
        .map(|id| Span { resource: resource(&id.to_string()), ..span(id, 1000, 1000 + id) })
        .collect();
    let summary = summarize(&spans);
    assert_eq!(summary.services.len(), MOST_SERVICES);
    assert_eq!((&*summary.services[0].service, summary.services[0].self_ns), ("100", 100));
    assert_eq!(summary.spans, 100);
}

#[test]
fn services_with_equal_times_are_in_the_order_of_their_names() {
    let spans =
        ["stock", "prices"].map(|service| Span { resource: resource(service), ..span(1, 1000, 1010) });
    let names: Vec<_> = summarize(&spans).services.into_iter().map(|share| share.service).collect();
    assert_eq!(names, ["prices", "stock"]);
}
