//! Client requests of a process whose way of working is not known yet: their spans wait for that.

use super::*;
use crate::correlate::strategy::threads::ENOUGH;

const PID: u32 = 1;
const ONE: Unit = Unit::thread(PID, 2);
const TWO: Unit = Unit::thread(PID, 3);

/// Two connections that two threads serve, and the client requests that have ended, with the server request of each as
/// its span was made.
struct Learning {
    one: End,
    two: End,
    clients: Vec<(Pending, Exchange, Link)>,
}

impl Learning {
    fn new(world: &mut World) -> Self {
        let [one, two] = [500, 501].map(|number| world.connection(number).1);
        Self { one, two, clients: Vec::new() }
    }

    /// The second thread makes a client request, while the first one has a server request too.
    fn overlap(&mut self, world: &mut World, offset: u64) {
        let first = world.open(&self.one, ONE, offset, None);
        let second = world.open(&self.two, TWO, offset, None);
        let (upstream, _) = world.connection(1000 + offset);
        let client = world.open(&upstream, TWO, 0, None);
        let exchange = world.exchange(&client, TWO);
        world.correlator.closed(&client.facts, &exchange);
        let second = world.close(&second);
        self.clients.push((client, exchange, second));
        world.close(&first);
    }

    /// How many of the client requests are held.
    fn held(&self, world: &World) -> usize {
        let is_held = |(client, exchange, _): &&(Pending, Exchange, Link)| {
            let is_held = world.correlator.is_held(&client.facts, exchange);
            assert!(world.correlator.is_unsettled(&client.facts, exchange) || !is_held);
            is_held
        };
        self.clients.iter().filter(is_held).count()
    }

    /// The links of the client requests, with those of their server requests.
    fn links(self, world: &mut World) -> Vec<(Link, Link)> {
        let link = |(client, exchange, server): (Pending, Exchange, Link)| {
            (world.correlator.link(&client.facts, &exchange), server)
        };
        self.clients.into_iter().map(link).collect()
    }
}

#[test]
fn links_of_the_learning_time_are_given_when_threads_are_known_to_be_units() {
    let mut world = World::new();
    let mut learning = Learning::new(&mut world);
    for offset in 0..u64::from(ENOUGH) - 1 {
        learning.overlap(&mut world, offset);
    }
    assert_eq!(learning.held(&world), ENOUGH as usize - 1);
    let decisions = world.correlator.decisions();
    learning.overlap(&mut world, u64::from(ENOUGH));
    assert_ne!(world.correlator.decisions(), decisions);
    assert_eq!(learning.held(&world), 0);
    let links = learning.links(&mut world);
    assert_eq!(links.len(), ENOUGH as usize);
    for (client, server) in links {
        assert_eq!((client.trace_id, client.flags & 1), (server.trace_id, server.flags & 1));
        assert_eq!((client.parent, client.withheld), (Some((server.span_id, Evidence::Unit)), None));
    }
}

#[test]
fn what_hangs_on_a_client_request_that_is_held_follows_it() {
    let mut world = World::new();
    let mut learning = Learning::new(&mut world);
    let first = world.open(&learning.one, ONE, 0, None);
    let second = world.open(&learning.two, TWO, 0, None);
    let (upstream, below) = world.connection(7);
    let client = world.open(&upstream, TWO, 0, None);
    let server = world.open(&below, thread(9, 9), 0, None);
    let of_server = world.exchange(&server, thread(9, 9));
    world.correlator.closed(&server.facts, &of_server);
    let of_client = world.exchange(&client, TWO);
    world.correlator.closed(&client.facts, &of_client);
    assert!(
        world.correlator.is_held(&server.facts, &of_server),
        "its trace depends on that of the client request"
    );
    let second = world.close(&second);
    world.close(&first);
    for offset in 1..=u64::from(ENOUGH) {
        learning.overlap(&mut world, offset);
    }
    assert!(!world.correlator.is_held(&server.facts, &of_server));
    let client = world.correlator.link(&client.facts, &of_client);
    let server = world.correlator.link(&server.facts, &of_server);
    assert_eq!((client.trace_id, client.parent), (second.trace_id, Some((second.span_id, Evidence::Unit))));
    assert_eq!((server.trace_id, server.parent), (second.trace_id, Some((client.span_id, Evidence::Wire))));
}

