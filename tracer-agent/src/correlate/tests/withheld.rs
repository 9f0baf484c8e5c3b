//! Why a client request has no parent.

use super::*;

const WORKER: Unit = Unit::thread(1, 1);

fn why(world: &mut World) -> Option<Withheld> {
    let link = world.call(WORKER);
    assert_eq!(link.parent.is_some(), link.withheld.is_none(), "each call has a parent or a reason");
    link.withheld
}

#[test]
fn every_call_without_a_parent_has_its_reason() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    assert_eq!(why(&mut world), Some(Withheld::NoRequest));
    let first = world.open(&one, WORKER, 0, None);
    assert_eq!(why(&mut world), None);
    let second = world.open(&two, thread(1, 2), 0, None);
    assert_eq!(why(&mut world), Some(Withheld::Learning));
    // Another thread answers: no thread is known by what it reads.
    world.close_by(&second, WORKER);
    let second = world.open(&two, thread(1, 2), 100, None);
    assert_eq!(why(&mut world), Some(Withheld::Several));
    world.close(&second);
    world.correlator.answered(&one.0, Kind::Serve, 0, (1, thread(1, 1)));
    assert_eq!(why(&mut world), Some(Withheld::Earlier));
    world.close(&first);
    assert_eq!(why(&mut world), Some(Withheld::NoRequest));
    let first = world.open(&one, WORKER, 100, None);
    assert_eq!(why(&mut world), Some(Withheld::Background));
    world.correlator.rules.sole_request = false;
    assert_eq!(why(&mut world), Some(Withheld::Off));
    let at_ns = world.now();
    world.correlator.undecoded(9, WORKER, at_ns);
    assert_eq!(why(&mut world), Some(Withheld::Unseen));
    world.correlator.opaque(1);
    assert_eq!(why(&mut world), Some(Withheld::Opaque));
    world.close(&first);
}

#[test]
fn a_call_with_a_trace_of_the_applications_own_has_that_for_a_reason() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let request = world.open(&one, WORKER, 0, None);
    let (call, _) = world.connection(2);
    let made = world.open(&call, WORKER, 0, Some(incoming(7)));
    let link = world.close(&made);
    assert_eq!((link.parent, link.withheld), (None, Some(Withheld::OwnTrace)));
    world.close(&request);
}

#[test]
fn the_reason_of_a_server_request_is_none() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let request = world.open(&one, WORKER, 0, None);
    assert_eq!(world.close(&request).withheld, None);
}
