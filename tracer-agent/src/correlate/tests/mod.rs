//! Requests of several processes, and the links between them.

mod background;
mod event_loop;
mod forwarded;
mod goroutines;
mod held;
mod messages;
mod other_program;
mod proxies;
mod resend;
mod self_instrumented;
mod strategy;
mod tasks;
mod threads;
mod virtual_threads;
mod withheld;

use std::sync::Arc;

use super::*;
use crate::{
    endpoint::{Endpoint, PeerIdentity},
    exchange::{Connector, Outcome},
    protocol::http::{Head, HttpExchange, Noted},
    trace_context::{Carried, HeaderFormat, HeaderFormats, Incoming},
};

/// A world of processes whose connections carry HTTP.
struct World {
    correlator: Correlator,
    /// Formats of trace contexts that parsers read.
    formats: HeaderFormats,
    now_ns: u64,
    /// What requests ask for that are opened now.
    target: u64,
    /// Requests that are opened now export telemetry.
    is_export: bool,
    /// Another program seems to insert bytes into requests that are opened now.
    is_lengthened: bool,
    /// Its text.
    asked: String,
}

/// One end of a connection.
#[derive(Clone)]
struct End(ConnectionFacts);

/// An open request at one end.
struct Pending {
    facts: ConnectionFacts,
    unit: Unit,
    offset: u64,
    start_ns: u64,
}

fn thread(pid: u32, tid: u32) -> Unit {
    Unit::thread(pid, tid)
}

impl World {
    fn new() -> Self {
        let ids = Ids::new(1);
        Self {
            correlator: Correlator::new(
                Rules {
                    sole_request: true,
                    sdk: Sdk::default(),
                    otlp_exports: false,
                    propagates: false,
                    sampler: crate::trace_context::sample::SamplingConfig::default().sampler(),
                },
                ids,
            ),
            formats: HeaderFormats::default(),
            now_ns: 1000,
            target: 1,
            is_export: false,
            is_lengthened: false,
            asked: String::new(),
        }
    }

    /// Requests that are opened from here on ask for this.
    fn ask_for(&mut self, target: u64) -> &mut Self {
        self.target = target;
        self
    }

