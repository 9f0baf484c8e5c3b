//! OTLP by gRPC.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::{Buf, BufMut, Bytes};
use http::HeaderValue;
use hyper::body::{Frame, SizeHint};
use prost::Message;
use tokio::time::timeout;
use tonic::{
    Code, Request, Response, Status,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
};

use super::{
    body::TOO_MANY,
    door::{Closed, Door},
    ingest::{Encoding, Ingest, RETRY_AFTER},
    message,
};
use crate::{
    blocking::blocking,
    room::{Lease, Pace},
};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const STATUS: &str = "grpc-status";

/// Answers one call.
pub(crate) async fn answer(ingest: Ingest, door: Door, request: http::Request<Body>) -> http::Response<Body> {
    match call(ingest, door, request).await {
        Ok(response) => response.map(Body::new),
        Err(status) => status.into_http(),
    }
}

async fn call(
    ingest: Ingest,
    door: Door,
    request: http::Request<Body>,
) -> Result<http::Response<tonic::body::Body>, Status> {
    door.check(request.headers(), &ingest.counters).map_err(|closed| match closed {
        Closed::Browser => Status::permission_denied(closed.message()),
        Closed::NoToken => Status::unauthenticated(closed.message()),
    })?;
    if request.uri().path() != EXPORT {
        // OTLP senders do not try again after this.
        let message = "tracer takes traces only: set OTEL_METRICS_EXPORTER=none and OTEL_LOGS_EXPORTER=none for this \
                       sender to be quiet about it";
        return Err(Status::unimplemented(message));
    }
    let lease = Arc::new(ingest.receive());
    let mut grpc = Grpc::new(RawCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(ingest.limits.otlp_request_bytes);
    let (counters, body_time) = (ingest.counters.clone(), ingest.limits.body_time);
    let request =
        request.map(|body| Receiving { body, pace: lease.pace(), lease: lease.clone(), is_waiting: false });
    let answered = tokio::select! {
        answered = timeout(body_time, grpc.unary(Export(ingest), request)) => answered,
        () = lease.ended() => return Err(late()),
    };
    let Ok(mut response) = answered else {
        counters.otlp_wrong_requests.inc();
        return Err(Status::deadline_exceeded("the request did not come in time"));
    };
    if let Some(status) = response.headers_mut().get_mut(STATUS)
        && *status != "0"
    {
        counters.otlp_wrong_requests.inc();
        // tonic says OUT_OF_RANGE of a message that is too large. OTLP senders make smaller batches after
        // RESOURCE_EXHAUSTED.
        if *status == "11" {
            *status = HeaderValue::from_static("8");
        }
    }
    Ok(response)
}

/// The sender must come again.
fn late() -> Status {
    let status = message::Status { code: Code::Unavailable as i32, ..Default::default() };
    let details = status.retry_after(RETRY_AFTER).encode_to_vec().into();
    Status::with_details(Code::Unavailable, TOO_MANY, details)
}

/// The body of a call, within its share of the room.
struct Receiving {
    body: Body,
    lease: Arc<Lease>,
    is_waiting: bool,
    pace: Pace,
}

impl hyper::body::Body for Receiving {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        // Being asked once more whether it goes on is no progress.
        match (poll.is_pending(), self.is_waiting) {
            (true, false) => self.lease.awaits(&self.pace),
            (false, true) => self.lease.works(),
            _ => {}
        }
        self.is_waiting = poll.is_pending();
        if let Poll::Ready(Some(Ok(frame))) = &poll
            && let Some(data) = frame.data_ref()
        {
            self.pace.did(data.len());
            if !self.lease.grow(data.len()) {
                return Poll::Ready(Some(Err(Box::new(late()))));
            }
        }
        poll.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Export(Ingest);

impl UnaryService<Bytes> for Export {
    type Response = Vec<u8>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let ingest = self.0.clone();
        Box::pin(async move {
            let place = ingest.admit().ok_or_else(late)?;
            let stored = blocking(move || {
                let _place = place;
                ingest.store(&request.into_inner(), Encoding::Protobuf)
            })
            .await;
            let stored = stored.map_err(|problem| Status::internal(problem.error.error))?;
            let answer = stored.map_err(|error| Status::invalid_argument(error.to_string()))?;
            Ok(Response::new(answer.encode_to_vec()))
        })
    }
}

/// Messages as bytes: they are decoded where it may block.
#[derive(Clone, Copy, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
