//! A viewer on ports of its own, a client, and spans.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message;
use rustix::process::{self, Rlimit};
use serde_json::Value;
use tokio::net::TcpStream;
use tracer_model::answer::AgentAnswer;
use tracer_store::Store;
use tracer_viewer::{AgentSource, Running, Settings, Viewer};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const TRACE: &str = "0102030405060708090a0b0c0d0e0f10";

/// A viewer on loopback.
pub struct Server {
    pub running: Running,
    pub page: SocketAddr,
    pub otlp_http: SocketAddr,
    pub otlp_grpc: SocketAddr,
}

/// Settings that take ports that are free.
pub fn settings() -> Settings {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Settings { listen: any, otlp_grpc: Some(any), otlp_http: Some(any), ..Settings::default() }
}

impl Server {
    pub fn start() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_agent(change, None)
    }

    pub fn with_agent(change: impl FnOnce(&mut Settings), agent: Option<Arc<dyn AgentSource>>) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let store = Arc::new(Store::in_memory(tracer_store::Limits::default()));
        let running = Viewer::start(settings, store, agent).expect("the viewer starts");
        let addresses = running.addresses().clone();
        Self {
            running,
            page: addresses.page,
            otlp_http: addresses.otlp_http.expect("it is asked for"),
            otlp_grpc: addresses.otlp_grpc.expect("it is asked for"),
        }
    }

    /// Sends spans by OTLP.
    pub async fn take(&self, spans: &ExportTraceServiceRequest) {
        let answer = post(self.otlp_http, "/v1/traces", PROTOBUF, spans.encode_to_vec()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }

    pub async fn get(&self, path: &str) -> Answer {
        get(self.page, path).await
    }
}

/// Lets this process hold thousands of connections, both ends of each.
pub fn may_open_many_files() {
    let Rlimit { current, maximum } = process::getrlimit(process::Resource::Nofile);
    if current != maximum {
        let most = Rlimit { current: maximum, maximum };
        process::setrlimit(process::Resource::Nofile, most).expect("it may be as high as that");
    }
}

pub const PROTOBUF: &str = "application/x-protobuf";
pub const JSON: &str = "application/json";

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("it is ASCII"))
    }
}

/// Sends one request on a connection of its own.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(address).await.expect("it listens");
    send_on(stream, request).await
}

/// Sends one request on a connection.
pub async fn send_on<C>(connection: C, request: Request<Full<Bytes>>) -> Answer
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await.expect("it speaks HTTP");
    let driver = tokio::spawn(connection);
    let response = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    let (parts, body) = response.expect("it answers in time").expect("it answers").into_parts();
    let body = body.collect().await.expect("the answer is whole").to_bytes();
    driver.abort();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    get_with(address, path, &[]).await
}

pub async fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(address, request("GET", address, path, headers, Bytes::new())).await
}

pub async fn post(address: SocketAddr, path: &str, kind: &str, body: impl Into<Bytes>) -> Answer {
    send(address, request("POST", address, path, &[("content-type", kind)], body.into())).await
}

/// A request with a Host header, unless the headers have one.
pub fn request(
    method: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path);
    if headers.iter().all(|(name, _)| *name != "host") {
        builder = builder.header("host", address.to_string());
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body)).expect("the request is one")
}

/// Now, nanoseconds since 1970.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos() as u64
}

pub fn text_attribute(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// A span of the trace whose id ends with `trace`; it began a second ago and took a millisecond.
pub fn span(trace: u8, id: u8, parent: Option<u8>, name: &str, kind: i32) -> Span {
    let mut trace_id: Vec<u8> = (1..=16).collect();
    trace_id[15] = trace;
    let start = now_ns() - 1_000_000_000;
    Span {
        trace_id,
        span_id: vec![0, 0, 0, 0, 0, 0, 0, id],
        parent_span_id: parent.map_or_else(Vec::new, |parent| vec![0, 0, 0, 0, 0, 0, 0, parent]),
        name: name.to_owned(),
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000,
        ..Default::default()
    }
}

/// Spans of one service.
pub fn of_service(service: &str, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text_attribute("service.name", service)],
            ..Default::default()
        }),
        scope_spans: vec![ScopeSpans { spans, ..Default::default() }],
        ..Default::default()
    }
}

/// One trace: `shop` calls `stock`, which fails. Its id is [`TRACE`].
pub fn sample() -> ExportTraceServiceRequest {
    let root = span(16, 1, None, "GET /cart", 2);
    let mut call = span(16, 2, Some(1), "GET /stock", 3);
    call.attributes = vec![text_attribute("peer", "stock")];
    let mut served = span(16, 3, Some(2), "GET /stock", 2);
    served.status = Some(Status { code: 2, message: "no stock".to_owned() });
    ExportTraceServiceRequest {
        resource_spans: vec![of_service("shop", vec![root, call]), of_service("stock", vec![served])],
    }
}

/// A trace of one span.
pub fn one_span(trace: u8, service: &str, name: &str) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![of_service(service, vec![span(trace, 1, None, name, 2)])],
    }
}

/// An agent that says one thing.
pub struct SomeAgent;

impl AgentSource for SomeAgent {
    fn answer(&self) -> AgentAnswer {
        AgentAnswer { is_here: true, selectors: vec!["port 80".to_owned()], ..AgentAnswer::default() }
    }
}
