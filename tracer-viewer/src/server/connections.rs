//! Connections of one address: accepted, bounded, served, and ended.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::patience::Patient;
use crate::{counters::Counters, settings::Limits, stopping::Stopping};

/// Streams that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 64;

/// Header fields of a request.
const MAX_HEADERS: usize = 100;

/// Shortest buffer that hyper takes.
const MIN_HEAD_BYTES: usize = 8192;

/// HTTP of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1; under TLS HTTP/2 too, if the client offers it.
    Http,
    /// HTTP/2: gRPC.
    Http2,
}

/// One address, and how its connections are treated.
pub(crate) struct Address {
    pub(crate) listener: TcpListener,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
}

impl Address {
    /// Serves until the viewer stops, and then lets what is under way end for a while.
    pub(crate) async fn serve<A, F>(self, answer: A, mut stopping: Stopping)
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let room = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopping.wait() => break,
            };
            while connections.try_join_next().is_some() {}
            let (stream, _) = match accepted {
                Ok(accepted) => accepted,
                // Out of file descriptors, or of memory: what is under way must end first.
                Err(error) => {
                    tracing::warn!("the viewer cannot accept a connection: {error}");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = room.clone().try_acquire_owned() else {
                self.counters.refused_connections.inc();
                continue;
            };
            let serve = self.connection(stream, answer.clone(), stopping.clone());
            connections.spawn(async move {
                serve.await;
                drop(place);
            });
        }
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(self.limits.stop_time, ended).await.is_err() {
            connections.shutdown().await;
        }
    }

    fn connection<A, F>(
        &self,
        stream: TcpStream,
        answer: A,
        stopping: Stopping,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (tls, limits, protocol) = (self.tls.clone(), self.limits.clone(), self.protocol);
        async move {
            // Answers are written whole: waiting for more only delays them.
            let _ = stream.set_nodelay(true);
            let stream = Patient::new(stream, limits.first_time, limits.write_time);
            let Some(tls) = tls else {
                return http(stream, protocol == Protocol::Http2, answer, stopping, &limits).await;
            };
            // A handshake that fails or takes too long is the client's matter.
            let Ok(Ok(stream)) = timeout(limits.first_time, tls.accept(stream)).await else { return };
            let is_http2 = protocol == Protocol::Http2 || stream.get_ref().1.alpn_protocol() == Some(b"h2");
            http(
                Patient::new(stream, limits.first_time, limits.write_time),
                is_http2,
                answer,
                stopping,
                &limits,
            )
            .await;
        }
    }
}

/// Serves one connection. How it ends is the client's matter.
async fn http<C, A, F>(connection: C, is_http2: bool, answer: A, mut stopping: Stopping, limits: &Limits)
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = TokioIo::new(connection);
    // The two kinds of connection have no type in common.
    if is_http2 {
        let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let builder = builder.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
        let builder = builder.max_header_list_size(head_bytes).keep_alive_interval(limits.write_time);
        let mut served = std::pin::pin!(builder.serve_connection(connection, service));
        tokio::select! {
            _ = &mut served => return,
            () = stopping.wait() => served.as_mut().graceful_shutdown(),
        }
        let _ = served.await;
    } else {
        let mut builder = http1::Builder::new();
        let builder = builder.timer(TokioTimer::new()).header_read_timeout(limits.head_time);
        let builder = builder.max_headers(MAX_HEADERS).max_buf_size(limits.head_bytes.max(MIN_HEAD_BYTES));
        let mut served = std::pin::pin!(builder.serve_connection(connection, service));
        tokio::select! {
            _ = &mut served => return,
            () = stopping.wait() => served.as_mut().graceful_shutdown(),
        }
        let _ = served.await;
    }
}

/// Protocols that TLS tells clients of.
pub(crate) fn alpn(protocol: Protocol) -> &'static [&'static [u8]] {
    match protocol {
        Protocol::Http => &[b"h2", b"http/1.1"],
        Protocol::Http2 => &[b"h2"],
    }
}
