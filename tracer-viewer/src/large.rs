//! Large answers: their bytes together are bounded, also while slow clients read them.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Bytes that are handed to a connection at once. It keeps some of them; an answer gives its room back with the last.
const CHUNK_BYTES: usize = 64 * 1024;

/// Unit of room.
const UNIT_BYTES: usize = 1024;

/// Room for large answers.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    units: u32,
    free: Arc<Semaphore>,
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = units(bytes);
        Self { units, free: Arc::new(Semaphore::new(units as usize)) }
    }

    /// A body that takes room until it is sent. One that is larger than all room waits for nobody else to have any.
    pub(crate) fn body(&self, bytes: impl Into<Bytes>) -> Result<Body, Problem> {
        let bytes = bytes.into();
        let wanted = units(bytes.len()).min(self.units);
        let Ok(place) = self.free.clone().try_acquire_many_owned(wanted) else {
            let message = "slow clients still read other large answers: ask again in a few seconds";
            return Err(
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(Duration::from_secs(5))
            );
        };
        Ok(Body::new(Large { rest: bytes, _place: place }))
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

struct Large {
    rest: Bytes,
    _place: OwnedSemaphorePermit,
}

impl hyper::body::Body for Large {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(CHUNK_BYTES);
        let chunk = self.rest.split_to(length);
        Poll::Ready((!chunk.is_empty()).then_some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn an_answer_holds_room_until_it_is_read() {
        let room = Room::new(300 * 1024);
        let first = room.body(vec![1; 200 * 1024]).unwrap();
        let refused = room.body(vec![2; 200 * 1024]).expect_err("there is no room");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(room.body(vec![3; 100]).is_ok());
        assert_eq!(to_bytes(first, usize::MAX).await.unwrap(), vec![1; 200 * 1024]);
        assert!(room.body(vec![2; 200 * 1024]).is_ok());
    }

    #[tokio::test]
    async fn an_answer_larger_than_all_room_is_sent_alone() {
        let room = Room::new(1024);
        let body = room.body(vec![1; 5000]).unwrap();
        assert!(room.body(vec![1]).is_err());
        assert_eq!(to_bytes(body, usize::MAX).await.unwrap().len(), 5000);
        assert_eq!(to_bytes(room.body(Vec::new()).unwrap(), 1).await.unwrap().len(), 0);
    }
}
