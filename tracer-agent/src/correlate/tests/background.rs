//! Calls that a process makes of its own accord.

use tracer_common::{PROFILE_DEFERRED, PROFILE_SOLE_OWN};

use super::*;

const WORKER: Unit = Unit::thread(1, 1);

/// A call to another port than the usual one.
fn call_elsewhere(world: &mut World, unit: Unit) -> Link {
    let number = world.now() + 10_000;
    let (End(mut facts), _) = world.connection(number);
    facts.remote = std::net::SocketAddr::from(([127, 0, 0, 1], 81)).into();
    let made = world.open(&End(facts), unit, 1, None);
    world.close(&made)
}

#[test]
fn where_a_process_calls_of_its_own_accord_no_request_is_the_sole_reason() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    world.work(&one, WORKER, 0);
    // Work after the answer, or a timer.
    world.call(WORKER);
    world.rest();
    let request = world.open(&one, WORKER, 100, None);
    assert_eq!(world.call(WORKER).parent, None);
    assert_eq!(evidence(&call_elsewhere(&mut world, WORKER)), Some(Evidence::SoleRequest));
    world.close(&request);
}

#[test]
fn an_address_is_trusted_again_after_many_calls_for_requests() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    world.work(&one, WORKER, 0);
    // It may have been for a request that came before the agent.
    world.call(WORKER);
    let request = world.open(&one, WORKER, 100, None);
    let linked = (0..2000).filter(|_| world.call(WORKER).parent.is_some()).count();
    assert_eq!(linked, 2000 - 1024);
    world.close(&request);
}

#[test]
fn calls_before_the_first_request_and_after_a_lost_client_are_no_habit() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    world.call(WORKER);
    world.open(&one, WORKER, 0, None);
    world.correlator.left(one.0.number);
    world.call(WORKER);
    // Nor are those while another request is open: the lost one may still be worked for.
    let (_, two) = world.connection(2);
    let request = world.open(&two, WORKER, 0, None);
    assert_eq!(world.call(WORKER).parent, None);
    world.close(&request);
    world.now_ns += 11_000_000_000;
    let request = world.open(&two, WORKER, 100, None);
    assert_eq!(evidence(&world.call(WORKER)), Some(Evidence::SoleRequest));
    world.close(&request);
}

#[test]
fn a_request_that_is_not_understood_hides_calls_until_it_is_answered_and_no_longer() {
    let mut world = World::new();
    world.correlator.rules.propagates = true;
    let profile = |world: &mut World| world.correlator.take_profiles().last();
    let (_, one) = world.connection(1);
    world.work(&one, WORKER, 0);
    let mut offset = 100;
    // A call for the only request in flight, and one that started this long ago.
    let mut is_linked = |world: &mut World, ago_ns: u64| {
        offset += 100;
        let request = world.open(&one, WORKER, offset, None);
        world.now_ns -= ago_ns;
        let link = world.call(WORKER);
        world.now_ns += ago_ns;
        world.close(&request);
        link.parent.is_some()
    };
    assert!(is_linked(&mut world, 0));
    // Two connections from before the agent.
    let (first_ns, second_ns) = (world.now(), world.now());
    world.correlator.undecoded(8, WORKER, first_ns);
    world.correlator.undecoded(9, thread(1, 2), second_ns);
    assert_eq!(profile(&mut world), Some((1, Some(PROFILE_DEFERRED))));
    assert!(!is_linked(&mut world, 0));
    let first_ns = world.now();
    world.correlator.undecoded_answered(8, 1, first_ns);
    assert!(!is_linked(&mut world, 0), "the other one is not answered");
    let second_ns = world.now();
    world.correlator.undecoded_answered(9, 1, second_ns);
    assert_eq!(profile(&mut world), Some((1, Some(PROFILE_SOLE_OWN))));
    assert!(is_linked(&mut world, 0));
    // A call from before the answer, of which the record comes late.
    let request = world.open(&one, WORKER, 5000, None);
    let third_ns = world.now_ns + 1000;
    world.correlator.undecoded_answered(9, 1, third_ns);
    assert_eq!(world.call(WORKER).parent, None);
    world.close(&request);
}

#[test]
fn more_unanswered_connections_than_are_told_apart_hide_calls_for_a_while() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    world.work(&one, WORKER, 0);
    for connection in 100..200 {
        let at_ns = world.now();
        world.correlator.undecoded(connection, WORKER, at_ns);
    }
    for connection in 100..200 {
        let at_ns = world.now();
        world.correlator.undecoded_answered(connection, 1, at_ns);
    }
    let request = world.open(&one, WORKER, 500, None);
    assert_eq!(world.call(WORKER).parent, None);
    world.now_ns += 11_000_000_000;
    assert_eq!(evidence(&world.call(WORKER)), Some(Evidence::SoleRequest));
    world.close(&request);
}

#[test]
fn an_exchange_that_is_told_when_it_is_over_is_nobodys_work() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let (call, old) = world.connection(2);
    let unit = thread(1, 2);
    let (began_ns, request) = (world.now(), world.open(&one, WORKER, 0, None));
    // The other request in flight is still the only one, and no thread has two of them.
    for end in [&old, &call] {
        let pending = world.open_late(end, WORKER, began_ns);
        assert_eq!(world.close(&pending).parent.filter(|(_, evidence)| *evidence != Evidence::Wire), None);
    }
    assert_eq!(evidence(&world.call(unit)), Some(Evidence::SoleRequest));
    world.close(&request);
    assert_eq!(world.correlator.profile(1), Some(Profile::Learning { exchanges: 0, needed: 32 }));
}