#[test]
fn a_contradiction_ends_the_waiting_without_links() {
    let mut world = World::new();
    let mut learning = Learning::new(&mut world);
    for offset in 0..10 {
        learning.overlap(&mut world, offset);
    }
    let first = world.open(&learning.one, ONE, 100, None);
    world.close_by(&first, TWO);
    assert_eq!(learning.held(&world), 0);
    for (client, server) in learning.links(&mut world) {
        assert_eq!((client.parent, client.withheld), (None, Some(Withheld::Learning)));
        assert_ne!(client.trace_id, server.trace_id);
    }
}

#[test]
fn a_process_that_is_gone_or_cannot_be_read_holds_nothing() {
    let ends: [fn(&mut World); 2] =
        [|world| world.correlator.forget_process(PID), |world| world.correlator.opaque(PID)];
    for end in ends {
        let mut world = World::new();
        let mut learning = Learning::new(&mut world);
        learning.overlap(&mut world, 0);
        let decisions = world.correlator.decisions();
        assert_eq!(learning.held(&world), 1);
        end(&mut world);
        assert_eq!(learning.held(&world), 0);
        assert_ne!(world.correlator.decisions(), decisions);
    }
}

#[test]
fn what_left_with_a_header_of_its_application_is_not_held() {
    let mut world = World::new();
    let learning = Learning::new(&mut world);
    let first = world.open(&learning.one, ONE, 0, None);
    let second = world.open(&learning.two, TWO, 0, None);
    let (upstream, _) = world.connection(7);
    // Its application has had time to export spans.
    let earlier = world.open(&upstream, TWO, 0, Some(incoming(2)));
    world.close(&earlier);
    world.now_ns += 11_000_000_000;
    let client = world.open(&upstream, TWO, 100, Some(incoming(3)));
    let exchange = world.exchange(&client, TWO);
    world.correlator.closed(&client.facts, &exchange);
    assert!(!world.correlator.is_held(&client.facts, &exchange));
    world.close(&second);
    world.close(&first);
}

#[test]
fn a_proof_of_one_process_is_given_to_those_that_learn() {
    let mut world = World::new();
    let program = Some(Program::new(7, Some("shop")));
    world.correlator.program(PID, "/usr/bin/shop", program);
    world.correlator.program(2, "/usr/bin/shop", program);
    let mut learning = Learning::new(&mut world);
    learning.overlap(&mut world, 0);
    let [one, two] = [600, 601].map(|number| world.connection(number).1);
    for offset in 0..u64::from(ENOUGH) {
        let first = world.open(&one, thread(2, 1), offset, None);
        world.work(&two, thread(2, 2), offset);
        world.close(&first);
    }
    assert_eq!(world.correlator.profile(PID), Some(Profile::Inherited { exchanges: 1 }));
    assert_eq!(learning.held(&world), 0);
    for (client, server) in learning.links(&mut world) {
        assert_eq!(client.parent, Some((server.span_id, Evidence::Unit)));
    }
}

#[test]
fn a_client_request_waits_for_a_server_that_reads_its_head_after_it_has_answered() {
    let unit = thread(1, 1);
    let mut world = World::new();
    let (call, server) = world.connection(1);
    let made = world.open(&call, unit, 0, None);
    let exchange = world.exchange(&made, unit);
    world.correlator.closed(&made.facts, &exchange);
    world.correlator.left(made.facts.number);
    assert!(world.correlator.awaits_other_end(&made.facts, &exchange));
    let served = world.open(&server, thread(2, 2), 0, None);
    assert!(!world.correlator.awaits_other_end(&made.facts, &exchange));
    let client = world.correlator.link(&made.facts, &exchange);
    assert_eq!(world.close(&served).parent, Some((client.span_id, Evidence::Wire)));
    // Nobody else traces the other end.
    let (End(mut facts), _) = world.connection(2);
    facts.peer = None;
    let alone = world.open(&End(facts), unit, 0, None);
    let exchange = world.exchange(&alone, unit);
    assert!(!world.correlator.awaits_other_end(&alone.facts, &exchange));
}
