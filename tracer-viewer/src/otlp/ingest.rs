//! The way of a request's spans into the store.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracer_model::otlp::{OtlpError, decode_json, decode_protobuf};
use tracer_store::Store;

use super::message::{PartialSuccess, Response};
use crate::{
    counters::Counters,
    room::{Lease, Room},
    settings::Limits,
};

/// When a sender that finds no place may come again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Takes requests: of those that have come in at most so many at the same time, whichever way they come.
#[derive(Clone)]
pub(crate) struct Ingest {
    store: Arc<Store>,
    pub(super) counters: Arc<Counters>,
    places: Arc<Semaphore>,
    /// Room for requests that are coming in: a sender that stands still gives way to those that do not.
    room: Room,
    pub(super) limits: Limits,
}

impl Ingest {
    pub(crate) fn new(store: Arc<Store>, counters: Arc<Counters>, limits: &Limits) -> Self {
        let most = limits.otlp_requests.saturating_mul(limits.otlp_request_bytes);
        let room = Room::new(most, limits.give_way_time, counters.otlp_receiving.clone());
        let places = Arc::new(Semaphore::new(limits.otlp_requests));
        Self { store, counters, places, room, limits: limits.clone() }
    }

    /// Room for a request that is coming in.
    pub(super) fn receive(&self) -> Lease {
        self.room.lease()
    }

    /// A place for one request that has come in, which it holds until it is answered. None if the sender must come again.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.places.clone().try_acquire_owned().ok();
        if place.is_none() {
            self.counters.otlp_deferred_requests.inc();
        }
        place
    }

    /// Decodes a request and stores its spans. Blocks.
    pub(super) fn store(&self, bytes: &Bytes, encoding: Encoding) -> Result<Response, OtlpError> {
        let decoded = match encoding {
            Encoding::Protobuf => decode_protobuf(bytes),
            Encoding::Json => decode_json(bytes),
        };
        let decoded = decoded.inspect_err(|_| {
            self.counters.otlp_wrong_requests.inc();
        })?;
        let inserted =
            if decoded.spans.is_empty() { Default::default() } else { self.store.insert(decoded.spans) };
        let mut refused = decoded.refused;
        if inserted.refused > 0 {
            refused.push(("the store refuses them: /api/tracer/status says why", inserted.refused));
        }
        let refused_spans = refused.iter().map(|(_, spans)| spans).sum();
        self.counters.otlp_requests.inc();
        self.counters.otlp_spans.inc_by(inserted.stored);
        self.counters.otlp_refused_spans.inc_by(refused_spans);
        Ok(answer(&refused, refused_spans))
    }
}

fn answer(refused: &[(&'static str, u64)], refused_spans: u64) -> Response {
    if refused_spans == 0 {
        return Response::default();
    }
    let reasons = refused.iter().map(|(reason, spans)| format!("{spans} spans: {reason}"));
    let error_message = reasons.collect::<Vec<_>>().join("; ");
    let rejected_spans = i64::try_from(refused_spans).unwrap_or(i64::MAX);
    Response { partial_success: Some(PartialSuccess { rejected_spans, error_message }) }
}
