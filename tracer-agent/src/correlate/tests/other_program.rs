//! Trace headers that another program writes on the way.

use super::*;

const APP: Unit = Unit::thread(1, 1);
const NEXT: Unit = Unit::thread(2, 2);

fn context(trace: u8, span: u8) -> Incoming {
    Incoming { parent_id: [span; 8], ..incoming(trace) }
}

#[test]
fn a_call_has_the_ids_that_arrived_whichever_end_is_seen_first() {
    // The caller's request came with a trace or without, and its call with a forwarded header or without.
    for (came, sent) in
        [(None, None), (Some(context(7, 1)), None), (Some(context(7, 1)), Some(context(7, 1)))]
    {
        for is_server_first in [false, true] {
            let mut world = World::new();
            let (_, one) = world.connection(1);
            let (call, server) = world.connection(2);
            let request = world.open(&one, APP, 0, came.clone());
            let (made, served) = if is_server_first {
                let served = world.open(&server, NEXT, 0, Some(context(7, 9)));
                (world.open(&call, APP, 0, sent.clone()), served)
            } else {
                let made = world.open(&call, APP, 0, sent.clone());
                (made, world.open(&server, NEXT, 0, Some(context(7, 9))))
            };
            let links = [&served, &made, &request].map(|pending| world.close(pending));
            assert!(links.iter().all(|link| link.trace_id == [7; 16]), "{came:?} {is_server_first}");
            assert_eq!(links[0].parent, Some(([9; 8], Evidence::Header)));
            assert_eq!(links[1].span_id, [9; 8]);
            assert_eq!(links[1].parent.map(|(id, _)| id), Some(links[2].span_id));
            assert_eq!(links.each_ref().map(|link| link.has_other_header), [false, true, false]);
        }
    }
}

#[test]
fn a_caller_whose_trace_is_known_stays_in_it() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let (call, server) = world.connection(2);
    let request = world.open(&one, APP, 0, Some(context(5, 1)));
    let made = world.open(&call, APP, 0, None);
    let served = world.open(&server, NEXT, 0, Some(context(7, 9)));
    let links = [&served, &made, &request].map(|pending| world.close(pending));
    assert_eq!(links[2].trace_id, [5; 16]);
    assert_eq!((links[1].trace_id, links[1].span_id, links[1].parent), ([7; 16], [9; 8], None));
    assert_eq!(links[0].parent, Some(([9; 8], Evidence::Header)));
}

#[test]
fn a_header_of_the_application_or_of_this_agent_is_nobody_else_s() {
    let mut world = World::new();
    let (call, server) = world.connection(2);
    let made = world.open(&call, APP, 0, Some(context(7, 9)));
    let served = world.open(&server, NEXT, 0, Some(context(7, 9)));
    assert!([&served, &made].iter().all(|pending| !world.close(pending).has_other_header));
}

#[test]
fn bytes_before_a_request_are_a_header_only_if_it_is_answered_and_nothing_speaks_against_it() {
    let mut world = World::new();
    world.is_lengthened = true;
    let mut open = |number| {
        let (call, _) = world.connection(number);
        world.open(&call, APP, 0, None)
    };
    let [answered, unanswered, revoked] = [1, 2, 3].map(&mut open);
    world.correlator.not_lengthened(revoked.facts.number);
    assert!(world.close(&answered).has_other_header);
    assert!(!world.close(&revoked).has_other_header);
    let mut exchange = world.exchange(&unanswered, APP);
    (exchange.response_start_ns, exchange.outcome) = (None, Outcome::NoResponse);
    assert!(!world.correlator.link(&unanswered.facts, &exchange).has_other_header);
}
