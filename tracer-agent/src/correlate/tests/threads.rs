//! When a thread is a unit of work.

use super::*;
use crate::correlate::strategy::threads::ENOUGH;

const PID: u32 = 1;
const ONE: Unit = Unit::thread(PID, 2);
const TWO: Unit = Unit::thread(PID, 3);

/// Two connections, on which two threads overlap, each on its own: what makes a profile of threads.
fn taught(world: &mut World) -> (End, End) {
    let (_, one) = world.connection(500);
    let (_, two) = world.connection(501);
    teach(world, &one, &two, 0);
    (one, two)
}

fn teach(world: &mut World, one: &End, two: &End, from: u64) {
    for offset in from..from + u64::from(ENOUGH) {
        let first = world.open(one, ONE, offset, None);
        world.work(two, TWO, offset);
        world.call(ONE);
        world.close(&first);
    }
}

/// Whether the call of a thread is linked to its request while another is open.
fn links(world: &mut World, one: &End, two: &End, offset: u64) -> bool {
    let first = world.open(one, ONE, offset, None);
    let second = world.open(two, TWO, offset, None);
    let call = world.call(TWO);
    world.close(&first);
    let second = world.close(&second);
    assert!(call.parent.is_none() || call.parent == Some((second.span_id, Evidence::Unit)));
    call.parent.is_some()
}

fn profile(world: &World) -> Profile {
    world.correlator.profile(PID).expect("a process")
}

#[test]
fn threads_that_answer_what_they_read_are_units_until_one_does_not() {
    let mut world = World::new();
    let (one, two) = taught(&mut world);
    assert_eq!(profile(&world), Profile::Threads { exchanges: 2 * ENOUGH });
    assert!(links(&mut world, &one, &two, 1000));
    let first = world.open(&one, ONE, 1001, None);
    let by_another = world.call(thread(PID, 9));
    assert_eq!(by_another.parent, None, "its thread works for no request");
    world.close_by(&first, TWO);
    teach(&mut world, &one, &two, 2000);
    assert!(!links(&mut world, &one, &two, 3000), "not any more, whatever follows");
    assert_eq!(profile(&world), Profile::Unknown(Doubt::AnsweredElsewhere));
}

#[test]
fn requests_one_after_the_other_teach_nothing_of_threads() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    for offset in 0..100 {
        world.work(&one, ONE, offset);
    }
    assert!(!links(&mut world, &one, &two, 1000));
}

#[test]
fn requests_for_which_no_call_is_made_teach_nothing_of_threads() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    for offset in 0..100 {
        let first = world.open(&one, ONE, offset, None);
        let second = world.open(&two, TWO, offset, None);
        world.close(&first);
        world.close(&second);
    }
    assert_eq!(profile(&world), Profile::Learning { exchanges: 0, needed: ENOUGH });
    assert!(!links(&mut world, &one, &two, 1000));
}

#[test]
fn a_thread_that_reads_a_second_request_is_an_event_loop() {
    let mut world = World::new();
    let (one, two) = taught(&mut world);
    let first = world.open(&one, ONE, 1000, None);
    let second = world.open(&two, ONE, 1000, None);
    assert_eq!(world.call(ONE).parent, None);
    world.close(&second);
    assert_eq!(world.call(ONE).parent, None, "it may go on with a third");
    world.close(&first);
    assert!(!links(&mut world, &one, &two, 2000));
    assert_eq!(profile(&world), Profile::Unknown(Doubt::Interleaved));
}

#[test]
fn pipelined_requests_and_those_without_an_answer_say_nothing_of_threads() {
    let mut world = World::new();
    let (one, two) = taught(&mut world);
    let first = world.open(&one, ONE, 1000, None);
    let second = world.open(&one, ONE, 1100, None);
    world.close(&first);
    world.close(&second);
    let (_, gone) = world.connection(1);
    world.open(&gone, ONE, 0, None);
    let next = world.open(&one, ONE, 1200, None);
    world.correlator.left(gone.0.number);
    world.close(&next);
    assert!(links(&mut world, &one, &two, 2000));
}

