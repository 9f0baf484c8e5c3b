//! Connections that change their protocol.

use super::{
    super::{
        duplex::{Duplex, Flow},
        session::Session,
        stream::{Segment, Stream},
    },
    *,
};
use crate::protocol::{
    self, Call, End, Next, Parser, Protocol, Role, Side, Start, Want, Yield, sniff::Sniffed,
};

/// Lines. At the first end of a line that `by` sends, the connection changes to `next`.
struct Greeting {
    by: Side,
    next: Next,
    read: [u64; 2],
}

impl Parser for Greeting {
    fn data(&mut self, side: Side, bytes: &[u8], _: &Call, out: &mut Vec<Yield>) {
        let at = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        self.read[side as usize] += at as u64;
        if side == self.by && bytes[..at].ends_with(b"\n") {
            let [request_offset, response_offset] = self.read;
            out.push(Yield::Changed { next: self.next, request_offset, response_offset });
        }
    }
    fn skip(&mut self, side: Side, length: u64, _: &Call, _: &mut Vec<Yield>) {
        self.read[side as usize] += length;
    }
    fn gap(&mut self, _: Side, _: u64, _: u64, _: &mut Vec<Yield>) {}
    fn end(&mut self, _: Side, _: End, _: u64, _: &mut Vec<Yield>) {}
    fn close(&mut self, _: End, _: u64, out: &mut Vec<Yield>) {
        out.push(Yield::Count(Counter::ExchangesUnparsed, 1));
    }
    fn tick(&mut self, _: u64, _: &mut Vec<Yield>) {}
    fn is_ready(&self, _: Side) -> bool {
        true
    }
    fn want(&self, _: Side) -> Want {
        Want::Everything
    }
    fn is_idle(&self) -> bool {
        true
    }
    fn open_exchanges(&self) -> u64 {
        0
    }

    fn retained_bytes(&self) -> usize {
        0
    }

    fn release(&mut self, _: u64, _: &mut Vec<Yield>) {}
}

macro_rules! greeting {
    ($name:ident, $by:expr, $next:expr) => {
        static $name: Protocol = Protocol {
            name: "greeting",
            sniff: |_| Sniffed::No,
            server_may_begin: false,
            open: Some(|_, _, _| Box::new(Greeting { by: $by, next: $next, read: [0; 2] })),
            opaque_counter: Counter::ConnectionsOther,
            mask: None,
        };
    };
}
greeting!(ANSWERED, Side::Response, Next::Sniff);
greeting!(ASKED, Side::Request, Next::Sniff);
greeting!(TUNNEL, Side::Response, Next::Opaque);
greeting!(ENDLESS, Side::Request, Next::Protocol(&ENDLESS));

/// A server's connection that begins with a protocol.
struct World {
    duplex: Duplex,
    session: Session,
    seen: Seen,
    sent: [u64; 2],
    yields: Vec<Yield>,
}

impl World {
    fn new(protocol: &'static Protocol) -> Self {
        let limits = protocol::Limits {
            exchange_timeout_ns: 1_000_000_000_000,
            formats: crate::trace_context::HeaderFormats::default(),
        };
        let mut session = Session::new(Some(Role::Server), true, limits);
        session.open(protocol, Role::Server, Start::Birth, [0; 2]);
        let duplex = Duplex::new(Stream::new(0, true), Stream::new(0, true));
        Self { duplex, session, seen: Seen::default(), sent: [0; 2], yields: Vec::new() }
    }

    fn moved(&mut self, direction: Direction, bytes: &[u8]) {
        let offset = self.sent[direction.index()];
        self.sent[direction.index()] += bytes.len() as u64;
        let segment = Segment {
            offset,
            length: bytes.len() as u64,
            skip: 0,
            head: bytes,
            tail: &[][..],
            start_ns: 1,
            end_ns: 1,
            unit: Unit::thread(1, 1),
            turn: true,
            continues: false,
            is_datagram: false,
        };
        let Self { duplex, session, seen, .. } = self;
        let mut flow = Flow { session, end: End::Closed, out: seen };
        duplex.take(direction, segment, &mut flow);
        duplex.drive(1, &mut flow);
        let (yields, base) = self.session.take_yields();
        for mut made in yields {
            if let Yield::Exchange(exchange) = &mut made {
                exchange.request_offset += base[exchange.kind.direction().index()];
            }
            self.yields.push(made);
        }
    }

