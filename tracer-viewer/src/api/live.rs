//! New traces as they come: server-sent events.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use hyper::body::Frame;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast::error::RecvError, mpsc},
    time::{MissedTickBehavior, interval},
};
use tracer_model::{
    answer::{ApiError, LiveLost, TraceSummary},
    span::TraceId,
};
use tracer_store::{
    Query, SearchOptions, Store,
    query::{Condition, Term},
};

use super::{extract::Parameters, parameters::LiveParameters};
use crate::{blocking::blocking, problem::Problem, shared::Shared};

/// How often a page is told: spans of one trace come one after the other, and are told as one change.
const BEAT: Duration = Duration::from_millis(500);

/// How often a comment is sent when nothing else is: proxies close what is silent, and a page that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events that wait for a slow page; more are lost to it, and counted.
const QUEUED_EVENTS: usize = 128;

/// Bytes of them: names of traces may be long.
const QUEUED_BYTES: usize = 1024 * 1024;

/// Traces that changed within a beat; more are lost, and counted.
const MAX_CHANGED: usize = 4096;

/// Time of a beat's search.
const SEARCH_TIME: Duration = Duration::from_millis(200);

/// New traces as they come: server-sent events.
///
/// Event `trace` has a `TraceSummary`: a trace is new, or has grown, so one id may come several times. Event `lost`
/// has a `LiveLost`: this reader was too slow, or there were more traces than a person can read. Comments keep the
/// connection alive. The stream ends when the viewer stops.
#[utoipa::path(get, path = "/api/tracer/live", tag = "traces", params(LiveParameters), responses(
    (status = 200, description = "Events `trace` (`TraceSummary`) and `lost` (`LiveLost`)",
        content_type = "text/event-stream", body = TraceSummary),
    (status = 400, description = "The query is wrong", body = ApiError),
    (status = 503, description = "Too many pages follow already", body = ApiError),
))]
pub(crate) async fn live(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<LiveParameters>,
) -> Result<Response, Problem> {
    let query = Query::parse(&asked.q)?;
    let Ok(place) = shared.live.clone().try_acquire_owned() else {
        shared.counters.refused_live_clients.inc();
        let message = "too many pages follow new traces already: close some, and load again";
        return Err(
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(Duration::from_secs(30))
        );
    };
    let (sender, receiver) = mpsc::channel(QUEUED_EVENTS);
    let queued = Arc::new(AtomicUsize::new(0));
    let follower = Follower { shared, query, sender, queued: queued.clone(), lost: 0 };
    // The first bytes tell the page that it follows, before anything happens.
    follower.send(Bytes::from_static(b"retry: 2000\n: follows\n\n"));
    tokio::spawn(follower.run());
    let mut response = Response::new(Body::new(Events { receiver, queued, _place: place }));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    // nginx would keep events back until a buffer is full.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One page that follows.
struct Follower {
    shared: Arc<Shared>,
    query: Query,
    sender: mpsc::Sender<Bytes>,
    /// Bytes that wait for the page.
    queued: Arc<AtomicUsize>,
    /// Events that the page did not get, and does not know of yet.
    lost: u64,
}

impl Follower {
    /// Ends when the page is gone, or the viewer stops.
    async fn run(mut self) {
        let mut changes = self.shared.store.subscribe();
        let mut stopping = self.shared.stopping.clone();
        let mut changed = BTreeSet::new();
        let (mut beat, mut keep_alive) = (interval(BEAT), interval(KEEP_ALIVE));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.wait() => return,
                () = self.sender.closed() => return,
                change = changes.recv() => match change {
                    Ok(_) if changed.len() >= MAX_CHANGED => self.lose(1),
                    Ok(trace_id) => { changed.insert(trace_id); }
                    Err(RecvError::Lagged(missed)) => self.lose(missed),
                    Err(RecvError::Closed) => return,
                },
                _ = beat.tick() => self.tell(std::mem::take(&mut changed)).await,
                _ = keep_alive.tick() => { self.send(Bytes::from_static(b":\n\n")); }
            }
        }
    }

    /// Tells the page of traces that changed and meet its query.
    async fn tell(&mut self, changed: BTreeSet<TraceId>) {
        if !changed.is_empty() {
            let (found, unlooked) = self.find(changed).await;
            self.lose(unlooked);
            let beats = (Duration::from_secs(1).as_millis() / BEAT.as_millis()).max(1) as usize;
            let most = (self.shared.settings.limits.live_traces_per_second / beats).max(1);
            for (told, trace) in found.iter().enumerate() {
                if told >= most || !self.send(event("trace", trace)) {
                    self.lose(1);
                }
            }
        }
        if self.lost > 0 && self.send(event("lost", &LiveLost { events: self.lost })) {
            self.lost = 0;
        }
    }

    /// The traces that meet the query, and how many were not looked at for want of time.
    async fn find(&self, changed: BTreeSet<TraceId>) -> (Vec<TraceSummary>, u64) {
        let many = changed.len() as u64;
        let Ok(place) = self.shared.live_search.clone().acquire_owned().await else {
            return (Vec::new(), many);
        };
        let (store, query) = (self.shared.store.clone(), self.query.clone());
        let found = blocking(move || {
            let _place = place;
            find(&store, &query, changed)
        });
        found.await.unwrap_or((Vec::new(), many))
    }

    /// Sends something, unless too much waits already. One event alone may be longer than the bound.
    fn send(&self, bytes: Bytes) -> bool {
        let (length, queued) = (bytes.len(), self.queued.load(Ordering::Acquire));
        if queued > 0 && queued + length > QUEUED_BYTES {
            return false;
        }
        self.queued.fetch_add(length, Ordering::AcqRel);
        let is_sent = self.sender.try_send(bytes).is_ok();
        if !is_sent {
            self.queued.fetch_sub(length, Ordering::AcqRel);
        }
        is_sent
    }

    fn lose(&mut self, events: u64) {
        self.lost += events;
        self.shared.counters.lost_live_events.inc_by(events);
    }
}

fn find(store: &Store, query: &Query, changed: BTreeSet<TraceId>) -> (Vec<TraceSummary>, u64) {
    let deadline = Instant::now() + SEARCH_TIME;
    let options = SearchOptions { limit: 1, deadline: Some(deadline), ..SearchOptions::default() };
    let mut found = Vec::new();
    let mut left = changed.len() as u64;
    for trace_id in changed {
        if Instant::now() > deadline {
            break;
        }
        let mut query = query.clone();
        query.terms.insert(0, Term { is_negated: false, condition: Condition::Trace(trace_id) });
        found.extend(store.search(&query, &options).traces);
        left -= 1;
    }
    found.sort_by_key(|trace| trace.start_unix_us);
    (found, left)
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    // JSON has no line breaks outside of its strings, and escapes them inside.
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// The body of the answer.
struct Events {
    receiver: mpsc::Receiver<Bytes>,
    queued: Arc<AtomicUsize>,
    /// Given back when the connection ends.
    _place: OwnedSemaphorePermit,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.receiver.poll_recv(context).map(|bytes| {
            let bytes = bytes?;
            self.queued.fetch_sub(bytes.len(), Ordering::AcqRel);
            Some(Ok(Frame::data(bytes)))
        })
    }
}
