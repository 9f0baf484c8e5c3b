//! Spans of whole traces, as analyses need them: in columns, with what many spans have in common told once.

use std::{collections::HashMap, sync::Arc};

use rustc_hash::FxBuildHasher;

use crate::{
    layout,
    peer::Peer,
    span::{Attribute, Kind, Resource, Span, StatusCode, TraceId, Value, text},
};

/// Highest resend count that is told: a sender may say any.
const MOST_RESENDS: i64 = 255;

/// What is told of a span besides its ids and its times.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Who made it.
    pub maker: Arc<Maker>,
    /// Its name: the operation.
    pub name: Arc<str>,
    /// Kind.
    pub kind: Kind,
    /// Whether its status is an error.
    pub is_error: bool,
    /// `error.type`, if it is told.
    pub error_type: Option<Arc<str>>,
    /// Status code, if it was HTTP.
    pub http_status: Option<u16>,
    /// Whom it asked, or whose message it took, as its attributes say ([`Facts::have_peer`]).
    pub peer: Option<Arc<Peer>>,
    /// The query of a database in a few words (`db.query.summary`, or operation and collection).
    pub query: Option<Arc<str>>,
    /// Which attempt it is: 0 for the first one, or if it is not told.
    pub resend: u8,
    /// Whether the link to its parent is likely and not certain.
    pub is_guess: bool,
    /// Whether its end was seen. If not, its duration is only a lower bound.
    pub end_known: bool,
}

/// A service instance, as far as analyses tell instances apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Maker {
    /// `service.name`.
    pub service: Arc<str>,
    /// `service.namespace`; empty if it is not told.
    pub namespace: Arc<str>,
    /// What tells the release of the program ([`Maker::VERSION_KEYS`]), and its value; empty if nothing does.
    pub version: Arc<str>,
    /// What tells the instance ([`Maker::INSTANCE_KEYS`]); empty if nothing does.
    pub instance: Arc<str>,
    /// The host, whose clock its spans have; empty if it is not told.
    pub host: Arc<str>,
}

impl Maker {
    /// Attributes of a resource that tell which release of its program runs, the best first.
    pub const VERSION_KEYS: [&str; 7] = [
        "service.version",
        "vcs.ref.head.revision",
        "container.image.tags",
        "container.image.id",
        "tracer.program.build_id",
        "process.executable.build_id.gnu",
        "process.executable.build_id.htlhash",
    ];

    /// Attributes of a resource that tell an instance, the best first.
    pub const INSTANCE_KEYS: [&str; 4] =
        ["service.instance.id", "k8s.pod.name", "container.id", "process.pid"];

    /// The maker that a resource tells.
    pub fn of(resource: &Resource) -> Self {
        let attributes = &resource.attributes;
        let told = |names: &[&str]| -> Arc<str> {
            let value = names.iter().find_map(|name| {
                let (_, value) = attributes.iter().find(|(key, _)| **key == **name)?;
                Some(value.to_text()).filter(|text| !text.is_empty())
            });
            value.as_deref().unwrap_or_default().into()
        };
        Self {
            service: resource.service_name().into(),
            namespace: told(&["service.namespace"]),
            version: told(&Self::VERSION_KEYS),
            instance: told(&Self::INSTANCE_KEYS),
            host: told(&["host.id", "host.name"]),
        }
    }
}

impl Facts {
    /// Attributes that facts are told by.
    pub const KEYS: [&str; 15] = [
        "error.type",
        "http.response.status_code",
        "http.status_code",
        "http.request.resend_count",
        "http.resend_count",
        "db.query.summary",
        "db.operation.name",
        "db.operation",
        "db.collection.name",
        "db.sql.table",
        "db.mongodb.collection",
        "db.query.text",
        "db.statement",
        "tracer.link.probability",
        "tracer.http.end_unknown",
    ];

    /// Whether the peer of spans of a kind is told.
    pub fn have_peer(kind: Kind) -> bool {
        matches!(kind, Kind::Client | Kind::Producer | Kind::Consumer)
    }