#[test]
fn free_threads_that_call_for_others_end_the_profile_for_good() {
    let mut world = World::new();
    let (one, two) = taught(&mut world);
    let first = world.open(&one, ONE, 1000, None);
    // The other thread has read requests before, and has none now: whose call is this?
    world.call(TWO);
    world.close(&first);
    assert_eq!(profile(&world), Profile::Unknown(Doubt::HandedOver));
    teach(&mut world, &one, &two, 2000);
    // A thread with a request of its own may help another, and nothing shows it.
    assert!(!links(&mut world, &one, &two, 3000));
}

#[test]
fn threads_that_read_no_requests_may_call_what_they_like() {
    let mut world = World::new();
    let (one, two) = taught(&mut world);
    let first = world.open(&one, ONE, 1000, None);
    assert_eq!(world.call(thread(PID, 9)).parent, None);
    world.close(&first);
    assert!(links(&mut world, &one, &two, 2000));
}

#[test]
fn a_thread_whose_client_has_gone_may_still_work_for_it() {
    let mut world = World::new();
    let (one, two) = taught(&mut world);
    let (_, gone) = world.connection(1);
    world.open(&gone, ONE, 0, None);
    let other = world.open(&two, TWO, 1000, None);
    world.correlator.left(gone.0.number);
    assert_eq!(world.call(ONE).parent, None);
    world.close(&other);
    assert!(links(&mut world, &one, &two, 2000));
}

#[test]
fn another_program_starts_from_nothing() {
    let mut world = World::new();
    taught(&mut world);
    world.correlator.program(PID, "/usr/bin/other", None);
    assert_eq!(profile(&world), Profile::Learning { exchanges: 0, needed: ENOUGH });
}

#[test]
fn a_thread_that_read_what_is_not_understood_may_work_for_that() {
    let mut world = World::new();
    let (one, two) = taught(&mut world);
    let first = world.open(&one, ONE, 1000, None);
    let at = world.now();
    world.correlator.undecoded(9, TWO, at);
    assert_eq!(world.call(TWO).parent, None);
    world.close(&first);
    assert!(links(&mut world, &one, &two, 2000));
}

#[test]
fn later_processes_of_a_program_work_as_the_first_until_one_is_seen_not_to() {
    let mut world = World::new();
    let program = |arguments: &str| {
        let command_line = ["python3".to_owned(), arguments.to_owned()];
        Some(Program::new("/usr/bin/python3", &command_line, Some("shop")))
    };
    let start = |world: &mut World, arguments: &str| {
        world.correlator.program(PID, "/usr/bin/python3", program(arguments));
        profile(world)
    };
    let inherited = Profile::Inherited { exchanges: 0 };
    let new = Profile::Learning { exchanges: 0, needed: ENOUGH };
    assert_eq!(start(&mut world, "shop.py"), new);
    let (one, two) = taught(&mut world);
    // Started again, and another worker: linked from the first request on.
    assert_eq!(start(&mut world, "shop.py"), inherited);
    assert!(links(&mut world, &one, &two, 1000));
    world.correlator.fork(PID, 77);
    assert_eq!(world.correlator.profile(77), Some(inherited));
    // Another program of the same executable.
    assert_eq!(start(&mut world, "other.py"), new);
    // One contradiction, and the next ones learn for themselves.
    start(&mut world, "shop.py");
    let first = world.open(&one, ONE, 2000, None);
    world.close_by(&first, TWO);
    assert_eq!(profile(&world), Profile::Unknown(Doubt::AnsweredElsewhere));
    assert_eq!(start(&mut world, "shop.py"), new);
    teach(&mut world, &one, &two, 3000);
    assert_eq!(start(&mut world, "shop.py"), new);
}
