//! OTLP by HTTP.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message;
use tonic::Code;

use super::{
    body::{Refused, compression, decompress, read},
    door::{Closed, Door},
    ingest::{Encoding, Ingest, RETRY_AFTER},
    message::Status,
};
use crate::blocking::blocking;

/// The routes of an address.
pub(crate) fn router(ingest: Ingest, door: Door) -> Router {
    Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
        .route("/v1/logs", post(logs))
        .fallback(nothing_here)
        .with_state((ingest, door))
}

type Context = State<(Ingest, Door)>;

async fn traces(State((ingest, door)): Context, request: Request) -> Response {
    let encoding = encoding(request.headers());
    match export(&ingest, &door, request).await {
        Ok(answer) => answer,
        Err(refused) => {
            let is_late = refused.status == StatusCode::SERVICE_UNAVAILABLE;
            if !is_late {
                ingest.counters.otlp_wrong_requests.inc();
            }
            let mut response = refusal(refused, encoding);
            if is_late {
                let time = HeaderValue::from(RETRY_AFTER.as_secs());
                response.headers_mut().insert(header::RETRY_AFTER, time);
            }
            response
        }
    }
}

async fn export(ingest: &Ingest, door: &Door, request: Request) -> Result<Response, Refused> {
    let headers = request.headers();
    door.check(headers, &ingest.counters).map_err(|closed| {
        let status = match closed {
            Closed::Browser => StatusCode::FORBIDDEN,
            Closed::NoToken => StatusCode::UNAUTHORIZED,
        };
        Refused::new(status, closed.message())
    })?;
    let encoding = encoding(headers).ok_or_else(|| {
        let message = "this Content-Type is not taken: send application/x-protobuf or application/json";
        Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    })?;
    let compression = compression(headers)?;
    let lease = ingest.receive();
    let bytes = read(request.into_body(), &ingest.limits, &lease).await?;
    let place = ingest.admit().ok_or_else(Refused::late)?;
    let ingest = ingest.clone();
    let stored = blocking(move || {
        let _held = (place, lease);
        let bytes = decompress(bytes, compression, ingest.limits.otlp_request_bytes)?;
        ingest
            .store(&bytes, encoding)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))
    });
    let answer = stored.await.map_err(|problem| Refused::new(problem.status, problem.error.error))??;
    Ok(match encoding {
        Encoding::Protobuf => respond(StatusCode::OK, encoding, answer.encode_to_vec()),
        Encoding::Json => respond(StatusCode::OK, encoding, answer.json().to_string().into_bytes()),
    })
}

async fn metrics(request: Request) -> Response {
    only_traces(&request, "metrics", "OTEL_METRICS_EXPORTER=none")
}

async fn logs(request: Request) -> Response {
    only_traces(&request, "logs", "OTEL_LOGS_EXPORTER=none")
}

/// 404 is none of the codes after which OTLP senders try again (429, 502, 503, 504): the batch is dropped at once.
fn only_traces(request: &Request, signal: &str, setting: &str) -> Response {
    let message =
        format!("tracer takes traces only, no {signal}: set {setting} for this sender to be quiet about it");
    refusal(Refused::new(StatusCode::NOT_FOUND, message), encoding(request.headers()))
}

async fn nothing_here(request: Request) -> Response {
    let message = "there is nothing here: OTLP is taken by POST on /v1/traces";
    refusal(Refused::new(StatusCode::NOT_FOUND, message), encoding(request.headers()))
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/x-protobuf") {
        Some(Encoding::Protobuf)
    } else if kind.eq_ignore_ascii_case("application/json") {
        Some(Encoding::Json)
    } else {
        None
    }
}

/// An answer that is no success, as `google.rpc.Status` in the encoding of the request; as text if that is not known.
fn refusal(refused: Refused, encoding: Option<Encoding>) -> Response {
    let code = match refused.status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => Code::InvalidArgument,
    };
    let status = Status { code: code as i32, message: refused.message, details: Vec::new() };
    let mut response = match encoding {
        Some(encoding @ Encoding::Protobuf) => respond(refused.status, encoding, status.encode_to_vec()),
        Some(encoding @ Encoding::Json) => {
            respond(refused.status, encoding, status.json().to_string().into_bytes())
        }
        None => (refused.status, format!("{}\n", status.message)).into_response(),
    };
    if refused.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn respond(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response {
    let kind = match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    };
    (status, [(header::CONTENT_TYPE, kind)], Body::from(body)).into_response()
}