    /// As [`Self::ask_for`], in text.
    fn ask_path(&mut self, path: &str) -> &mut Self {
        path.clone_into(&mut self.asked);
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.ask_for(path.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    fn now(&mut self) -> u64 {
        self.now_ns += 10;
        self.now_ns
    }

    /// Both ends of a connection: the client's, the server's.
    fn connection(&mut self, number: u64) -> (End, End) {
        let connect_ns = self.now();
        let address = |port: u16| Endpoint::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        let (client, server) =
            ((number as u32).wrapping_mul(1000) + 1, (number as u32).wrapping_mul(1000) + 2);
        let facts = ConnectionFacts {
            number,
            connector: Connector::Local,
            local: address(50_000),
            remote: address(80),
            identity: PeerIdentity::Sequence { sent: client, received: server },
            peer: Some(number + 1_000_000),
            netns: 1,
            connect_ns: Some(connect_ns),
            first_sent: client,
            first_received: server,
        };
        let other = ConnectionFacts {
            number: number + 1_000_000,
            connector: Connector::Remote,
            local: facts.remote.clone(),
            remote: facts.local.clone(),
            identity: PeerIdentity::Sequence { sent: server, received: client },
            peer: Some(number),
            connect_ns: None,
            first_sent: server,
            first_received: client,
            ..facts.clone()
        };
        (End(facts), End(other))
    }

    fn open(&mut self, end: &End, unit: Unit, offset: u64, incoming: Option<Incoming>) -> Pending {
        self.open_with(end, unit, offset, incoming, None)
    }

    /// The fields are read if the world is configured so.
    fn open_with(
        &mut self,
        end: &End,
        unit: Unit,
        offset: u64,
        incoming: Option<Incoming>,
        fields: Option<&str>,
    ) -> Pending {
        let start_ns = self.now();
        let incoming = incoming.map(Box::new);
        let head = fields.map(|fields| format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n"));
        let carried = head.and_then(|head| Carried::of(&Head(head.as_bytes()), self.formats));
        let mut opened = Opened {
            kind: kind_at(&end.0),
            unit,
            start_ns,
            offset,
            target: self.target,
            incoming,
            carried: carried.map(Box::new),
            attempt: None,
            is_export: self.is_export,
            injection: None,
            inserted: 0,
            is_lengthened: self.is_lengthened,
            is_late: false,
            asked: bytes::Bytes::from(self.asked.clone()).into(),
        };
        self.correlator.opened(&end.0, &mut opened);
        Pending { facts: end.0.clone(), unit, offset, start_ns }
    }

    /// A request that is told when its exchange is over.
    fn open_late(&mut self, end: &End, unit: Unit, start_ns: u64) -> Pending {
        let mut opened = Opened {
            kind: kind_at(&end.0),
            unit,
            start_ns,
            offset: 7,
            target: self.target,
            incoming: None,
            carried: None,
            attempt: None,
            is_export: false,
            is_lengthened: false,
            injection: None,
            inserted: 0,
            is_late: true,
            asked: bytes::Bytes::from(self.asked.clone()).into(),
        };
        self.correlator.opened(&end.0, &mut opened);
        Pending { facts: end.0.clone(), unit, offset: 7, start_ns }
    }

    fn close(&mut self, pending: &Pending) -> Link {
        self.close_by(pending, pending.unit)
    }

    /// Another thread may have written the answer.
    fn close_by(&mut self, pending: &Pending, answered: Unit) -> Link {
        let exchange = self.exchange(pending, answered);
        self.correlator.closed(&pending.facts, &exchange);
        self.correlator.link(&pending.facts, &exchange)
    }

    fn exchange(&mut self, pending: &Pending, answered: Unit) -> Exchange {
        let end_ns = self.now();
        Exchange {
            kind: kind_at(&pending.facts),
            request_unit: pending.unit,
            response_unit: Some(answered),
            start_ns: pending.start_ns,
            request_end_ns: pending.start_ns,
            response_start_ns: Some(end_ns),
            end_ns,
            outcome: Outcome::Complete,
            request_offset: pending.offset,
            attached: None,
            payload: Arc::new(HttpExchange {
                request_head: bytes::Bytes::new(),
                method: 0..0,
                target: 0..0,
                noted: Noted::default(),
                minor_version: 1,
                response_head: None,
                status: Some(200),
                export_body: None,
                request_body_bytes: None,
                response_body_bytes: None,
            }),
        }
    }

    /// A request is read and answered by its thread, which makes a call for it.
    fn work(&mut self, end: &End, unit: Unit, offset: u64) {
        let request = self.open(end, unit, offset, None);
        self.call(unit);
        self.close(&request);
    }

    /// Nothing is asked of the processes for a second.
    fn rest(&mut self) {
        self.now_ns += 1_000_000_000;
    }

    /// The process of this unit is known to call the usual port for its requests.
    fn calls_for_requests(&mut self, unit: Unit) {
        let (_, end) = self.connection(400 + u64::from(unit.pid));
        self.work(&end, unit, 0);
    }

    /// A call from its beginning to its end, on a connection that nobody else uses.
    fn call(&mut self, unit: Unit) -> Link {
        self.call_to(unit, 80)
    }

    /// As [`Self::call`], to this port.
    fn call_to(&mut self, unit: Unit, port: u16) -> Link {
        let number = self.now() + 10_000;
        let (mut call, _) = self.connection(number);
        call.0.remote = Endpoint::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        let made = self.open(&call, unit, 1, None);
        self.close(&made)
    }
}

/// The exchange without a status.
fn without_status(exchange: &mut Exchange) {
    let http: &HttpExchange = exchange.payload().expect("HTTP");
    exchange.payload = Arc::new(HttpExchange { status: None, ..http.clone() });
}

/// Who opened a connection sends the requests.
fn kind_at(facts: &ConnectionFacts) -> Kind {
    if facts.connector == Connector::Local { Kind::Call } else { Kind::Serve }
}

fn evidence(link: &Link) -> Option<Evidence> {
    link.parent.map(|(_, evidence)| evidence)
}

fn incoming(trace: u8) -> Incoming {
    Incoming {
        trace_id: [trace; 16],
        parent_id: [trace; 8],
        flags: Some(1),
        state: "a=1".to_owned(),
        format: None,
    }
}

#[test]
fn evidence_is_known_by_its_name() {
    for evidence in Evidence::ALL {
        assert_eq!(Evidence::from_name(evidence.name()), Some(evidence));
    }
    assert_eq!(Evidence::from_name("hearsay"), None);
}

#[test]
fn both_ends_of_a_connection_are_one_trace() {
    let mut world = World::new();
    let (client, server) = world.connection(1);
    for offset in [0, 300] {
        let call = world.open(&client, thread(1, 1), offset, None);
        let request = world.open(&server, thread(2, 2), offset, None);
        let (inner, outer) = (world.close(&request), world.close(&call));
        assert_eq!(inner.trace_id, outer.trace_id);
        assert_eq!(inner.parent, Some((outer.span_id, Evidence::Wire)));
        assert_eq!((inner.flags, outer.flags), (0x303, 0x103));
        assert_eq!(outer.parent, None);
    }
}

#[test]
fn the_call_may_be_seen_after_what_it_caused_and_all_below_follows() {
    let mut world = World::new();
    let (client, server) = world.connection(1);
    let (below, far) = world.connection(2);
    let request = world.open(&server, thread(2, 2), 0, None);
    let inner_call = world.open(&below, thread(2, 2), 0, None);
    let inner_request = world.open(&far, thread(3, 3), 0, None);
    let call = world.open(&client, thread(1, 1), 0, None);
    let links = [&inner_request, &inner_call, &request, &call].map(|pending| world.close(pending));
    let evidences: Vec<_> = links.iter().map(evidence).collect();
    assert_eq!(evidences, [Some(Evidence::Wire), Some(Evidence::SoleRequest), Some(Evidence::Wire), None]);
    assert!(links.iter().all(|link| link.trace_id == links[3].trace_id));
    for pair in links.windows(2) {
        assert_eq!(pair[0].parent.map(|(id, _)| id), Some(pair[1].span_id));
    }
}

#[test]
fn a_request_does_not_leave_the_trace_that_was_told_of_what_is_below_it() {
    let mut world = World::new();
    let (client, server) = world.connection(1);
    let request = world.open(&server, thread(2, 2), 0, None);
    let inner = world.call(thread(2, 2));
    let call = world.open(&client, thread(1, 1), 0, None);
    let (outer, above) = (world.close(&request), world.close(&call));
    assert_eq!((inner.trace_id, inner.parent.map(|(id, _)| id)), (outer.trace_id, Some(outer.span_id)));
    assert_eq!(outer.parent, None);
    assert_ne!(outer.trace_id, above.trace_id);
}

#[test]
fn what_is_below_a_request_waits_for_the_call_that_caused_that() {
    let mut world = World::new();
    let (client, server) = world.connection(1);
    let (below, far) = world.connection(2);
    let request = world.open(&server, thread(2, 2), 0, None);
    let inner_call = world.open(&below, thread(2, 2), 0, None);
    let inner_request = world.open(&far, thread(3, 3), 0, None);
    let exchanges = [&inner_request, &inner_call].map(|pending| {
        let exchange = world.exchange(pending, pending.unit);
        world.correlator.closed(&pending.facts, &exchange);
        (pending.facts.clone(), exchange)
    });
    assert!(exchanges.iter().all(|(facts, exchange)| world.correlator.is_unsettled(facts, exchange)));
    let call = world.open(&client, thread(1, 1), 0, None);
    assert!(!exchanges.iter().any(|(facts, exchange)| world.correlator.is_unsettled(facts, exchange)));
    let links = exchanges.map(|(facts, exchange)| world.correlator.link(&facts, &exchange));
    world.close(&request);
    let outer = world.close(&call);
    assert!(links.iter().all(|link| link.trace_id == outer.trace_id));
}

#[test]
fn an_exchange_waits_for_the_call_that_caused_it_also_when_its_connection_is_gone() {
    let mut world = World::new();
    let (client, server) = world.connection(1);
    let request = world.open(&server, thread(2, 2), 0, None);
    let exchange = world.exchange(&request, request.unit);
    world.correlator.closed(&request.facts, &exchange);
    assert!(world.correlator.is_unsettled(&request.facts, &exchange));
    world.correlator.left(server.0.number);
    let call = world.open(&client, thread(1, 1), 0, None);
    assert!(!world.correlator.is_unsettled(&request.facts, &exchange));
    let inner = world.correlator.link(&request.facts, &exchange);
    let outer = world.close(&call);
    assert_eq!(inner.parent, Some((outer.span_id, Evidence::Wire)));
    world.correlator.left(client.0.number);
    assert!(world.correlator.open.is_empty());
}

#[test]
fn another_place_on_the_connection_is_another_request() {
    let mut world = World::new();
    let (client, server) = world.connection(1);
    let call = world.open(&client, thread(1, 1), 0, None);
    let request = world.open(&server, thread(2, 2), 100, None);
    assert_eq!(world.close(&request).parent, None);
    assert_eq!(world.close(&call).parent, None);
}

#[test]
fn a_context_that_came_is_stronger_than_the_wire() {
    let mut world = World::new();
    let (client, server) = world.connection(1);
    let call = world.open(&client, thread(1, 1), 0, None);
    let request = world.open(&server, thread(2, 2), 0, Some(incoming(7)));
    let link = world.close(&request);
    assert_eq!((link.trace_id, link.parent), ([7; 16], Some(([7; 8], Evidence::Header))));
    assert_eq!((link.flags, link.trace_state.as_str()), (0x301, "a=1"));
    // The call left with that header, which another program wrote.
    let call = world.close(&call);
    assert_eq!((call.trace_id, call.span_id, call.parent), ([7; 16], [7; 8], None));
}

#[test]
fn a_call_with_the_trace_id_of_one_open_request_belongs_to_it() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    let (call, _) = world.connection(3);
    let first = world.open(&one, thread(1, 1), 0, Some(incoming(7)));
    let second = world.open(&two, thread(1, 1), 0, Some(incoming(8)));
    let made = world.open(&call, thread(1, 9), 0, Some(incoming(8)));
    let again = world.open(&call, thread(1, 9), 100, Some(incoming(9)));
    let link = world.close(&made);
    assert_eq!((link.trace_id, evidence(&link)), ([8; 16], Some(Evidence::ForwardedHeader)));
    assert_eq!(evidence(&world.close(&again)), None, "two are open, and neither has this trace");
    let third = world.open(&two, thread(1, 1), 200, Some(incoming(7)));
    let both = world.open(&call, thread(1, 9), 200, Some(incoming(7)));
    // Two have this trace, and came with this span: it is above both.
    assert_eq!(world.close(&both).parent, Some(([7; 8], Evidence::Header)));
    for pending in [first, second, third] {
        world.close(&pending);
    }
}

#[test]
fn a_call_belongs_to_the_only_open_request_and_to_none_of_two() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let (_, two) = world.connection(2);
    let (call, _) = world.connection(3);
    let before = world.open(&call, thread(1, 5), 0, None);
    let first = world.open(&one, thread(1, 1), 0, None);
    let sole = world.open(&call, thread(1, 5), 10, None);
    let second = world.open(&two, thread(1, 1), 0, None);
    let unclear = world.open(&call, thread(1, 5), 20, None);
    let inner = world.close(&sole);
    assert_eq!(evidence(&inner), Some(Evidence::SoleRequest));
    assert_eq!(world.close(&before).parent, None);
    assert_eq!(world.close(&unclear).parent, None);
    world.close(&second);
    let outer = world.close(&first);
    assert_eq!((inner.trace_id, inner.parent.map(|(id, _)| id)), (outer.trace_id, Some(outer.span_id)));
    assert_eq!(inner.flags, 0x103, "the parent is this process's");
    let after = world.open(&call, thread(1, 1), 30, None);
    assert_eq!(world.close(&after).parent, None, "the answer was written before");
}

#[test]
fn a_call_after_the_answer_has_begun_need_not_belong_to_the_request() {
    let mut world = World::new();
    world.correlator.program(2, "/usr/sbin/nginx", None);
    for pid in [1, 2] {
        let (_, one) = world.connection(u64::from(pid) * 10);
        let (call, _) = world.connection(u64::from(pid) * 10 + 1);
        let request = world.open(&one, thread(pid, pid), 0, None);
        world.correlator.answered(&one.0, Kind::Serve, 0, (pid, thread(pid, pid)));
        let made = world.open(&call, thread(pid, pid), 300, None);
        assert_eq!(world.close(&made).parent, None);
        world.close(&request);
    }
}

#[test]
fn nothing_is_sole_in_a_process_that_serves_what_is_not_read() {
    let mut world = World::new();
    let (_, one) = world.connection(1);
    let (call, _) = world.connection(2);
    world.correlator.opaque(1);
    let request = world.open(&one, thread(1, 1), 0, None);
    let made = world.open(&call, thread(1, 1), 0, None);
    assert_eq!(world.close(&made).parent, None);
    world.close(&request);
}

#[test]
fn what_leaves_without_a_word_leaves_nothing_behind() {
    let mut world = World::new();
    let (client, server) = world.connection(1);
    world.open(&client, thread(1, 1), 0, None);
    world.open(&server, thread(2, 2), 0, None);
    let (_, lonely) = world.connection(2);
    world.open(&lonely, thread(2, 2), 0, None);
    for end in [client, server, lonely] {
        world.correlator.left(end.0.number);
    }
    let Correlator { open, processes, .. } = &world.correlator;
    assert!(open.is_empty());
    assert!(processes.iter().all(|process| process.in_flight().next().is_none()));
}

#[test]
fn a_process_that_has_ended_is_not_remembered_for_what_its_sockets_tell_later() {
    let mut world = World::new();
    world.correlator.rules.propagates = true;
    let (_, server) = world.connection(1);
    let request = world.open(&server, thread(1, 1), 0, Some(incoming(7)));
    world.correlator.forget_process(1);
    assert_eq!(world.correlator.take_profiles().last(), Some((1, None)));
    world.close(&request);
    assert_eq!(world.correlator.profile(1), None);
    assert_eq!(world.correlator.take_profiles().count(), 0);
}

#[test]
fn a_process_that_is_forgotten_for_others_has_no_profile_any_more() {
    let mut world = World::new();
    world.correlator.rules.propagates = true;
    let (_, server) = world.connection(1);
    let request = world.open(&server, thread(1, 1), 0, None);
    world.close(&request);
    for pid in 2..=65_536 {
        world.correlator.program(pid, "/usr/bin/python3", None);
    }
    world.correlator.take_profiles().for_each(drop);
    world.call(thread(100_000, 100_000));
    let forgotten = world.correlator.take_profiles().filter(|(_, profile)| profile.is_none()).count();
    assert_eq!(forgotten, 65_536);
}
