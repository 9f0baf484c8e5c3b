//! Virtual threads of Java, beside threads that are not.

use tracer_common::VIRTUAL_THREAD;

use super::*;
use crate::correlate::strategy::threads::ENOUGH;

const PID: u32 = 1;

/// A virtual thread, on the thread of the system that runs it.
fn virtual_thread(number: u64, carrier: u32) -> Unit {
    Unit { task: VIRTUAL_THREAD | number, ..thread(PID, carrier) }
}

/// A thread of which is not known what it runs.
fn unread(tid: u32) -> Unit {
    virtual_thread(0, tid)
}

fn java() -> World {
    let mut world = World::new();
    world.correlator.tasks(PID, TaskRuntime::Java, None);
    world
}

fn profile(world: &World) -> &'static str {
    world.correlator.profile(PID).expect("a process").name()
}

/// Two requests that are read by virtual threads on the same carrier, one after the other, and in flight together.
fn two(world: &mut World) -> (Pending, Pending) {
    let (one, other) = (world.connection(500).1, world.connection(501).1);
    (world.open(&one, virtual_thread(30, 2), 0, None), world.open(&other, virtual_thread(31, 2), 0, None))
}

#[test]
fn a_virtual_thread_works_for_what_it_has_read_whoever_carries_it() {
    let mut world = java();
    let (first, second) = two(&mut world);
    let calls = [world.call(virtual_thread(30, 3)), world.call(virtual_thread(31, 2))];
    let none = [world.call(virtual_thread(32, 2)), world.call(unread(2)), world.call(thread(PID, 9))];
    let second = world.close_by(&second, virtual_thread(31, 3));
    let first = world.close_by(&first, virtual_thread(30, 4));
    let parents = calls.map(|call| call.parent);
    assert_eq!(parents, [first, second].map(|server| Some((server.span_id, Evidence::VirtualThread))));
    assert!(none.iter().all(|call| call.parent.is_none()), "{none:?}");
    assert_eq!(profile(&world), "virtual-threads");
}

#[test]
fn virtual_threads_that_share_their_work_are_no_units() {
    // One answers for another; one reads two requests at once; a thread answers.
    let by = [virtual_thread(31, 2), thread(PID, 9)];
    for by in by {
        let mut world = java();
        world.calls_for_requests(virtual_thread(50, 5));
        let (first, second) = two(&mut world);
        world.close_by(&first, by);
        let call = world.call(virtual_thread(31, 2));
        assert_eq!(evidence(&call), Some(Evidence::SoleRequest), "nothing else tells");
        world.close(&second);
        assert_eq!(profile(&world), "unknown");
    }
    let mut world = java();
    let (first, second) = two(&mut world);
    let third = world.connection(502).1;
    let third = world.open(&third, virtual_thread(30, 2), 0, None);
    assert_eq!(world.call(virtual_thread(30, 2)).parent, None);
    assert_eq!(profile(&world), "unknown");
    for request in [first, second, third] {
        world.close(&request);
    }
}

#[test]
fn what_cannot_be_read_is_no_contradiction() {
    let mut world = java();
    let (first, second) = two(&mut world);
    world.close_by(&first, unread(2));
    let call = world.call(virtual_thread(31, 2));
    let second = world.close_by(&second, unread(2));
    assert_eq!(call.parent, Some((second.span_id, Evidence::VirtualThread)));
    // The second response to pipelined requests: what the carrier runs is not read.
    let (third, fourth) = two(&mut world);
    world.close_by(&third, thread(PID, 2));
    world.close_by(&fourth, virtual_thread(31, 2));
    assert_eq!(profile(&world), "virtual-threads");
    // A request that a carrier has read without a number is nobody's.
    let (first, other) = (world.connection(503).1, world.connection(504).1);
    let first = world.open(&first, unread(2), 0, None);
    let other = world.open(&other, virtual_thread(33, 2), 0, None);
    assert_eq!(world.call(unread(2)).parent, None);
    world.close(&first);
    world.close(&other);
    assert_eq!(profile(&world), "virtual-threads");
}

#[test]
fn threads_that_carry_nothing_are_units_as_in_other_programs() {
    // Read, or not: what is not known of them changes nothing.
    for units in [[thread(PID, 7), thread(PID, 8)], [unread(7), unread(8)]] {
        let mut world = World::new();
        let (one, other) = (world.connection(500).1, world.connection(501).1);
        // Half of it before the virtual threads can be read.
        for offset in 0..u64::from(ENOUGH) {
            if offset == u64::from(ENOUGH) / 2 {
                world.correlator.tasks_found(PID, TaskRuntime::Java, None);
            }
            let first = world.open(&one, units[0], offset, None);
            world.work(&other, units[1], offset);
            world.call(units[0]);
            world.close(&first);
        }
        assert_eq!(profile(&world), "threads");
        let first = world.open(&one, units[0], 1000, None);
        let second = world.open(&other, units[1], 1000, None);
        let call = world.call(units[0]);
        let first = world.close(&first);
        world.close(&second);
        assert_eq!(call.parent, Some((first.span_id, Evidence::Unit)));
    }
}

#[test]
fn a_request_from_before_is_no_contradiction() {
    let mut world = World::new();
    let (one, other) = (world.connection(500).1, world.connection(501).1);
    let first = world.open(&one, thread(PID, 2), 0, None);
    world.correlator.tasks_found(PID, TaskRuntime::Java, None);
    let second = world.open(&other, virtual_thread(31, 2), 0, None);
    let call = world.call(virtual_thread(31, 2));
    world.close_by(&first, virtual_thread(30, 2));
    let second = world.close(&second);
    assert_eq!(call.parent, Some((second.span_id, Evidence::VirtualThread)));
}

#[test]
fn a_virtual_thread_that_goes_on_after_its_answer_does_not_work_for_the_only_request_in_flight() {
    // On the carrier of the other request too; itself, one that it has made, one that cannot be read.
    let goes_on =
        [(virtual_thread(30, 3), 3), (virtual_thread(30, 2), 2), (virtual_thread(29, 2), 2), (unread(2), 2)];
    for (by, carrier) in goes_on {
        let mut world = java();
        world.calls_for_requests(virtual_thread(50, 5));
        for _ in 0..20 {
            let (first, second) = two(&mut world);
            world.close_by(&first, virtual_thread(30, 2));
            let goes_on = world.call(by);
            let made = world.call(virtual_thread(40, carrier));
            let server = world.close_by(&second, virtual_thread(31, 2));
            assert_eq!(goes_on.parent, None);
            assert_eq!(made.parent, Some((server.span_id, Evidence::SoleRequest)), "it has read nothing");
        }
    }
}
