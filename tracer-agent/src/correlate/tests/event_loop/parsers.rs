//! What the ids of parsers and of connections tell.

use tracer_common::RUN_CONNECT;

use super::*;

/// A connection that the service has accepted.
struct Accepted {
    end: End,
    /// Its async id, and that of its parser.
    handle: u64,
    parser: u64,
    /// Where its next request begins.
    offset: u64,
}

impl NodeService {
    /// A client connects; nothing tells of that. The parser's id is so far behind that of the connection.
    fn accepts(&mut self, distance: u64) -> Accepted {
        self.served[1] += 1;
        self.last_id += 2;
        let handle = self.last_id;
        self.last_id += distance + 1;
        let (_, end) = self.connection();
        Accepted { end, handle, parser: handle + distance, offset: 0 }
    }

    /// A request is read from it.
    fn request_on(&mut self, accepted: &mut Accepted) -> Request {
        self.reads(RUN_SERVER_REQUEST, &accepted.end);
        let pending = self.world.open(&accepted.end, thread(PID, PID), accepted.offset, None);
        accepted.offset += 300;
        self.ids = [accepted.parser, accepted.handle];
        Request { end: accepted.end.clone(), pending }
    }

    /// What runs makes an immediate, and other callbacks run before that: of which nothing is known.
    fn immediate_among_others(&mut self) -> u64 {
        self.last_id += 3;
        let immediate = self.last_id - 1;
        self.served[1] += 2;
        self.last_id += 5;
        immediate
    }

    /// A call is sent from an immediate that has this trigger.
    fn call_of(&mut self, immediate: u64, trigger: u64) -> CallOut {
        self.checks();
        self.ids = [immediate, trigger];
        self.call()
    }

    /// The response is sent from a timer, so that no answer leads to it.
    fn respond_on(&mut self, accepted: &Accepted, request: &Request) -> Link {
        self.handle = accepted.handle;
        let link = self.respond_later(request);
        self.handle = 0;
        link
    }

    /// So many connections whose handlers call at once that it is known where parsers' ids are.
    fn learn_parsers(&mut self, distances: &[u64]) {
        for distance in distances {
            let mut accepted = self.accepts(*distance);
            let request = self.request_on(&mut accepted);
            let call = self.call();
            self.respond_on(&accepted, &request);
            self.answer(&call);
        }
    }

    fn with_parsers() -> Self {
        let mut service = Self::new();
        service.learn();
        service.learn_parsers(&[1; 16]);
        service
    }

    /// The parent of a call of an immediate that is begun for a request of a new connection.
    fn parent_of_begun(&mut self, distance: u64) -> (Option<([u8; 8], Evidence)>, [u8; 8]) {
        let other = self.with_another();
        let mut accepted = self.accepts(distance);
        let request = self.request_on(&mut accepted);
        let immediate = self.immediate_among_others();
        let call = self.call_of(immediate, accepted.parser);
        let exchange = self.answer(&call);
        let server = self.respond_on(&accepted, &request);
        self.respond_later(&other);
        (parent(&self.link(&call, &exchange)), server.span_id)
    }
}

#[test]
fn what_a_parser_has_begun_is_for_the_request_that_it_has_read() {
    let mut service = NodeService::with_parsers();
    let (found, server) = service.parent_of_begun(1);
    assert_eq!(found, Some((server, Evidence::EventLoop)));
    // On a kept connection, too; of a timer, and of the rest of a body, which the parser itself is called for.
    let other = service.with_another();
    let mut accepted = service.accepts(1);
    let mut found = Vec::new();
    for _ in 0..20 {
        let request = service.request_on(&mut accepted);
        let timer = service.immediate_among_others();
        (service.phase, service.ids) = (TIMERS, [timer, accepted.parser]);
        let call = service.call();
        let exchange = service.answer(&call);
        service.tell(RUN_OTHER, &accepted.end);
        service.ids = [accepted.parser, accepted.handle];
        let late = service.call();
        let late_exchange = service.answer(&late);
        let server = service.respond_on(&accepted, &request);
        found.extend([(call, exchange, server.span_id), (late, late_exchange, server.span_id)]);
    }
    service.respond_later(&other);
    for (call, exchange, server) in &found {
        assert_eq!(parent(&service.link(call, exchange)), Some((*server, Evidence::EventLoop)));
    }
    assert_eq!(service.profile(), "event-loop");
}

