//! The interface of strategies: what a strategy for a runtime's tasks will need of it.

use tracer_common::PROFILE_DEFERRED;

use super::*;
use crate::correlate::{
    process::Process,
    strategy::{Attributions, ServerRequest, Strategy},
};

const PID: u32 = 1;

/// One thread runs all tasks. Who a client request was sent for is certain when a task answers what it read
/// itself.
#[derive(Debug, Default)]
struct Tasks {
    /// Client requests, with the tasks that sent them.
    sent: Vec<(u64, Key)>,
    doubt: Option<Doubt>,
}

impl Strategy for Tasks {
    fn renewed(&self) -> Box<dyn Strategy> {
        Box::new(Self::default())
    }

    fn profile(&self) -> Profile {
        self.doubt.map_or(Profile::Learning { exchanges: 0, needed: 0 }, Profile::Unknown)
    }

    fn kernel_rule(&self) -> Option<u8> {
        self.doubt.is_none().then_some(PROFILE_DEFERRED)
    }

    fn may_attribute_later(&self, client_request: Key) -> bool {
        self.sent.iter().any(|(_, sent)| *sent == client_request)
    }

    fn server_opened(&mut self, _request: &ServerRequest, _others: &mut [ServerRequest]) {}

    fn server_closed(&mut self, request: &ServerRequest, answered_by: Option<Unit>) -> Vec<Attribution> {
        if answered_by.is_some_and(|unit| unit.task != request.unit.task) {
            self.doubt = Some(Doubt::AnsweredElsewhere);
            self.sent.clear();
        }
        let (server_request, evidence) = (request.key, Evidence::Unit);
        let its = self.sent.extract_if(.., |(task, _)| *task == request.unit.task);
        its.map(|(_, client_request)| Attribution { client_request, server_request, evidence })
            .filter(|_| answered_by.is_some())
            .collect()
    }

    fn works_unseen(&mut self, _unit: Unit) {}

    fn attribute(&mut self, client: &ClientRequest<'_>, _in_flight: &mut [ServerRequest]) -> Attributions {
        if self.doubt.is_none() {
            self.sent.push((client.unit.task, client.key));
        }
        Attributions::default()
    }
}

fn task(task: u64) -> Unit {
    Unit { task, ..thread(PID, PID) }
}

fn world() -> World {
    let mut world = World::new();
    let Correlator { processes, rules, .. } = &mut world.correlator;
    processes.insert(PID, Process::with(Box::new(Tasks::default())), rules, 0);
    world
}

/// Server and client requests of two tasks, and the client requests' exchanges, which have ended.
fn interleaved(world: &mut World) -> ([Pending; 2], [(Pending, Exchange); 2]) {
    let [one, two] = [1, 2].map(|number| world.connection(number).1);
    let first = world.open(&one, task(1), 100, None);
    let second = world.open(&two, task(2), 100, None);
    let clients = [2, 1].map(|number| {
        let (upstream, _) = world.connection(10 + number);
        let client = world.open(&upstream, task(number), 0, None);
        let exchange = world.exchange(&client, client.unit);
        world.correlator.closed(&client.facts, &exchange);
        (client, exchange)
    });
    ([first, second], clients)
}

#[test]
fn a_strategy_may_attribute_when_the_answer_is_written() {
    let mut world = world();
    let ([first, second], [for_second, for_first]) = interleaved(&mut world);
    for (client, exchange) in [&for_second, &for_first] {
        assert!(world.correlator.is_unsettled(&client.facts, exchange));
    }
    // The spans of client requests wait for the answer; those of the server requests come after them.
    let servers = [&first, &second].map(|server| {
        let exchange = world.exchange(server, server.unit);
        world.correlator.closed(&server.facts, &exchange);
        (server, exchange)
    });
    let links = [&for_first, &for_second].map(|(client, exchange)| {
        assert!(!world.correlator.is_unsettled(&client.facts, exchange));
        world.correlator.link(&client.facts, exchange)
    });
    for (link, (server, exchange)) in links.iter().zip(servers) {
        let outer = world.correlator.link(&server.facts, &exchange);
        assert_eq!((link.trace_id, link.parent), (outer.trace_id, Some((outer.span_id, Evidence::Unit))));
    }
}

#[test]
fn a_contradiction_ends_a_strategy_and_leaves_the_sole_request_rule() {
    let mut world = world();
    let ([first, second], clients) = interleaved(&mut world);
    world.close_by(&first, task(2));
    world.close(&second);
    for (client, exchange) in &clients {
        assert!(!world.correlator.is_unsettled(&client.facts, exchange));
        assert_eq!(world.correlator.link(&client.facts, exchange).parent, None);
    }
    assert_eq!(world.correlator.profile(PID), Some(Profile::Unknown(Doubt::AnsweredElsewhere)));
    let (_, three) = world.connection(3);
    world.rest();
    let sole = world.open(&three, task(3), 0, None);
    assert_eq!(evidence(&world.call(task(3))), Some(Evidence::SoleRequest));
    world.close(&sole);
}

#[test]
fn a_server_request_without_an_answer_attributes_nothing() {
    let mut world = world();
    let ([first, second], clients) = interleaved(&mut world);
    for server in [first, second] {
        world.correlator.left(server.facts.number);
    }
    for (client, exchange) in &clients {
        assert!(!world.correlator.is_unsettled(&client.facts, exchange));
        assert_eq!(world.correlator.link(&client.facts, exchange).parent, None);
    }
}