    /// The facts of a span that is told by parts.
    pub fn new(
        maker: &Arc<Maker>,
        name: &Arc<str>,
        kind: Kind,
        status: StatusCode,
        attributes: &[Attribute],
    ) -> Self {
        let value = |name: &str| attributes.iter().find(|(key, _)| **key == *name).map(|(_, value)| value);
        let resend = value("http.request.resend_count").or_else(|| value("http.resend_count"));
        let resend = match resend {
            Some(Value::Int(resend)) => (*resend).clamp(0, MOST_RESENDS) as u8,
            _ => 0,
        };
        Self {
            maker: Arc::clone(maker),
            name: Arc::clone(name),
            kind,
            is_error: status == StatusCode::Error,
            error_type: text(attributes, &["error.type"]).map(Arc::from),
            http_status: layout::http_status(attributes),
            peer: Self::have_peer(kind).then(|| Peer::of(attributes)).flatten().map(Arc::new),
            query: layout::query(attributes).map(Arc::from),
            resend,
            is_guess: value("tracer.link.probability").is_some(),
            end_known: !matches!(value("tracer.http.end_unknown"), Some(Value::Bool(true))),
        }
    }
}

/// A span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactRow {
    /// Its id.
    pub span_id: u64,
    /// Its parent's; 0 for a root.
    pub parent: u64,
    /// Start, nanoseconds since 1970; 0 if it is not told.
    pub start_ns: u64,
    /// End; may lie before the start.
    pub end_ns: u64,
    /// Its facts, by their place.
    pub facts: u32,
}

/// Spans of whole traces.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// What spans have in common.
    pub facts: FactTable,
    /// Spans, those of one trace together.
    pub rows: Vec<FactRow>,
    /// Each trace and where its spans end: they begin where those of the trace before end.
    pub traces: Vec<(TraceId, usize)>,
    /// Traces that were left out since there are too many spans.
    pub omitted_traces: u64,
    /// Why not all was looked at, such as a limit of time. None if all was.
    pub incomplete: Option<String>,
}

impl Gathered {
    /// Adds the spans of a trace. It does nothing without spans.
    pub fn add(&mut self, spans: &[Span]) {
        let Some(first) = spans.first() else { return };
        for span in spans {
            let maker = self.facts.maker(&span.resource);
            let facts = Facts::new(&maker, &span.name, span.kind, span.status, &span.attributes);
            let facts = self.facts.code(facts);
            self.rows.push(FactRow {
                span_id: u64::from_be_bytes(span.span_id.0),
                parent: span.parent_span_id.map_or(0, |parent| u64::from_be_bytes(parent.0)),
                start_ns: span.start_unix_ns,
                end_ns: span.end_unix_ns,
                facts,
            });
        }
        self.end_trace(first.trace_id);
    }

    /// The rows that were added last are a trace.
    pub fn end_trace(&mut self, trace_id: TraceId) {
        self.traces.push((trace_id, self.rows.len()));
    }
}

/// Facts, each once.
#[derive(Clone, Debug, Default)]
pub struct FactTable {
    all: Vec<Facts>,
    codes: HashMap<Facts, u32, FxBuildHasher>,
    makers: HashMap<Maker, Arc<Maker>>,
    /// By address: most spans share their resource. The resource is held, so that its address stays its own.
    by_resource: HashMap<usize, (Arc<Resource>, Arc<Maker>)>,
}

impl FactTable {
    /// Resources that are known by their address.
    const MOST_RESOURCES: usize = 4096;

    /// All of them: those of a code stand at its place.
    pub fn all(&self) -> &[Facts] {
        &self.all
    }

    /// The code of facts.
    pub fn code(&mut self, facts: Facts) -> u32 {
        let Self { all, codes, .. } = self;
        *codes.entry(facts).or_insert_with_key(|facts| {
            all.push(facts.clone());
            u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// The maker that a resource tells.
    pub fn maker(&mut self, resource: &Arc<Resource>) -> Arc<Maker> {
        let address = Arc::as_ptr(resource) as usize;
        if let Some((_, maker)) = self.by_resource.get(&address) {
            return Arc::clone(maker);
        }
        let maker = Maker::of(resource);
        let maker = self.makers.entry(maker).or_insert_with_key(|maker| Arc::new(maker.clone())).clone();
        if self.by_resource.len() >= Self::MOST_RESOURCES {
            self.by_resource.clear();
        }
        self.by_resource.insert(address, (Arc::clone(resource), Arc::clone(&maker)));
        maker
    }
}