#[test]
fn the_kernel_is_told_while_a_lost_request_may_be_worked_for() {
    let mut world = World::new();
    world.correlator.rules.propagates = true;
    let (_, one) = world.connection(1);
    let profile = |world: &mut World| world.correlator.take_profiles().last();
    world.open(&one, WORKER, 0, None);
    assert_eq!(profile(&mut world), Some((1, Some(PROFILE_SOLE_OWN))));
    world.correlator.left(one.0.number);
    assert_eq!(profile(&mut world), Some((1, Some(PROFILE_DEFERRED))));
    world.now_ns += 11_000_000_000;
    let (_, two) = world.connection(2);
    let request = world.open(&two, WORKER, 0, None);
    assert_eq!(profile(&mut world), Some((1, Some(PROFILE_SOLE_OWN))));
    world.close(&request);
}

#[test]
fn a_thread_that_reads_requests_may_still_be_at_its_last_one() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let other = thread(1, 2);
    world.work(&one, other, 0);
    for served in 2..20 {
        let request = world.open(&one, WORKER, served, None);
        assert_eq!(world.call(other).parent.is_some(), served >= 16, "{served}");
        world.close(&request);
    }
}

#[test]
fn a_connection_that_was_opened_between_two_requests_is_for_neither() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let request = world.open(&one, WORKER, 0, None);
    let (spare, _) = world.connection(2);
    world.close(&request);
    let (after, _) = world.connection(3);
    world.rest();
    let request = world.open(&one, WORKER, 100, None);
    let late = world.open(&after, WORKER, 0, None);
    assert_eq!(world.close(&late).parent, None);
    // One of the connections that the first request needed, and did not use.
    let spare = world.open(&spare, WORKER, 0, None);
    assert_eq!(evidence(&world.close(&spare)), Some(Evidence::SoleRequest));
    world.close(&request);
}

#[test]
fn work_after_a_response_is_not_for_the_next_request_of_a_burst() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    // Its clients send without a pause: what each request leaves behind is sent while the next one is in flight.
    for offset in 0..40 {
        let request = world.open(&one, WORKER, offset * 100, None);
        let late = (offset > 0).then(|| call_elsewhere(&mut world, thread(1, 9)));
        let own = world.call(WORKER);
        world.close(&request);
        assert_eq!(evidence(&own), Some(Evidence::SoleRequest), "{offset}");
        assert_eq!(late.and_then(|late| late.parent), None, "{offset}");
    }
}

#[test]
fn an_address_that_a_request_after_a_pause_calls_is_known_from_then_on() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    world.work(&one, WORKER, 0);
    let request = world.open(&one, WORKER, 100, None);
    assert_eq!(call_elsewhere(&mut world, thread(1, 9)).parent, None, "nothing tells whose it is");
    world.close(&request);
    world.rest();
    for offset in [200, 300] {
        let request = world.open(&one, WORKER, offset, None);
        assert_eq!(
            evidence(&call_elsewhere(&mut world, thread(1, 9))),
            Some(Evidence::SoleRequest),
            "{offset}"
        );
        world.close(&request);
    }
}

#[test]
fn a_request_that_outlives_the_one_after_the_pause_began_in_a_burst() {
    let mut world = World::new();
    let ((_, one), (_, two)) = (world.connection(1), world.connection(2));
    let first = world.open(&one, WORKER, 0, None);
    let second = world.open(&two, thread(1, 2), 0, None);
    world.close(&first);
    assert_eq!(world.call(thread(1, 3)).parent, None);
    world.close(&second);
}

#[test]
fn what_one_worker_calls_for_its_requests_the_others_of_the_program_call_too() {
    let mut world = World::new();
    let program = Some(Program::new(7, None));
    let workers = [1, 2].map(|pid| thread(pid, pid));
    for worker in workers {
        world.correlator.program(worker.pid, "/usr/bin/service", program);
    }
    world.calls_for_requests(workers[0]);
    // The first request of the other worker calls nobody, and more come at once.
    let (_, two) = world.connection(2);
    let request = world.open(&two, workers[1], 0, None);
    world.close(&request);
    let request = world.open(&two, workers[1], 100, None);
    assert_eq!(evidence(&world.call(thread(2, 9))), Some(Evidence::SoleRequest));
    world.close(&request);
}

#[test]
fn a_worker_that_has_one_request_at_a_time_works_for_that_one_however_busy_it_is() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    for offset in 0..40 {
        let request = world.open(&one, WORKER, offset * 100, None);
        // The first requests call nobody.
        if offset > 3 {
            assert_eq!(evidence(&world.call(WORKER)), Some(Evidence::SoleRequest), "{offset}");
        }
        world.close(&request);
    }
}

#[test]
fn a_long_poll_is_not_the_reason_for_what_others_leave_behind() {
    let mut world = World::new();
    let ((_, poll), (_, one)) = (world.connection(1), world.connection(2));
    let long = world.open(&poll, thread(1, 2), 0, None);
    for offset in 0..10 {
        let request = world.open(&one, WORKER, offset * 100, None);
        world.close(&request);
        assert_eq!(call_elsewhere(&mut world, thread(1, 9)).parent, None, "{offset}");
    }
    world.close(&long);
}