#[test]
fn what_was_begun_for_an_earlier_request_is_not_for_the_next_one_of_the_connection() {
    let mut service = NodeService::with_parsers();
    let other = service.with_another();
    let mut accepted = service.accepts(1);
    let first = service.request_on(&mut accepted);
    let timer = service.immediate_among_others();
    let own = service.immediate_among_others();
    let own = service.call_of(own, accepted.parser);
    let own_exchange = service.answer(&own);
    let first = service.respond_on(&accepted, &first);
    let next = service.request_on(&mut accepted);
    // The timer of the first one ends while the next one is open.
    let late = service.call_of(timer, accepted.parser);
    let late_exchange = service.answer(&late);
    // What the next one begins.
    let begun = service.immediate_among_others();
    let call = service.call_of(begun, accepted.parser);
    let exchange = service.answer(&call);
    let next = service.respond_on(&accepted, &next);
    service.respond_later(&other);
    let expected = |link: &Link| Some((link.span_id, Evidence::EventLoop));
    assert_eq!(parent(&service.link(&own, &own_exchange)), expected(&first));
    assert_eq!(parent(&service.link(&late, &late_exchange)), None);
    assert_eq!(parent(&service.link(&call, &exchange)), expected(&next));
}

#[test]
fn a_call_after_the_response_is_for_nobody() {
    let mut service = NodeService::with_parsers();
    let other = service.with_another();
    let mut accepted = service.accepts(1);
    let request = service.request_on(&mut accepted);
    let immediate = service.immediate_among_others();
    service.respond_on(&accepted, &request);
    let call = service.call_of(immediate, accepted.parser);
    let exchange = service.answer(&call);
    service.respond_later(&other);
    assert_eq!(parent(&service.link(&call, &exchange)), None);
    assert_eq!(service.profile(), "event-loop");
}

#[test]
fn requests_that_are_pipelined_tell_nothing() {
    let mut service = NodeService::with_parsers();
    let other = service.with_another();
    let mut accepted = service.accepts(1);
    let first = service.request_on(&mut accepted);
    let one = service.immediate_among_others();
    let second = service.request_on(&mut accepted);
    let two = service.immediate_among_others();
    let calls = [one, two].map(|immediate| service.call_of(immediate, accepted.parser));
    let exchanges = calls.each_ref().map(|call| service.answer(call));
    service.respond_on(&accepted, &first);
    let third = service.immediate_among_others();
    let third = service.call_of(third, accepted.parser);
    let third_exchange = service.answer(&third);
    service.respond_on(&accepted, &second);
    service.respond_later(&other);
    for (call, exchange) in calls.iter().zip(&exchanges).chain([(&third, &third_exchange)]) {
        assert_eq!(parent(&service.link(call, exchange)), None);
    }
}

#[test]
fn a_parser_of_a_connection_that_has_ended_tells_nothing_of_others() {
    let mut service = NodeService::with_parsers();
    let mut ended = service.accepts(1);
    let request = service.request_on(&mut ended);
    let timer = service.immediate_among_others();
    service.respond_on(&ended, &request);
    // Another connection, which has the same descriptor: its number and its ids are others.
    let other = service.with_another();
    let mut accepted = service.accepts(1);
    let request = service.request_on(&mut accepted);
    let call = service.call_of(timer, ended.parser);
    let exchange = service.answer(&call);
    service.respond_on(&accepted, &request);
    service.respond_later(&other);
    assert_eq!(parent(&service.link(&call, &exchange)), None);
}

#[test]
fn where_the_ids_of_parsers_are_has_to_be_learned() {
    let mixed = |first: &[u64], count: usize| [first, &vec![1; count]].concat();
    for (distances, is_known) in [
        (mixed(&[], 14), false),
        (vec![2; 20], false),
        ([1, 2].repeat(20), false),
        (mixed(&[3], 14), false),
        (mixed(&[3], 20), true),
        (mixed(&[3; 8], 20), false),
        (mixed(&[], 16), true),
    ] {
        let mut service = NodeService::new();
        service.learn();
        service.learn_parsers(&distances);
        let (found, server) = service.parent_of_begun(1);
        assert_eq!(found, is_known.then_some((server, Evidence::EventLoop)), "{distances:?}");
    }
    // What all connections begin at the same distance need not be their parsers.
    let mut service = NodeService::new();
    service.learn();
    service.learn_parsers(&[4; 17]);
    assert_eq!(service.parent_of_begun(4).0, None);
    assert_eq!(service.parent_of_begun(1).0, None);
}

