//! Connections of one address: accepted, bounded, served, and ended.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{JoinSet, yield_now},
    time::{sleep, sleep_until, timeout},
};

use super::{
    exchange::{Received, Sent},
    listen::Listener,
    patience::Patient,
    places::{Place, Places},
    tls::Tls,
};
use crate::{counters::Counters, settings::Limits, stopping::Stopping};

/// Streams that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 64;

/// Streams that a client of HTTP/2 may open and reset before they are looked at; after that its connection ends
/// (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 20;

/// Streams that it may have reset by mistakes of its own.
const MAX_WRONG_STREAMS: usize = 100;

/// Bytes of answers that one HTTP/2 stream holds while its client takes none.
const STREAM_BYTES: usize = 64 * 1024;

/// Header fields of a request.
const MAX_HEADERS: usize = 100;

/// Shortest buffer that hyper takes.
const MIN_HEAD_BYTES: usize = 8192;

/// The connections of one address take no more than this part of the file descriptors that the process may have: an agent
/// needs them for its work.
const PART_OF_DESCRIPTORS: usize = 6;

/// How long nothing is accepted after that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often it is told that nothing can be accepted.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// HTTP of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1; under TLS HTTP/2 too, if the client offers it.
    Http,
    /// HTTP/2: gRPC.
    Http2,
}

/// One address, and how its connections are treated.
pub(crate) struct Address<L> {
    /// What it is, for the log.
    pub(crate) name: &'static str,
    pub(crate) listener: L,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
}

impl<L: Listener> Address<L> {
    /// Serves until the viewer stops, and then lets what is under way end for a while.
    pub(crate) async fn serve<A, F>(self, answer: A, mut stopping: Stopping)
    where
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let most = self.limits.connections.min(descriptors() / PART_OF_DESCRIPTORS).max(1);
        let places = Places::new(most, self.limits.connections_of_host, self.counters.clone());
        let mut serving = JoinSet::new();
        let mut told = None::<Instant>;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = serving.join_next() => continue,
                () = stopping.wait() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(place) = places.take(peer) {
                        serving.spawn(self.connection(stream, place, answer.clone(), stopping.clone()));
                        // A client that has sent its request must not count as one that is waited for.
                        yield_now().await;
                    }
                }
                // Out of file descriptors, or of memory: what is under way must end first.
                Err(error) => {
                    places.make_way();
                    if told.is_none_or(|told| told.elapsed() > TELL_AGAIN) {
                        tracing::warn!("cannot answer on {}: {error}", self.name);
                        told = Some(Instant::now());
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let ended = async { while serving.join_next().await.is_some() {} };
        if timeout(self.limits.stop_time, ended).await.is_err() {
            serving.shutdown().await;
        }
    }

    fn connection<A, F>(
        &self,
        stream: L::Connection,
        place: Place,
        answer: A,
        stopping: Stopping,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (tls, limits, protocol) =
            (self.tls.as_deref().map(Tls::acceptor), self.limits.clone(), self.protocol);
        let counters = self.counters.clone();
        async move {
            let connection = Connection { place: Arc::new(place), stopping, limits };
            let stream = connection.patient(stream);
            let Some(tls) = tls else {
                return connection.serve(stream, protocol == Protocol::Http2, answer).await;
            };
            let shaken = tokio::select! {
                shaken = timeout(connection.limits.first_time, tls.accept(stream)) => shaken,
                () = connection.place.given_away() => return,
            };
            match shaken {
                Ok(Ok(stream)) => {
                    let is_http2 =
                        protocol == Protocol::Http2 || stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let stream = connection.patient(stream);
                    connection.serve(stream, is_http2, answer).await;
                }
                Ok(Err(_)) => {
                    counters.failed_handshakes.inc();
                }
                Err(_) => connection.place.count_slow(),
            }
        }
    }
}

/// One connection that is served.
struct Connection {
    place: Arc<Place>,
    stopping: Stopping,
    limits: Limits,
}