    /// Offset and outcome of each exchange.
    fn exchanges(&self) -> Vec<(u64, Outcome)> {
        let exchange = |made: &Yield| match made {
            Yield::Exchange(exchange) => Some((exchange.request_offset, exchange.outcome)),
            _ => None,
        };
        self.yields.iter().filter_map(exchange).collect()
    }

    fn count(&self, wanted: Counter) -> usize {
        let is_it = |made: &&Yield| matches!(made, Yield::Count(counter, _) if *counter == wanted);
        self.yields.iter().filter(is_it).count()
    }
}

use Direction::{Receive, Send};

#[test]
fn the_next_protocol_begins_where_the_old_one_says() {
    let mut world = World::new(&ANSWERED);
    world.moved(Receive, b"upgrade\n");
    assert_eq!(world.session.want(Receive), Want::Everything);
    world.moved(Send, b"ok\n");
    assert_eq!(world.count(Counter::ExchangesUnparsed), 1, "the old parser is closed, once");
    world.moved(Receive, ASK);
    world.moved(Send, ANSWER);
    assert_eq!(world.exchanges(), [(8, Outcome::Complete)]);
}

#[test]
fn the_rest_of_a_segment_is_the_next_protocols() {
    let mut world = World::new(&ASKED);
    world.moved(Receive, &[b"upgrade\n", ASK, &ASK[..5]].concat());
    world.moved(Send, ANSWER);
    world.moved(Receive, &ASK[5..]);
    world.moved(Send, ANSWER);
    let second = 8 + ASK.len() as u64;
    assert_eq!(world.exchanges(), [(8, Outcome::Complete), (second, Outcome::Complete)]);
}

#[test]
fn a_response_that_overtakes_its_request_waits_in_the_next_protocol_too() {
    let mut world = World::new(&ASKED);
    world.moved(Receive, b"upgrade\n");
    world.moved(Send, ANSWER);
    assert_eq!(world.exchanges(), []);
    world.moved(Receive, ASK);
    assert_eq!(world.exchanges(), [(8, Outcome::Complete)]);
}

#[test]
fn what_a_tunnel_carries_is_not_read() {
    let mut world = World::new(&TUNNEL);
    world.moved(Receive, b"connect\n");
    world.moved(Send, b"ok\n");
    assert!(world.session.is_opaque());
    world.moved(Receive, ASK);
    world.moved(Send, ANSWER);
    assert_eq!(world.exchanges(), []);
}

#[test]
fn a_connection_that_changes_for_ever_is_given_up() {
    let mut world = World::new(&ENDLESS);
    world.moved(Receive, &b"\n".repeat(100));
    assert!(world.session.is_opaque());
    assert_eq!(world.count(Counter::ConnectionsGivenUp), 1);
}

#[test]
fn bytes_that_the_old_protocol_took_are_missed_by_the_next() {
    let mut world = World::new(&ANSWERED);
    // The greeting takes one line of each segment.
    world.moved(Receive, b"upgrade\n");
    world.moved(Receive, ASK);
    world.moved(Send, b"ok\n");
    world.moved(Send, ANSWER);
    assert!(world.exchanges().is_empty());
    for _ in 0..3 {
        world.moved(Receive, ASK);
        world.moved(Send, ANSWER);
    }
    // It is met in the middle: a boundary of messages is found first.
    let length = ASK.len() as u64;
    assert!(!world.exchanges().is_empty());
    assert!(
        world.exchanges().iter().all(|(offset, _)| offset % length == 8 % length),
        "{:?}",
        world.exchanges()
    );
}
