//! The bodies of a request and of its answer, as the place of their connection sees them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};

use super::places::{Exchange, Stage};

/// The body of a request: the connection waits for its client while it does not go on.
pub(super) struct Received {
    pub(super) body: Incoming,
    pub(super) exchange: Arc<Exchange>,
}

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        self.exchange.is_at(if poll.is_pending() { Stage::Receives } else { Stage::Works });
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: the connection waits for its client from when a part is handed out until the next is asked for.
pub(super) struct Sent {
    pub(super) body: Body,
    pub(super) exchange: Arc<Exchange>,
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        self.exchange.is_at(if poll.is_pending() { Stage::Works } else { Stage::Sends(Instant::now()) });
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
