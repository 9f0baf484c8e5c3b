//! One direction of a connection: bytes put together by their position, whatever the order in which their
//! records came.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::exchange::{Direction, Unit};

/// Both directions.
pub(super) const BOTH: [Direction; 2] = [Direction::Receive, Direction::Send];

/// One record's worth of a stream.
#[derive(Clone, Debug)]
pub struct Segment<B> {
    /// Offset of the first byte in the stream.
    pub offset: u64,
    /// Bytes that moved.
    pub length: u64,
    /// Where in the segment the copied bytes begin.
    pub skip: u64,
    /// The copied bytes.
    pub head: B,
    /// The last bytes of the segment, if they were copied apart.
    pub tail: B,
    /// When the first byte could move.
    pub start_ns: u64,
    /// When the last byte had moved.
    pub end_ns: u64,
    /// Who moved them.
    pub unit: Unit,
    /// The direction of the connection changed with this segment.
    pub turn: bool,
    /// Another segment of the same system call follows.
    pub continues: bool,
    /// It is a message with boundaries of its own.
    pub is_datagram: bool,
}

impl<B: AsRef<[u8]>> Segment<B> {
    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> Segment<Bytes> {
        Segment {
            offset: self.offset,
            length: self.length,
            skip: self.skip,
            head: Bytes::copy_from_slice(self.head.as_ref()),
            tail: Bytes::copy_from_slice(self.tail.as_ref()),
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            unit: self.unit,
            turn: self.turn,
            continues: self.continues,
            is_datagram: self.is_datagram,
        }
    }

    /// Offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// The part of it from `offset` on, when what lies before was seen already. What is left of a datagram is no
    /// message: its bytes are not given.
    pub fn from(&self, offset: u64) -> Segment<&[u8]> {
        let cut = offset.saturating_sub(self.offset).min(self.length);
        let is_cut = self.is_datagram && cut > 0;
        let head = if is_cut { &[] } else { self.head.as_ref() };
        let into_head = cut.saturating_sub(self.skip).min(head.len() as u64);
        let tail = if is_cut { &[] } else { self.tail.as_ref() };
        let tail_at = self.length - tail.len() as u64;
        let into_tail = cut.saturating_sub(tail_at).min(tail.len() as u64);
        Segment {
            offset: self.offset + cut,
            length: self.length - cut,
            skip: self.skip.saturating_sub(cut),
            head: head.get(into_head as usize..).unwrap_or_default(),
            tail: tail.get(into_tail as usize..).unwrap_or_default(),
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            unit: self.unit,
            turn: self.turn,
            continues: self.continues,
            is_datagram: self.is_datagram && !is_cut,
        }
    }
}

/// The state of one direction.
#[derive(Debug, Default)]
pub struct Stream {
    /// Sequence number of offset 0.
    first: u32,
    /// Offset of the next byte that was not handed on.
    next: u64,
    /// Whether `next` is known: at birth, or after the first segment.
    started: bool,
    /// Segments that wait, by offset: for one before them, or for the other direction.
    held: VecDeque<Segment<Bytes>>,
    /// When the oldest of them came; they do not wait for ever.
    held_since_ns: u64,
    /// Offset behind the last byte, once the end is known.
    end: Option<u64>,
    /// The end was handed on.
    ended: bool,
}

/// What came of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is the next one.
    Next,
    /// It begins with bytes that were seen: they end at [`Stream::next`]. So many bytes.
    Overlapping(u64),
    /// It lies wholly in bytes that were seen.
    Seen(u64),
    /// Bytes before it are missing.
    Ahead,
}

impl Stream {
    /// Segments that may wait.
    pub const MAX_HELD: usize = 1024;

    /// A stream whose first byte has sequence number `first`; `from_birth` if none was missed.
    pub fn new(first: u32, from_birth: bool) -> Self {
        Self { first, started: from_birth, ..Self::default() }
    }

    /// Whether a byte of it was seen, or its birth.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// It turns out that no byte of it was missed.
    pub fn begin(&mut self) {
        self.started = true;
    }

    /// Extends a sequence number to an offset: the one nearest to where the stream stands.
    pub fn offset_of(&self, position: u32) -> u64 {
        if !self.started {
            return u64::from(position.wrapping_sub(self.first));
        }
        let expected = self.first.wrapping_add(self.next as u32);
        let distance = i64::from(position.wrapping_sub(expected) as i32);
        self.next.saturating_add_signed(distance)
    }

    /// Sequence number of an offset.
    pub fn position_of(&self, offset: u64) -> u32 {
        self.first.wrapping_add(offset as u32)
    }

    /// Offset of the next byte to hand on.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether the byte at `offset` is the next to hand on.
    pub fn is_next(&self, offset: u64) -> bool {
        self.started && self.next == offset
    }

    /// Where a segment belongs.
    pub fn place(&mut self, offset: u64, length: u64) -> Placed {
        if !self.started {
            self.started = true;
            self.next = offset;
        }
        if offset > self.next {
            Placed::Ahead
        } else if offset == self.next {
            Placed::Next
        } else if offset + length <= self.next {
            Placed::Seen(length)
        } else {
            Placed::Overlapping(self.next - offset)
        }
    }

