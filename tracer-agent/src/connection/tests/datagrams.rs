//! Messages with boundaries of their own.

use super::{
    super::{
        duplex::{Duplex, Flow},
        session::Session,
        stream::{Segment, Stream},
    },
    *,
};
use crate::protocol::{self, Call, End, Parser, Protocol, Role, Side, Start, Want, Yield, sniff::Sniffed};

/// Counts what it is told: bytes that were copied, bytes that were not, bytes that follow.
struct Told;

impl Parser for Told {
    fn data(&mut self, _: Side, bytes: &[u8], call: &Call, out: &mut Vec<Yield>) {
        out.push(Yield::Count(Counter::BytesCopied, bytes.len() as u64));
        out.push(Yield::Count(Counter::BytesSeen, call.after));
    }
    fn skip(&mut self, _: Side, length: u64, _: &Call, out: &mut Vec<Yield>) {
        out.push(Yield::Count(Counter::BytesSkipped, length));
    }
    fn gap(&mut self, _: Side, _: u64, _: u64, _: &mut Vec<Yield>) {}
    fn end(&mut self, _: Side, _: End, _: u64, _: &mut Vec<Yield>) {}
    fn close(&mut self, _: End, _: u64, _: &mut Vec<Yield>) {}
    fn tick(&mut self, _: u64, _: &mut Vec<Yield>) {}
    fn is_ready(&self, _: Side) -> bool {
        true
    }
    fn want(&self, _: Side) -> Want {
        Want::Heads
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

static TOLD: Protocol = Protocol {
    name: "told",
    sniff: |_| Sniffed::No,
    server_may_begin: false,
    open: Some(|_, _, _| Box::new(Told)),
    opaque_counter: Counter::ConnectionsOther,
    mask: None,
};

fn datagram<'a>(offset: u64, length: u64, head: &'a [u8], tail: &'a [u8]) -> Segment<&'a [u8]> {
    Segment {
        offset,
        length,
        skip: 0,
        head,
        tail,
        start_ns: 1,
        end_ns: 1,
        unit: Unit::thread(1, 1),
        turn: true,
        continues: false,
        is_datagram: true,
    }
}

/// What the parser is told of datagrams that come in this order.
fn told(datagrams: Vec<Segment<&[u8]>>) -> Vec<(Counter, u64)> {
    let limits =
        protocol::Limits { exchange_timeout_ns: 1, formats: crate::trace_context::HeaderFormats::default() };
    let mut session = Session::new(Some(Role::Server), true, limits);
    session.open(&TOLD, Role::Server, Start::Birth, [0; 2]);
    let mut duplex = Duplex::new(Stream::new(0, true), Stream::new(0, true));
    let mut seen = Seen::default();
    let mut flow = Flow { session: &mut session, end: End::Closed, out: &mut seen };
    for datagram in datagrams {
        duplex.take(Direction::Receive, datagram, &mut flow);
        duplex.drive(1, &mut flow);
    }
    let (yields, _) = session.take_yields();
    let count = |made| match made {
        Yield::Count(counter, n) => (counter, n),
        other => panic!("{other:?}"),
    };
    yields.into_iter().map(count).collect()
}

/// One call of the parser: bytes that it was given, and bytes that follow.
fn given(bytes: u64, after: u64) -> [(Counter, u64); 2] {
    [(Counter::BytesCopied, bytes), (Counter::BytesSeen, after)]
}

#[test]
fn a_parser_is_given_one_datagram_at_a_time_in_order() {
    let one = datagram(0, 3, b"one", b"");
    let two = datagram(3, 2, b"to", b"");
    let three = datagram(5, 5, b"three", b"");
    assert_eq!(told(vec![one, three, two]), [given(3, 0), given(2, 0), given(5, 0)].concat());
}

#[test]
fn an_empty_datagram_is_one_too() {
    let datagrams = vec![datagram(0, 3, b"one", b""), datagram(3, 0, b"", b""), datagram(3, 1, b"x", b"")];
    assert_eq!(told(datagrams), [given(3, 0), given(0, 0), given(1, 0)].concat());
}

#[test]
fn of_a_long_datagram_the_beginning_is_given_at_once_and_the_rest_counted() {
    let datagrams = vec![datagram(0, 9_000, &[b'x'; 4096], b"the end")];
    let mut expected = given(4096, 4904).to_vec();
    expected.push((Counter::BytesSkipped, 4904));
    assert_eq!(told(datagrams), expected);
}