#[test]
fn a_connection_whose_id_changes_tells_nothing() {
    let mut service = NodeService::with_parsers();
    let other = service.with_another();
    let mut accepted = service.accepts(1);
    let request = service.request_on(&mut accepted);
    service.respond_on(&accepted, &request);
    let request = service.request_on(&mut accepted);
    service.handle = accepted.handle - 1;
    service.respond_later(&request);
    service.handle = 0;
    let request = service.request_on(&mut accepted);
    let immediate = service.immediate_among_others();
    let call = service.call_of(immediate, accepted.parser);
    let exchange = service.answer(&call);
    service.respond_on(&accepted, &request);
    service.respond_later(&other);
    assert_eq!(parent(&service.link(&call, &exchange)), None);
}

#[test]
fn a_call_that_another_requests_parser_has_begun_contradicts_when_that_is_known() {
    let mut service = NodeService::with_parsers();
    let third = service.with_another();
    let mut accepted = service.accepts(1);
    let one = service.request_on(&mut accepted);
    let immediate = service.immediate_among_others();
    let two = service.request();
    let call = service.call_of(immediate, accepted.parser);
    let exchange = service.answer(&call);
    // What was called for the one answers the other: a batch, or a shared call.
    service.respond(&two);
    service.respond_on(&accepted, &one);
    service.respond_later(&third);
    assert_eq!(parent(&service.link(&call, &exchange)), None);
    assert_eq!(service.profile(), "unknown");
}

#[test]
fn what_another_resource_runs_in_a_callback_is_not_the_callbacks_own() {
    let mut service = NodeService::with_parsers();
    let other = service.with_another();
    let mut accepted = service.accepts(1);
    let first = service.request_on(&mut accepted);
    service.respond_on(&accepted, &first);
    // An old resource, which an agent keeps for a request that waits.
    let resource = service.immediate_among_others();
    let request = service.request_on(&mut accepted);
    service.ids = [resource, 3];
    let call = service.call();
    let exchange = service.answer(&call);
    service.respond_on(&accepted, &request);
    service.respond_later(&other);
    assert_eq!(parent(&service.link(&call, &exchange)), None);
}

#[test]
fn the_first_call_of_a_connection_is_of_the_callback_that_has_begun_to_establish_it() {
    for is_in_run in [true, false] {
        let mut service = NodeService::new();
        service.learn();
        let other = service.with_another();
        let request = service.request();
        if !is_in_run {
            // The end of a connection is told, and an agent makes another one for a request that waits.
            service.phase = TIMERS;
        }
        let (client, _) = service.connection();
        service.last_id += 4;
        let (tick, handle) = (service.last_id - 1, service.last_id - 3);
        service.ids = [tick, handle];
        service.tell(RUN_CONNECT, &client);
        let connecting = service.last_id;
        // Others run until it is established.
        let second = service.request();
        service.last_id += 7;
        service.served[1] += 1;
        service.ids = [connecting, handle];
        service.spare.push(client);
        let call = service.call();
        let exchange = service.answer(&call);
        let server = service.respond_later(&request);
        service.respond_later(&second);
        service.respond_later(&other);
        let expected = is_in_run.then_some((server.span_id, Evidence::EventLoop));
        assert_eq!(parent(&service.link(&call, &exchange)), expected);
        assert_eq!(service.profile(), "event-loop");
    }
}

#[test]
fn what_is_called_when_a_connection_ends_comes_from_the_call_that_it_carried() {
    let mut service = NodeService::new();
    service.learn();
    let other = service.with_another();
    let request = service.request();
    let first = service.call();
    // It ends without an answer, and is tried again.
    service.reads_on(RUN_CLIENT_RESPONSE, &first.client);
    let second = service.call();
    let exchanges = [service.end(&first), service.answer(&second)];
    let server = service.respond(&request);
    service.respond_later(&other);
    for (call, exchange) in [first, second].iter().zip(&exchanges) {
        assert_eq!(parent(&service.link(call, exchange)), Some((server.span_id, Evidence::EventLoop)));
    }
}

impl NodeService {
    /// The end of a stream is read.
    fn reads_on(&mut self, part: u8, end: &End) {
        (self.phase, self.ids) = (POLLS, [0; 2]);
        self.watcher = 0x10_0000 + 64 * end.0.number;
        self.end_turn();
        self.served[1] += 1;
        self.last_id += 3;
        let record = RunRecord { is_turn: 0, ..self.record(part, end) };
        self.world.correlator.run(&record);
        self.reads += 1;
    }

    fn end(&mut self, call: &CallOut) -> Exchange {
        let exchange = self.world.exchange(&call.pending, thread(PID, PID));
        self.world.correlator.closed(&call.pending.facts, &exchange);
        exchange
    }
}