    /// Everything before `offset` was handed on.
    pub fn advance_to(&mut self, offset: u64) {
        self.next = self.next.max(offset);
    }

    /// Keeps a segment for later. Returns false if there is no space.
    pub fn hold(&mut self, segment: Segment<Bytes>, now_ns: u64) -> bool {
        if self.held.len() >= Self::MAX_HELD {
            return false;
        }
        if self.held.is_empty() {
            self.held_since_ns = now_ns;
        }
        let at = self.held.partition_point(|other| other.offset <= segment.offset);
        self.held.insert(at, segment);
        true
    }

    /// The first segment that waits.
    pub fn first_held(&self) -> Option<&Segment<Bytes>> {
        self.held.front()
    }

    /// Whether nothing waits in it: no segment, and no end that was not handed on.
    pub fn is_quiet(&self) -> bool {
        self.held.is_empty() && (self.end.is_none() || self.ended)
    }

    /// Bytes of memory that those which wait take.
    pub fn retained_bytes(&self) -> usize {
        let size =
            |segment: &Segment<Bytes>| segment.head.len() + segment.tail.len() + size_of::<Segment<Bytes>>();
        self.held.iter().map(size).sum()
    }

    /// All that wait, in order.
    pub fn held(&self) -> impl Iterator<Item = &Segment<Bytes>> {
        self.held.iter()
    }

    /// Takes the first segment that waits; the others wait from `now_ns`.
    pub fn take_held(&mut self, now_ns: u64) -> Option<Segment<Bytes>> {
        self.held_since_ns = now_ns;
        self.held.pop_front()
    }

    /// Forgets the segments that wait: they have gone by.
    pub fn discard_held(&mut self) {
        if let Some(last) = self.held.pop_back() {
            self.held.clear();
            self.advance_to(last.end());
        }
    }

    /// Whether segments have waited since before `limit_ns`.
    pub fn has_waited_since(&self, limit_ns: u64) -> bool {
        !self.held.is_empty() && self.held_since_ns <= limit_ns
    }

    /// The stream ends behind `offset`.
    pub fn set_end(&mut self, offset: u64) {
        self.end.get_or_insert(offset);
    }

    /// Whether the end is known and reached, and was not handed on: then it is now.
    pub fn take_end(&mut self) -> bool {
        let reached = !self.ended && self.held.is_empty() && self.end.is_some_and(|end| self.next >= end);
        self.ended |= reached;
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(offset: u64, bytes: &'static [u8]) -> Segment<Bytes> {
        Segment {
            offset,
            length: bytes.len() as u64,
            skip: 0,
            head: Bytes::from_static(bytes),
            tail: Bytes::new(),
            start_ns: 1,
            end_ns: 2,
            unit: Unit::thread(1, 1),
            turn: false,
            continues: false,
            is_datagram: false,
        }
    }

    #[test]
    fn offsets_go_on_when_sequence_numbers_wrap() {
        let mut stream = Stream::new(u32::MAX - 9, true);
        assert_eq!(stream.offset_of(u32::MAX - 9), 0);
        assert_eq!(stream.offset_of(5), 15);
        stream.advance_to(1 << 33);
        assert_eq!(stream.offset_of(stream.position_of((1 << 33) + 100)), (1 << 33) + 100);
        assert_eq!(stream.offset_of(stream.position_of((1 << 33) - 100)), (1 << 33) - 100);
    }

    #[test]
    fn pieces_wait_in_the_order_of_their_bytes() {
        let mut stream = Stream::new(0, true);
        assert_eq!(stream.place(5, 3), Placed::Ahead);
        assert!(stream.hold(segment(5, b"abc"), 10));
        assert!(stream.hold(segment(2, b"xyz"), 20));
        assert_eq!(stream.first_held().map(|p| p.offset), Some(2));
        assert!(stream.has_waited_since(10));
        assert!(!stream.has_waited_since(9));
    }

    #[test]
    fn bytes_that_were_seen_are_cut_off() {
        let whole = Segment {
            skip: 2,
            length: 20,
            head: Bytes::from_static(b"abcd"),
            tail: Bytes::from_static(b"yz"),
            ..segment(100, b"")
        };
        let rest = whole.from(104);
        assert_eq!(
            (rest.offset, rest.length, rest.skip, rest.head, rest.tail),
            (104, 16, 0, &b"cd"[..], &b"yz"[..])
        );
        let rest = whole.from(119);
        assert_eq!((rest.length, rest.head, rest.tail), (1, &b""[..], &b"z"[..]));
    }

    #[test]
    fn what_is_left_of_a_datagram_is_no_message() {
        let whole = Segment { is_datagram: true, ..segment(100, b"abcd") };
        let rest = whole.from(100);
        assert_eq!((rest.is_datagram, rest.head), (true, &b"abcd"[..]));
        let rest = whole.from(102);
        assert_eq!((rest.is_datagram, rest.length, rest.head), (false, 2, &b""[..]));
    }

    #[test]
    fn a_full_stream_refuses_more() {
        let mut stream = Stream::new(0, true);
        for n in 0..Stream::MAX_HELD as u64 {
            assert!(stream.hold(segment(10 + n, b"a"), 0));
        }
        assert!(!stream.hold(segment(9999, b"a"), 0));
    }
}
