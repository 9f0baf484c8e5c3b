//! Messages that nobody answers.

use super::*;

const WORKER: Unit = Unit::thread(1, 1);

/// A message at one end of a connection.
fn open(world: &mut World, end: &End, kind: Kind, offset: u64) -> Pending {
    let start_ns = world.now();
    let mut opened = Opened {
        kind,
        unit: WORKER,
        start_ns,
        offset,
        target: 1,
        incoming: None,
        carried: None,
        attempt: None,
        is_export: false,
        injection: None,
        inserted: 0,
        is_lengthened: false,
        is_late: false,
        asked: crate::short_bytes::ShortBytes::default(),
    };
    world.correlator.opened(&end.0, &mut opened);
    Pending { facts: end.0.clone(), unit: WORKER, offset, start_ns }
}

fn close(world: &mut World, message: &Pending, kind: Kind) -> Link {
    let exchange = one_way(world, message, kind);
    world.correlator.closed(&message.facts, &exchange);
    assert!(!world.correlator.may_be_resend(&message.facts, &exchange));
    world.correlator.link(&message.facts, &exchange)
}

fn one_way(world: &mut World, message: &Pending, kind: Kind) -> Exchange {
    let mut exchange = world.exchange(message, WORKER);
    exchange.kind = kind;
    exchange.outcome = Outcome::OneWay;
    (exchange.response_unit, exchange.response_start_ns) = (None, None);
    without_status(&mut exchange);
    exchange
}

#[test]
fn both_ends_of_a_message_are_one_trace_and_nothing_stays_open() {
    let mut world = World::new();
    let (client, server) = world.connection(1);
    let published = open(&mut world, &client, Kind::Publish, 100);
    let consumed = open(&mut world, &server, Kind::Consume, 100);
    // A message of the other direction at the same offset is another one.
    let pushed = open(&mut world, &client, Kind::Consume, 100);
    let inner = close(&mut world, &consumed, Kind::Consume);
    let outer = close(&mut world, &published, Kind::Publish);
    assert_eq!(inner.parent, Some((outer.span_id, Evidence::Wire)));
    let other = close(&mut world, &pushed, Kind::Consume);
    assert_ne!(other.span_id, outer.span_id);
    for end in [client, server] {
        world.correlator.left(end.0.number);
    }
    assert!(world.correlator.open.is_empty());
}

#[test]
fn a_published_message_belongs_to_the_request_and_is_not_sent_again_for_want_of_an_answer() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let request = world.open(&one, WORKER, 0, None);
    for number in [2, 3] {
        let (client, _) = world.connection(number);
        let message = open(&mut world, &client, Kind::Publish, 0);
        world.correlator.closing(client.0.number);
        let link = close(&mut world, &message, Kind::Publish);
        assert_eq!((evidence(&link), link.resend), (Some(Evidence::SoleRequest), None));
        world.correlator.left(client.0.number);
    }
    assert_eq!(world.correlator.resends.len(), 0);
    world.close(&request);
}

#[test]
fn while_a_consumed_message_may_be_worked_on_no_request_is_the_sole_reason() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let (_, broker) = world.connection(2);
    let request = world.open(&one, WORKER, 0, None);
    let message = open(&mut world, &broker, Kind::Consume, 0);
    assert_eq!(close(&mut world, &message, Kind::Consume).parent, None);
    assert_eq!(world.call(WORKER).parent, None);
    world.now_ns += 11_000_000_000;
    assert_eq!(evidence(&world.call(WORKER)), Some(Evidence::SoleRequest));
    world.close(&request);
}

#[test]
fn a_message_that_a_proxy_publishes_is_not_its_upstream_request() {
    let mut world = World::new();
    world.correlator.program(1, "/usr/sbin/nginx", None);
    let (_, one) = world.connection(1);
    let (log, _) = world.connection(2);
    let request = world.open(&one, WORKER, 0, None);
    let message = open(&mut world, &log, Kind::Publish, 300);
    assert_eq!(close(&mut world, &message, Kind::Publish).parent, None);
    assert_eq!(evidence(&world.call(WORKER)), Some(Evidence::Proxy));
    world.close(&request);
}
