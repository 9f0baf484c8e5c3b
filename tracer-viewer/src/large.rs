//! Large answers: written in parts, sent in parts, and held no longer than that. Their bytes together are bounded.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use thiserror::Error;

use crate::{
    problem::Problem,
    room::{Lease, Pace, Room},
};

/// Bytes of a part.
const PART_BYTES: usize = 64 * 1024;

/// When whoever found no room may come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The parts of one answer, which hold the lease that holds them: gone with this.
pub(crate) struct Parts {
    lease: Arc<Lease>,
    bytes: u64,
}

impl Parts {
    /// Whether they had to give way.
    pub(crate) fn have_ended(&self) -> bool {
        self.lease.has_ended()
    }

    /// A body of all of them, which others may read too.
    pub(crate) fn body(parts: Arc<Self>) -> Body {
        Body::new(Large { left: parts.bytes, pace: parts.lease.pace(), parts, at: Some(0) })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.lease.clear();
    }
}

/// Takes a large answer as it is written.
pub(crate) struct Writer {
    parts: Parts,
    last: Vec<u8>,
}

/// There is no room for the answer.
#[derive(Debug, Error)]
#[error("there is no room for the answer")]
struct NoRoom;

/// Fails if there is no room for an answer of about this size: before it is made, which takes time and memory too.
pub(crate) fn must_fit(room: &Room, bytes: usize) -> Result<(), Problem> {
    (bytes <= PART_BYTES || room.lease().grow(bytes)).then_some(()).ok_or_else(no_room)
}

impl Writer {
    pub(crate) fn new(room: &Room) -> Self {
        Self { parts: Parts { lease: Arc::new(room.lease()), bytes: 0 }, last: Vec::new() }
    }

    /// What `write` writes.
    pub(crate) fn filled(
        room: &Room,
        write: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> Result<Self, Problem> {
        let mut writer = Self::new(room);
        write(&mut writer).map_err(|error| {
            if error.get_ref().is_some_and(|error| error.is::<NoRoom>()) {
                no_room()
            } else {
                let message = format!("the answer cannot be written: {error}. This is a bug");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            }
        })?;
        Ok(writer)
    }

    /// This as JSON.
    pub(crate) fn json(room: &Room, answer: &impl Serialize) -> Result<Self, Problem> {
        Self::filled(room, |writer| Ok(serde_json::to_writer(writer, answer)?))
    }

    /// Whether it has a single part: then it needs no room.
    pub(crate) fn is_small(&self) -> bool {
        self.parts.bytes == 0
    }

    /// The body of what was written, which gives its room back as it is read.
    pub(crate) fn body(mut self) -> Result<Body, Problem> {
        if self.is_small() {
            return Ok(Body::from(std::mem::take(&mut self.last)));
        }
        let parts = self.parts()?;
        Ok(Body::new(Large { left: parts.bytes, pace: parts.lease.pace(), parts, at: None }))
    }

    /// The parts of what was written, for several bodies.
    pub(crate) fn parts(mut self) -> Result<Arc<Parts>, Problem> {
        self.end_part().map_err(|_| no_room())?;
        Ok(Arc::new(self.parts))
    }

    fn end_part(&mut self) -> io::Result<()> {
        if self.last.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.last);
        let held = bytes.capacity();
        if !self.parts.lease.grow(held) {
            return Err(io::Error::other(NoRoom));
        }
        self.parts.bytes += bytes.len() as u64;
        let lease = self.parts.lease.clone();
        self.parts.lease.push(Bytes::from_owner(Part { bytes, held, lease }));
        Ok(())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.last.len() == PART_BYTES {
            self.end_part()?;
        }
        if self.parts.bytes > 0 && self.last.capacity() == 0 {
            self.last.reserve_exact(PART_BYTES);
        }
        let taken = bytes.len().min(PART_BYTES - self.last.len());
        self.last.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn no_room() -> Problem {
    let message = "other clients still read large answers, and there is no room for one more: ask again in a few seconds";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(RETRY_AFTER)
}

/// A part of an answer. It gives its room back when the last of it was sent.
struct Part {
    bytes: Vec<u8>,
    held: usize,
    lease: Arc<Lease>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.lease.shrink(self.held);
    }
}

/// The client took nothing for too long, and others needed the room.
#[derive(Debug, Error)]
#[error("the client took nothing for too long, and others needed the room")]
struct GaveWay;

struct Large {
    parts: Arc<Parts>,
    /// The next part, if others read them too; none if each is gone when it is read.
    at: Option<usize>,
    left: u64,
    pace: Pace,
}

impl hyper::body::Body for Large {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.parts.have_ended() {
            return Poll::Ready(Some(Err(Box::new(GaveWay))));
        }
        let part = match self.at {
            Some(at) => self.parts.lease.part(at),
            None => self.parts.lease.pop(),
        };
        // Gone meanwhile: it had to give way.
        let Some(part) = part.or_else(|| (self.left == 0).then(Bytes::new)) else {
            return Poll::Ready(Some(Err(Box::new(GaveWay))));
        };
        if part.is_empty() {
            return Poll::Ready(None);
        }
        self.at = self.at.map(|at| at + 1);
        self.left -= part.len() as u64;
        // Handed out is as good as taken: the connection asks for no more than it can write.
        self.pace.did(part.len());
        self.parts.lease.awaits(&self.pace);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::room::Counts;

