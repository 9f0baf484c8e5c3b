//! When a thread is a unit of work.

use tracer_common::{GREENLET, PROFILE_THREADS};

use super::*;
use crate::correlate::{programs::Shown, strategy::threads::ENOUGH};

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
        let digest = if arguments == "shop.py" { 1 } else { 2 };
        Some(Program::new(digest, Some("shop")))
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

/// A worker that was forked from a process of a known program, and two connections that it serves.
struct ForkedWorker {
    pid: u32,
    one: End,
    two: End,
}

impl ForkedWorker {
    fn fork(world: &mut World, parent: u32, pid: u32) -> Self {
        world.correlator.fork(parent, pid);
        let [one, two] = [0, 1].map(|n| world.connection(u64::from(pid) * 10 + n).1);
        Self { pid, one, two }
    }

    fn teach(&self, world: &mut World, from: u64, exchanges: u32) {
        for offset in from..from + u64::from(exchanges) {
            let first = world.open(&self.one, thread(self.pid, 1), offset, None);
            world.work(&self.two, thread(self.pid, 2), offset);
            world.close(&first);
        }
    }

    fn profile(&self, world: &World) -> Profile {
        world.correlator.profile(self.pid).expect("a process")
    }
}

fn shop() -> Option<Program> {
    Some(Program::new(7, Some("shop")))
}

#[test]
fn what_a_process_inherited_is_not_what_it_has_shown() {
    let mut world = World::new();
    world.correlator.program(PID, "/usr/bin/shop", shop());
    let first = ForkedWorker::fork(&mut world, PID, 77);
    first.teach(&mut world, 0, ENOUGH);
    let heir = ForkedWorker::fork(&mut world, PID, 78);
    assert_eq!(heir.profile(&world), Profile::Inherited { exchanges: 0 });
    let shown = |world: &World| world.correlator.processes.get(heir.pid).expect("a process").has_shown();
    heir.teach(&mut world, 0, ENOUGH - 1);
    assert_eq!(shown(&world), None, "its links are made by what the first has shown");
    heir.teach(&mut world, 1000, 1);
    assert_eq!(shown(&world), Some(Shown::Proven));
}

#[test]
fn a_contradiction_of_one_process_holds_for_all_of_its_program() {
    let mut world = World::new();
    world.correlator.rules.propagates = true;
    world.correlator.program(PID, "/usr/bin/shop", shop());
    let proven = ForkedWorker::fork(&mut world, PID, 77);
    proven.teach(&mut world, 0, ENOUGH);
    let heir = ForkedWorker::fork(&mut world, PID, 78);
    let contrary = ForkedWorker::fork(&mut world, PID, 79);
    contrary.teach(&mut world, 0, 1);
    let told = world.correlator.take_profiles().filter(|told| told.1 == Some(PROFILE_THREADS));
    let told: std::collections::BTreeSet<u32> = told.map(|(pid, _)| pid).collect();
    assert_eq!(
        told,
        [PID, proven.pid, heir.pid, contrary.pid].into(),
        "the parent learns it from its worker"
    );
    // It is told when it is seen, not when the next server request ends.
    let first = world.open(&contrary.one, thread(contrary.pid, 1), 500, None);
    world.call(thread(contrary.pid, 2));
    assert_eq!(contrary.profile(&world), Profile::Unknown(Doubt::HandedOver));
    for sibling in [&proven, &heir] {
        assert_eq!(sibling.profile(&world), Profile::Learning { exchanges: 0, needed: ENOUGH });
    }
    let told: Vec<(u32, Option<u8>)> = world.correlator.take_profiles().collect();
    for pid in [proven.pid, heir.pid, contrary.pid] {
        assert!(told.iter().any(|(other, rule)| *other == pid && *rule != Some(PROFILE_THREADS)), "{told:?}");
    }
    world.close(&first);
    // They may show it again, each for itself.
    heir.teach(&mut world, 2000, ENOUGH);
    assert_eq!(heir.profile(&world), Profile::Threads { exchanges: ENOUGH });
    assert_eq!(proven.profile(&world), Profile::Learning { exchanges: 0, needed: ENOUGH });
    let later = ForkedWorker::fork(&mut world, PID, 80);
    assert_eq!(later.profile(&world), Profile::Learning { exchanges: 0, needed: ENOUGH });
}

#[test]
fn what_an_earlier_agent_has_found_is_inherited_and_told_anew_only_when_it_is_shown() {
    let mut world = World::new();
    world.correlator.remember(shop().expect("a program"));
    world.correlator.program(PID, "/usr/bin/shop", shop());
    assert_eq!(profile(&world), Profile::Inherited { exchanges: 0 });
    let other = Some(Program::new(7, Some("depot")));
    world.correlator.program(2, "/usr/bin/shop", other);
    assert_eq!(world.correlator.profile(2), Some(Profile::Learning { exchanges: 0, needed: ENOUGH }));
    let worker = ForkedWorker::fork(&mut world, PID, 77);
    worker.teach(&mut world, 0, ENOUGH - 1);
    assert_eq!(world.correlator.take_shown().count(), 0);
    worker.teach(&mut world, 1000, 1);
    assert_eq!(world.correlator.take_shown().collect::<Vec<_>>(), [(77, Shown::Proven)]);
    let first = world.open(&worker.one, thread(77, 1), 5000, None);
    world.close_by(&first, thread(77, 2));
    assert_eq!(world.correlator.take_shown().collect::<Vec<_>>(), [(77, Shown::Doubted)]);
    assert_eq!(profile(&world), Profile::Learning { exchanges: 0, needed: ENOUGH });
}

