//! A real OTLP receiver: gRPC by tonic, HTTP by hyper, with faults on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    io::Read,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::SystemTime,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use prost::Message;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    LONGEST, eventually,
    load::{Account, Tally},
};

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// `service.name`.
    pub service: String,
    /// The span.
    pub span: Span,
    /// Attributes of the resource.
    pub resource: Vec<KeyValue>,
    /// When it arrived.
    pub at: SystemTime,
}

impl Received {
    /// An attribute of the span, as text.
    pub fn attribute(&self, name: &str) -> Option<String> {
        text_of(&self.span.attributes, name)
    }

    /// An attribute of the resource, as text.
    pub fn resource_attribute(&self, name: &str) -> Option<String> {
        text_of(&self.resource, name)
    }

    /// A number among the attributes.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.parse().ok()
    }

    /// Path of the request, for spans of either kind.
    pub fn path(&self) -> String {
        self.attribute("url.path").unwrap_or_else(|| {
            let full = self.attribute("url.full").unwrap_or_default();
            let rest = full.split_once("://").map_or("", |(_, rest)| rest);
            let path = rest.find('/').map_or("/", |at| &rest[at..]);
            path.split('?').next().unwrap_or_default().to_owned()
        })
    }

    /// Whether the span is a server's.
    pub fn is_server(&self) -> bool {
        self.span.kind == 2
    }

    /// Nanoseconds from start to end.
    pub fn duration_ns(&self) -> u64 {
        self.span.end_time_unix_nano - self.span.start_time_unix_nano
    }
}

/// Spans that share service, kind and path with another one, as `SERVICE KIND PATH`; where each request has a path of
/// its own, there are none. A sum of spans does not tell that one is doubled and another one missing.
pub fn doubled(spans: &[Received]) -> Vec<String> {
    let mut counts = BTreeMap::<String, u32>::new();
    for span in spans {
        let kind = if span.is_server() { "server" } else { "client" };
        *counts.entry(format!("{} {kind} {}", span.service, span.path())).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect()
}

fn text_of(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?.value.as_ref()?;
    Some(match value {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::BoolValue(truth) => truth.to_string(),
        any_value::Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// How the receiver fails a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Answers with an HTTP status (or the gRPC code of the same number below 100), and Retry-After.
    Status(u16, Option<u32>),
    /// Takes the request and never answers.
    Hang,
    /// Takes it, but refuses so many spans.
    Partial(i64),
    /// Answers with something that is no OTLP.
    Garbage,
}

#[derive(Default)]
struct State {
    /// Whether spans are tallied, and not kept.
    tallies: bool,
    tally: Tally,
    spans: Vec<Received>,
    faults: VecDeque<Fault>,
    requests: usize,
}

/// The running receiver.
#[derive(Clone)]
pub struct Receiver {
    state: Arc<Mutex<State>>,
    held: watch::Sender<bool>,
    http: SocketAddr,
    grpc: SocketAddr,
}

impl Receiver {
    /// Starts on free loopback ports; it ends with the test.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"))
    }

    /// Starts with HTTP on this address.
    pub fn start_at(http: SocketAddr) -> Self {
        Self::start_with(http, State::default())
    }

    /// Starts one that takes only spans of numbered requests, and keeps a tally of them instead of the spans: [`Self::account`].
    pub fn tallying() -> Self {
        let state = State { tallies: true, ..State::default() };
        Self::start_with("127.0.0.1:0".parse().expect("an address"), state)
    }

    fn start_with(http: SocketAddr, state: State) -> Self {
        let state = Arc::new(Mutex::new(state));
        let held = watch::Sender::new(false);
        let holds = held.subscribe();
        let (ready, started) = std::sync::mpsc::channel();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let http = TcpListener::bind(http).await.expect("a free port");
                let grpc = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let addresses = (http.local_addr().expect("bound"), grpc.local_addr().expect("bound"));
                ready.send(addresses).expect("the test waits");
                let service = TraceServiceServer::new(Grpc(Arc::clone(&shared)))
                    .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
                    .accept_compressed(tonic::codec::CompressionEncoding::Zstd);
                let incoming = tonic::transport::server::TcpIncoming::from(grpc);
                tokio::spawn(
                    tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
                );
                loop {
                    let Ok((client, _)) = http.accept().await else { continue };
                    let (shared, holds) = (Arc::clone(&shared), holds.clone());
                    tokio::spawn(async move {
                        let service =
                            service_fn(move |request| answer(request, Arc::clone(&shared), holds.clone()));
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(client), service)
                            .await;
                    });
                }
            });
        });
        let (http, grpc) = started.recv().expect("the receiver starts");
        Self { state, held, http, grpc }
    }

    /// Base address for HTTP.
    pub fn http_endpoint(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Base address for gRPC.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    /// All spans that arrived.
    pub fn spans(&self) -> Vec<Received> {
        self.lock().spans.clone()
    }

    /// How many arrived.
    pub fn count(&self) -> usize {
        self.lock().spans.len()
    }

    /// Requests that arrived, also those that were answered with a fault.
    pub fn requests(&self) -> usize {
        self.lock().requests
    }

    /// Sets the faults of the next requests, in order.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// Waits until the spans satisfy `done`; the spans as they are after [`LONGEST`] otherwise.
    pub fn wait_for(&self, done: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let mut spans = Vec::new();
        eventually(LONGEST, || {
            spans = self.spans();
            done(&spans)
        });
        spans
    }

    /// Answers no request until [`Self::release`], so that it takes no time from what is measured.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Answers requests again.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// What became of the first `sent` numbered requests, by the spans so far.
    pub fn account(&self, sent: u32) -> Account {
        self.lock().tally.account(sent)
    }
}