impl Connection {
    fn patient<C>(&self, stream: C) -> Patient<C> {
        Patient::new(stream, self.limits.first_time, self.limits.write_time)
    }

    /// Serves it. How it ends is the client's matter.
    async fn serve<C, A, F>(self, stream: C, is_http2: bool, answer: A)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (stream, limits, place) = (TokioIo::new(stream), &self.limits, self.place.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let exchange = Arc::new(place.exchange());
            let received = exchange.clone();
            let answer = answer(request.map(|body| Body::new(Received { body, exchange: received })));
            async move { Ok::<_, Infallible>(answer.await.map(|body| Sent { body, exchange })) }
        });
        // The two kinds of connection have no type in common.
        if is_http2 {
            let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let builder = builder.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
            let builder = builder.max_header_list_size(head_bytes).keep_alive_interval(limits.write_time);
            let builder = builder.max_send_buf_size(STREAM_BYTES);
            let builder = builder.max_pending_accept_reset_streams(MAX_RESET_STREAMS);
            let builder = builder.max_local_error_reset_streams(MAX_WRONG_STREAMS);
            let served = pin!(builder.serve_connection(stream, service));
            // Senders open connections long before they have anything to send.
            self.drive(served, |served| served.graceful_shutdown(), None).await;
        } else {
            let mut builder = http1::Builder::new();
            let builder = builder.timer(TokioTimer::new()).header_read_timeout(limits.head_time);
            let builder =
                builder.max_headers(MAX_HEADERS).max_buf_size(limits.head_bytes.max(MIN_HEAD_BYTES));
            let served = pin!(builder.serve_connection(stream, service));
            self.drive(served, |served| served.graceful_shutdown(), Some(limits.first_time)).await;
        }
    }

    /// Drives it to its end: by itself, since the viewer stops, for another connection, or since its client is too slow.
    async fn drive<S: Future<Output = hyper::Result<()>>>(
        &self,
        mut served: Pin<&mut S>,
        end: impl Fn(Pin<&mut S>),
        first_time: Option<Duration>,
    ) {
        let mut stopping = self.stopping.clone();
        loop {
            let write_time = self.limits.write_time;
            // Whatever comes to be awaited of the client meanwhile is due later than this.
            let looked_at = Instant::now() + write_time.min(first_time.unwrap_or(write_time));
            let due = self.place.due(first_time, write_time).unwrap_or(looked_at);
            tokio::select! {
                ended = &mut served => {
                    // A connection that waits for its next request ends by hyper's clock too, and is none of these.
                    let is_awaited = self.place.due(first_time, write_time).is_some() || !self.place.has_asked();
                    let is_slow =
                        |error: &hyper::Error| is_stalled(error) || is_awaited && error.is_timeout();
                    if ended.is_err_and(|error| is_slow(&error)) {
                        self.place.count_slow();
                    }
                    return;
                }
                () = stopping.wait() => break,
                () = self.place.given_away() => {
                    end(served.as_mut());
                    // HTTP/2 tells its client, if that can be told at once.
                    let _ = timeout(Duration::ZERO, served).await;
                    return;
                }
                () = sleep_until(due.into()) => {
                    let due = self.place.due(first_time, write_time);
                    if due.is_some_and(|due| due <= Instant::now()) {
                        return self.place.count_slow();
                    }
                }
            }
        }
        end(served.as_mut());
        let _ = served.await;
    }
}

/// Whether a connection failed since its client took nothing of what was sent, or sent too little at first, for too long
/// ([`Patient`]). What was sent is gone then.
fn is_stalled(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// File descriptors that the process may have.
fn descriptors() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// Protocols that TLS tells clients of.
pub(crate) fn alpn(protocol: Protocol) -> &'static [&'static [u8]] {
    match protocol {
        Protocol::Http => &[b"h2", b"http/1.1"],
        Protocol::Http2 => &[b"h2"],
    }
}