#[test]
fn greenlets_of_one_thread_are_units_like_threads() {
    let greenlet = |address: u64| Unit { task: GREENLET | address, ..thread(PID, PID) };
    let (first, second) = (greenlet(0x7f00_0001_0000), greenlet(0x7f00_0002_0000));
    let mut world = World::new();
    world.correlator.tasks(PID, TaskRuntime::Greenlets, None);
    let (one, two) = (world.connection(500).1, world.connection(501).1);
    for offset in 0..u64::from(ENOUGH) {
        let request = world.open(&one, first, offset, None);
        world.work(&two, second, offset);
        world.call(first);
        world.close(&request);
    }
    let request = world.open(&one, first, 1000, None);
    let other = world.open(&two, second, 1000, None);
    // The second response to pipelined requests: which greenlet sends it is not read.
    let pipelined = world.open(&one, first, 1100, None);
    world.close_by(&pipelined, thread(PID, PID));
    let call = world.call(second);
    let by_another = world.call(greenlet(0x7f00_0003_0000));
    let other = world.close(&other);
    // The address of a greenlet that has ended is another's: who answers has not read the request.
    world.close_by(&request, greenlet(0x7f00_0003_0000));
    assert_eq!(call.parent, Some((other.span_id, Evidence::Unit)));
    assert_eq!(by_another.parent, None);
    assert_eq!(profile(&world), Profile::Unknown(Doubt::AnsweredElsewhere));
}

#[test]
fn a_greenlet_that_goes_on_after_its_answer_does_not_work_for_the_only_request_in_flight() {
    let greenlet = |address: u64| Unit { task: GREENLET | address, ..thread(PID, PID) };
    let (first, second) = (greenlet(0x7f00_0001_0000), greenlet(0x7f00_0002_0000));
    let mut world = World::new();
    world.correlator.tasks(PID, TaskRuntime::Greenlets, None);
    let (one, two) = (world.connection(500).1, world.connection(501).1);
    for offset in 0..20 {
        let request = world.open(&one, first, offset, None);
        let other = world.open(&two, second, offset, None);
        world.close(&request);
        let goes_on = world.call(first);
        world.close(&other);
        assert_eq!(goes_on.parent, None, "request {offset}");
    }
}

#[test]
fn where_threads_go_on_after_their_answers_they_do_not_work_for_the_only_request_in_flight() {
    let mut world = World::new();
    let (one, two) = (world.connection(500).1, world.connection(501).1);
    let [first, second] = [1, 2].map(|tid| thread(PID, tid));
    world.calls_for_requests(thread(PID, 3));
    for offset in 0..40 {
        let request = world.open(&one, first, offset, None);
        let other = world.open(&two, second, offset, None);
        world.close(&request);
        let goes_on = world.call(first);
        let made = world.call(thread(PID, 9));
        let other = world.close(&other);
        if offset == 20 {
            // To another address than the others.
            assert_eq!(world.call_to(first, 81).parent, None);
        }
        let parent = Some((other.span_id, Evidence::SoleRequest));
        assert_eq!(goes_on.parent, parent.filter(|_| (7..=20).contains(&offset)), "request {offset}");
        assert_eq!(made.parent, parent, "it reads no requests");
    }
    // Where threads answer what others have read, it may.
    let other = world.open(&two, second, 1000, None);
    world.close_by(&other, first);
    let other = world.open(&two, second, 1001, None);
    let call = world.call(first);
    let other = world.close(&other);
    assert_eq!(call.parent, Some((other.span_id, Evidence::SoleRequest)));
}

#[test]
fn a_request_that_was_read_before_greenlets_were_known_contradicts_nothing() {
    let greenlet = Unit { task: GREENLET | 0x7f00_0001_0000, ..thread(PID, PID) };
    let mut world = World::new();
    world.correlator.tasks(PID, TaskRuntime::Greenlets, None);
    let (one, two) = (world.connection(500).1, world.connection(501).1);
    let unread = world.open(&one, thread(PID, PID), 0, None);
    world.close_by(&unread, greenlet);
    for offset in 1..=u64::from(ENOUGH) {
        let request = world.open(&one, greenlet, offset, None);
        let other = Unit { task: GREENLET | 0x7f00_0002_0000, ..thread(PID, PID) };
        world.work(&two, other, offset);
        world.call(greenlet);
        world.close(&request);
    }
    assert_eq!(profile(&world).name(), "threads");
}