/// Takes a request, or the fault that stands in line.
fn take(state: &Mutex<State>, request: impl FnOnce() -> Option<ExportTraceServiceRequest>) -> Option<Fault> {
    let mut state = state.lock().expect("not poisoned");
    state.requests += 1;
    let fault = state.faults.pop_front();
    if !matches!(fault, None | Some(Fault::Partial(_))) {
        return fault;
    }
    let Some(request) = request() else { return Some(Fault::Status(400, None)) };
    for group in request.resource_spans {
        let resource = group.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = text_of(&resource, "service.name").unwrap_or_default();
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let (service, resource) = (service.clone(), resource.clone());
            let received = Received { service, span, resource, at: SystemTime::now() };
            match state.tallies {
                true => state.tally.add(&received),
                false => state.spans.push(received),
            }
        }
    }
    fault
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    mut holds: watch::Receiver<bool>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // An error is the end of the receiver.
    let _ = holds.wait_for(|is_held| !is_held).await;
    let encoding = request.headers().get("content-encoding").map(|value| value.as_bytes().to_vec());
    let is_right = request.uri().path() == "/v1/traces";
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let decode = || {
        let plain = match encoding.as_deref() {
            Some(b"gzip") => {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).ok()?;
                plain
            }
            Some(b"zstd") => zstd::decode_all(&body[..]).ok()?,
            _ => body.to_vec(),
        };
        ExportTraceServiceRequest::decode(&plain[..]).ok().filter(|_| is_right)
    };
    let fault = take(&state, decode);
    let response = Response::builder();
    let (response, body) = match fault {
        None => (response, Vec::new()),
        Some(Fault::Partial(rejected)) => {
            let partial =
                ExportTracePartialSuccess { rejected_spans: rejected, error_message: "no room".to_owned() };
            (response, ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec())
        }
        Some(Fault::Status(status, after)) => {
            let mut response = response.status(status);
            if let Some(after) = after {
                response = response.header("retry-after", after.to_string());
            }
            (response, Vec::new())
        }
        Some(Fault::Garbage) => (response, vec![0xff; 1 << 20]),
        Some(Fault::Hang) => std::future::pending().await,
    };
    Ok(response.body(Full::new(body.into())).expect("a response"))
}

struct Grpc(Arc<Mutex<State>>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let fault = take(&self.0, || Some(request.into_inner()));
        match fault {
            None => Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success: None })),
            Some(Fault::Partial(rejected)) => {
                let partial =
                    ExportTracePartialSuccess { rejected_spans: rejected, error_message: String::new() };
                Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success: Some(partial) }))
            }
            Some(Fault::Status(code, _)) => Err(tonic::Status::new(i32::from(code).into(), "as asked for")),
            Some(Fault::Garbage) => Err(tonic::Status::unknown("garbage")),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}
