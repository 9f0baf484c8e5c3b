//! Spans as a shop of five services makes them: ten a trace, twelve attributes each, some of them unlike all others.

use std::sync::Arc;

use tracer_model::span::{Attribute, Kind, Resource, Scope, Span, SpanId, StatusCode, TraceId, Value};

/// When the first trace starts.
pub const START_UNIX_NS: u64 = 1_790_000_000_000_000_000;

/// Between the starts of two traces.
pub const TRACE_EVERY_NS: u64 = 1_000_000;

/// Spans of a trace: service, parent, kind and name of each.
const SHAPE: [(usize, Option<usize>, Kind, &str); 10] = [
    (0, None, Kind::Server, "GET /shop/{id}"),
    (0, Some(0), Kind::Client, "GET /carts/{id}"),
    (1, Some(1), Kind::Server, "GET /carts/{id}"),
    (1, Some(2), Kind::Client, "SELECT carts"),
    (0, Some(0), Kind::Client, "POST /orders"),
    (2, Some(4), Kind::Server, "POST /orders"),
    (2, Some(5), Kind::Client, "GET /prices/{id}"),
    (3, Some(6), Kind::Server, "GET /prices/{id}"),
    (2, Some(5), Kind::Client, "POST /mail"),
    (4, Some(8), Kind::Server, "POST /mail"),
];

const SERVICES: [&str; 5] = ["frontend", "carts", "orders", "prices", "mail"];

/// Makes the same spans each time.
pub struct Traffic {
    state: u64,
    resources: Vec<Arc<Resource>>,
    scope: Arc<Scope>,
    keys: Vec<Arc<str>>,
}

const KEYS: [&str; 12] = [
    "http.request.method",
    "url.full",
    "url.path",
    "url.scheme",
    "http.response.status_code",
    "server.address",
    "server.port",
    "network.protocol.version",
    "client.port",
    "user_agent.original",
    "enduser.id",
    "tracer.link.evidence",
];

fn text(text: impl AsRef<str>) -> Value {
    Value::Str(text.as_ref().into())
}

impl Traffic {
    pub fn new() -> Self {
        let resource = |service: &&str| {
            let attributes: [(&str, Value); 5] = [
                ("service.name", text(service)),
                ("service.version", text("1.4.2")),
                ("process.pid", Value::Int(4711)),
                ("host.name", text("node-3.example")),
                ("telemetry.sdk.name", text("tracer")),
            ];
            let attributes = attributes.into_iter().map(|(key, value)| (key.into(), value)).collect();
            Arc::new(Resource { attributes, ..Resource::default() })
        };
        Self {
            state: 0x2545_f491_4f6c_dd1d,
            resources: SERVICES.iter().map(resource).collect(),
            scope: Arc::new(Scope { name: "tracer".into(), version: "0.1.0".into(), ..Scope::default() }),
            keys: KEYS.iter().map(|key| Arc::from(*key)).collect(),
        }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The trace of a number: `spans` spans.
    pub fn trace(&mut self, number: u64, spans: usize) -> Vec<Span> {
        let id = u128::from(self.random()) << 64 | u128::from(number + 1);
        let trace_id = TraceId(id.to_be_bytes());
        let first = self.random() | 1;
        let start = START_UNIX_NS + number * TRACE_EVERY_NS;
        let has_error = self.random().is_multiple_of(100);
        (0..spans).map(|place| self.span(trace_id, first, start, place, has_error)).collect()
    }

    fn span(&mut self, trace_id: TraceId, first: u64, start: u64, place: usize, has_error: bool) -> Span {
        let (service, parent, kind, name) = SHAPE[place % SHAPE.len()];
        let round = place / SHAPE.len() * SHAPE.len();
        let id = |place: usize| SpanId((first.wrapping_add(place as u64 * 2)).to_be_bytes());
        let duration_ns = 500_000 + self.random() % 40_000_000 / (place as u64 % 10 + 1);
        let is_error = has_error && place == 9;
        let item = self.random() % 1_000_000_000;
        let path = format!("/{}/{item}", SERVICES[service]);
        let host = format!("{}.shop.example", SERVICES[service]);
        let values = [
            text(if name.starts_with("POST") { "POST" } else { "GET" }),
            text(format!("http://{host}:8080{path}?session={:016x}", self.random())),
            text(path),
            text("http"),
            Value::Int(if is_error { 503 } else { 200 }),
            text(host),
            Value::Int(8080),
            text("1.1"),
            Value::Int((32_768 + self.random() % 28_000) as i64),
            text(["curl/8.9.1", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)", "okhttp/4.12.0"][place % 3]),
            text(format!("user-{}", self.random() % 20_000)),
            text("header"),
        ];
        let attributes: Vec<Attribute> = self.keys.iter().cloned().zip(values).collect();
        let start_unix_ns = start + place as u64 % 10 * 300_000;
        Span {
            trace_id,
            span_id: id(place),
            parent_span_id: match parent {
                Some(parent) => Some(id(round + parent)),
                None => (place > 0).then(|| id(0)),
            },
            trace_state: "".into(),
            flags: 1,
            name: name.into(),
            kind,
            start_unix_ns,
            end_unix_ns: start_unix_ns + duration_ns,
            attributes,
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            status: if is_error { StatusCode::Error } else { StatusCode::Unset },
            status_message: "".into(),
            resource: Arc::clone(&self.resources[service]),
            scope: Arc::clone(&self.scope),
        }
    }
}