    struct Rooms {
        room: Room,
        held: Gauge,
    }

    fn room(most: usize, give_way_time: Duration) -> Rooms {
        let counts = Counts::default();
        let held = counts.held.clone();
        Rooms { room: Room::new(most, give_way_time, counts), held }
    }

    fn answer(room: &Room, bytes: usize) -> Result<Body, Problem> {
        Writer::filled(room, |writer| (0..bytes).try_for_each(|_| writer.write_all(&[1])))?.body()
    }

    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn an_answer_holds_room_until_it_is_read() {
        let Rooms { room, held } = room(300 * 1024, NEVER);
        let first = answer(&room, 200 * 1024).unwrap();
        let refused = answer(&room, 200 * 1024).expect_err("there is no room");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(held.get(), 256 * 1024, "four parts");
        assert_eq!(to_bytes(first, usize::MAX).await.unwrap(), vec![1; 200 * 1024]);
        assert_eq!(held.get(), 0);
        assert!(answer(&room, 200 * 1024).is_ok());
        assert_eq!(held.get(), 0, "a client that is gone holds nothing");
    }

    #[tokio::test]
    async fn parts_that_were_sent_give_their_room_back() {
        let Rooms { room, held } = room(NEVER.as_secs() as usize * 1024, NEVER);
        let mut body = answer(&room, 200 * 1024).unwrap();
        for left in [256 - 64, 128, 64, 0] {
            let part = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
            assert_eq!(held.get(), (left + 64) * 1024);
            drop(part);
            assert_eq!(held.get(), left * 1024);
        }
    }

    #[tokio::test]
    async fn a_reader_that_stands_still_gives_way_and_is_cut() {
        let Rooms { room, held } = room(300 * 1024, Duration::ZERO);
        let mut slow = answer(&room, 200 * 1024).unwrap();
        let first = http_body_util::BodyExt::frame(&mut slow).await.unwrap().unwrap();
        let second = answer(&room, 250 * 1024).expect("the slow one gives way");
        // What the connection still has of it is not counted, nothing else is left.
        assert_eq!(held.get(), 256 * 1024);
        drop(first);
        assert!(to_bytes(slow, usize::MAX).await.is_err(), "a cut answer is not a whole one");
        assert_eq!(to_bytes(second, usize::MAX).await.unwrap().len(), 250 * 1024);
    }

    #[tokio::test]
    async fn an_answer_larger_than_all_room_is_sent_alone() {
        let Rooms { room, .. } = room(1024, NEVER);
        let body = answer(&room, 500_000).unwrap();
        assert!(answer(&room, PART_BYTES + 1).is_err());
        assert_eq!(to_bytes(answer(&room, PART_BYTES).unwrap(), PART_BYTES).await.unwrap().len(), PART_BYTES);
        assert_eq!(to_bytes(body, usize::MAX).await.unwrap().len(), 500_000);
        assert_eq!(to_bytes(answer(&room, 0).unwrap(), 1).await.unwrap().len(), 0);
    }
}
