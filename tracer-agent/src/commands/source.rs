//! Where the terminal's commands read traces: a viewer, or the store of one that has stopped.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use tracer_model::{
    answer::{SearchAnswer, ServiceAnswer, ServicesAnswer, SpanKind, TraceAnswer, TraceSummary, Window},
    layout::{self, lay_out},
    otlp,
    span::{Kind, Span, TraceId},
};
use tracer_store::{Limits, Order, Query, SearchOptions, Store};

use super::{
    flags::SourceFlags,
    outcome::{FAILURE, Failure, USAGE},
    view::read_token,
};
use crate::{
    clock,
    outside::escaped,
    percent::percent_encoded,
    sink::terminal::escape::columns,
    viewer::client::{Client, ClientError},
};

/// Digits of a trace's id that tell it from others.
pub(super) const LEAST_DIGITS: usize = 8;
/// Traces that are looked through for one whose id begins so; a viewer tells no more at once.
const MOST_TRACES: usize = 1000;

/// Where traces are read.
pub(super) enum Source {
    /// A viewer that runs.
    Viewer(Box<Client>),
    /// A store that nobody else uses.
    Store {
        /// It.
        store: Box<Store>,
        /// Its directory.
        directory: PathBuf,
    },
}

/// Which traces are wanted.
pub(super) struct Search {
    /// In the language of queries.
    pub(super) query: String,
    /// Only traces with a span from here on, microseconds since 1970.
    pub(super) since_us: Option<u64>,
    /// Most traces.
    pub(super) limit: usize,
    /// The slowest first; else the newest.
    pub(super) slowest_first: bool,
}

impl Source {
    /// The source that flags name.
    pub(super) fn open(flags: &SourceFlags) -> Result<Self, Failure> {
        if let Some(directory) = &flags.store {
            return Ok(Self::Store { store: Box::new(open_store(directory)?), directory: directory.clone() });
        }
        let token = match &flags.token_file {
            Some(path) => Some(read_token(path)?),
            None => std::env::var("TRACER_VIEWER_TOKEN").ok().filter(|token| !token.is_empty()),
        };
        Ok(Self::Viewer(Box::new(Client::new(flags.url.as_deref(), token.as_deref())?)))
    }

    /// What it is, for people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Viewer(client) => client.url().to_owned(),
            Self::Store { directory, .. } => directory.display().to_string(),
        }
    }

    /// Traces of which one span meets the query.
    pub(super) fn search(&self, search: &Search) -> Result<SearchAnswer, Failure> {
        let query = Query::parse(&search.query)
            .map_err(|error| wrong_query(&search.query, &error.message, error.at_utf16))?;
        match self {
            Self::Viewer(client) => {
                let order = if search.slowest_first { "slowest" } else { "newest" };
                let mut parameters = vec![
                    ("q", search.query.clone()),
                    ("limit", search.limit.to_string()),
                    ("order", order.to_owned()),
                ];
                parameters.extend(search.since_us.map(|since| ("start_us", since.to_string())));
                client.get("/api/tracer/search", &parameters).map_err(|error| match error {
                    // A viewer of another version may read queries in another way.
                    ClientError::Refused { error, .. } if error.at.is_some() => {
                        wrong_query(&search.query, &error.error, error.at.unwrap_or(0))
                    }
                    error => error.into(),
                })
            }
            Self::Store { store, .. } => {
                let window =
                    search.since_us.map(|since| Window { start_unix_us: since, end_unix_us: u64::MAX });
                let order = if search.slowest_first { Order::Slowest } else { Order::Newest };
                Ok(store
                    .search(&query, &SearchOptions { limit: search.limit, window, order, deadline: None }))
            }
        }
    }

    /// The trace of an id, or of the beginning of one.
    pub(super) fn find(&self, text: &str) -> Result<TraceId, Failure> {
        const WHOLE: usize = 32;
        let is_id =
            (LEAST_DIGITS..=WHOLE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = TraceId::parse(text);
        if !is_id || (text.len() == WHOLE && id.is_none()) {
            let message = format!(
                "{text:?} is no id of a trace: give its {WHOLE} hexadecimal digits, or the first of them, \
                 {LEAST_DIGITS} at least"
            );
            return Err(Failure::new(USAGE, message));
        }
        if let Some(id) = id.filter(|_| text.len() == WHOLE) {
            return Ok(id);
        }
        let newest =
            Search { query: String::new(), since_us: None, limit: MOST_TRACES, slowest_first: false };
        let answer = self.search(&newest)?;
        if let Some(found) = begins(&answer.traces, text)? {
            return Ok(found);
        }
        match id {
            // Leading zeros may be left out, as Jaeger does.
            Some(id) if self.trace(id)?.is_some() => Ok(id),
            _ if answer.has_more => Err(Failure::new(
                FAILURE,
                format!(
                    "none of the newest {MOST_TRACES} traces has an id that begins with {text}: give the whole id"
                ),
            )),
            _ => Err(self.missing(text)),
        }
    }

    /// The spans of a trace; none if it is not here.
    pub(super) fn trace(&self, id: TraceId) -> Result<Option<Vec<Span>>, Failure> {
        match self {
            Self::Viewer(client) => {
                let path = format!("/api/tracer/traces/{}/export", id.hex());
                let answer = client.get_bytes(&path, &[("format", "otlp-json".to_owned())]);
                let Some(bytes) = unless_missing(answer)? else { return Ok(None) };
                let decoded = otlp::decode_json(&bytes).map_err(|error| {
                    Failure::new(FAILURE, format!("the trace from {} cannot be read: {error}", client.url()))
                })?;
                Ok(Some(decoded.spans))
            }
            Self::Store { store, .. } => Ok(store.trace(id, usize::MAX)),
        }
    }

    /// A trace as the page gets it; none if it is not here.
    pub(super) fn laid_out(&self, id: TraceId) -> Result<Option<TraceAnswer>, Failure> {
        match self {
            Self::Viewer(client) => {
                unless_missing(client.get(&format!("/api/tracer/traces/{}", id.hex()), &[]))
            }
            Self::Store { store, .. } => {
                let options = layout::Options {
                    percentile: &|service, name, kind, duration_ns| {
                        store.rank(service, name, kind_of(kind), duration_ns)
                    },
                    is_stored: &|id| store.trace_spans(id) > 0,
                    ..layout::Options::default()
                };
                Ok(store.trace(id, usize::MAX).map(|spans| lay_out(spans, &options)))
            }
        }
    }

    /// The services in a window.
    pub(super) fn services(&self, window: Window) -> Result<ServicesAnswer, Failure> {
        match self {
            Self::Viewer(client) => Ok(client.get("/api/tracer/services", &bounds(window))?),
            Self::Store { store, .. } => Ok(store.service_rows(window)),
        }
    }

    /// A service and its operations in a window; none if there is no span of it.
    pub(super) fn service(&self, name: &str, window: Window) -> Result<Option<ServiceAnswer>, Failure> {
        match self {
            Self::Viewer(client) => {
                let path = format!("/api/tracer/services/{}", percent_encoded(name));
                unless_missing(client.get(&path, &bounds(window)))
            }
            Self::Store { store, .. } => Ok(store.service(name, window)),
        }
    }

    /// The last stretch of so much time: until now, or until the end of what a store holds.
    pub(super) fn window(&self, length_us: u64) -> Result<Window, Failure> {
        let now = clock::unix_ns() / 1000 + 1;
        let end_unix_us = match self {
            Self::Viewer(_) => now,
            Self::Store { .. } => {
                let newest = Search { query: String::new(), since_us: None, limit: 1, slowest_first: false };
                let answer = self.search(&newest)?;
                let end =
                    |trace: &TraceSummary| trace.start_unix_us.saturating_add(trace.duration_ns / 1000 + 1);
                answer.traces.first().map_or(now, end)
            }
        };
        // A window has a length, whatever times spans have.
        let end_unix_us = end_unix_us.max(1);
        let start_unix_us = end_unix_us.saturating_sub(length_us).min(end_unix_us - 1);
        Ok(Window { start_unix_us, end_unix_us })
    }

    /// There is no such trace.
    pub(super) fn missing(&self, id: &str) -> Failure {
        let message = format!(
            "{} has no trace {id}: it never came, or was let go for want of space; `tracer traces` lists what is there",
            self.name()
        );
        Failure::new(FAILURE, message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::Url(_) | ClientError::Token => USAGE,
            _ => FAILURE,
        };
        Self::new(code, error)
    }
}

fn open_store(directory: &Path) -> Result<Store, Failure> {
    let shown = directory.display();
    // Opening would make one of a directory that is none.
    if !directory.join("store.json").is_file() {
        let message = format!("--store {shown}: there is no store, or you may not read it");
        return Err(Failure::new(USAGE, message));
    }
    // A store that had more memory must lose nothing here.
    let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
    let store = Store::open(directory, limits).map_err(|error| {
        let message =
            format!("{error}. A store that an agent or a viewer uses is read from that one, by --url");
        Failure::new(FAILURE, message)
    })?;
    match store.status().problem {
        Some(problem) => Err(Failure::new(FAILURE, problem)),
        None => Ok(store),
    }
}

/// The one trace whose id begins so; an error if there are more.
fn begins(traces: &[TraceSummary], text: &str) -> Result<Option<TraceId>, Failure> {
    let text = text.to_ascii_lowercase();
    let found: Vec<&str> =
        traces.iter().map(|trace| trace.trace_id.as_str()).filter(|id| id.starts_with(&text)).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(TraceId::parse(one)),
        [first, second, ..] => Err(Failure::new(
            FAILURE,
            format!(
                "{} traces have an id that begins with {text}, such as {first} and {second}: give more of it",
                found.len()
            ),
        )),
    }
}

/// A kind as the store says it.
fn kind_of(kind: SpanKind) -> Kind {
    match kind {
        SpanKind::Unspecified => Kind::Unspecified,
        SpanKind::Internal => Kind::Internal,
        SpanKind::Server => Kind::Server,
        SpanKind::Client => Kind::Client,
        SpanKind::Producer => Kind::Producer,
        SpanKind::Consumer => Kind::Consumer,
    }
}

fn unless_missing<T>(answer: Result<T, ClientError>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ClientError::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn bounds(window: Window) -> [(&'static str, String); 2] {
    [("start_us", window.start_unix_us.to_string()), ("end_us", window.end_unix_us.to_string())]
}

/// A query that cannot be read, with a mark at the place.
fn wrong_query(query: &str, message: &str, at_utf16: u32) -> Failure {
    let mut units = 0;
    let before: String = query
        .chars()
        .take_while(|c| {
            let is_before = units < at_utf16 as usize;
            units += c.len_utf16();
            is_before
        })
        .collect();
    let place = columns(&escaped(&before));
    let message = format!("the query cannot be read: {message}\n  {}\n  {:place$}^", escaped(query), "");
    Failure::new(USAGE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(ids: &[&str]) -> Vec<TraceSummary> {
        ids.iter().map(|id| TraceSummary { trace_id: (*id).to_owned(), ..TraceSummary::default() }).collect()
    }

    #[test]
    fn a_beginning_names_a_trace_if_it_is_the_only_one() {
        let ids = [
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "4bf92f3577b34da6a3ce929d0e0e4737",
            "00000000000000000000000000000001",
        ];
        let traces = listed(&ids);
        let told = |text| begins(&traces, text).map_err(|failure| failure.message);
        assert_eq!(told("00000000"), Ok(TraceId::parse("1")));
        assert_eq!(told("4BF92F3577B34DA6A3CE929D0E0E4736"), Ok(TraceId::parse(ids[0])));
        assert_eq!(told("12345678"), Ok(None));
        let several = told("4bf92f35").expect_err("two");
        assert!(
            several.starts_with("2 traces have an id that begins with 4bf92f35, such as 4bf9"),
            "{several}"
        );
    }

    #[test]
    fn a_wrong_query_is_marked_at_its_place() {
        let failure = wrong_query("価 service:é duration>10xs", "no unit", 21);
        assert_eq!(
            failure.message,
            "the query cannot be read: no unit\n  価 service:é duration>10xs\n                        ^"
        );
        assert_eq!(failure.code, USAGE);
        let hostile = wrong_query("\u{1b}[2J x", "no", 5);
        assert_eq!(hostile.message, "the query cannot be read: no\n  \\u{1b}[2J x\n            ^");
    }

    #[test]
    fn a_directory_without_a_store_is_left_as_it_is() {
        let directory = std::env::temp_dir().join(format!("tracer-no-store-{}", std::process::id()));
        let failure = open_store(&directory).err().expect("no store");
        assert!(
            failure.message.ends_with(": there is no store, or you may not read it"),
            "{}",
            failure.message
        );
        assert!(!directory.exists());
    }

    #[test]
    fn a_store_in_use_is_read_by_its_viewer() {
        let directory = std::env::temp_dir().join(format!("tracer-used-store-{}", std::process::id()));
        let used = Store::open(&directory, Limits::default()).expect("a store");
        let failure = open_store(&directory).err().expect("in use");
        assert!(failure.message.ends_with("is read from that one, by --url"), "{}", failure.message);
        drop(used);
        assert!(open_store(&directory).is_ok());
        std::fs::remove_dir_all(directory).expect("removed");
    }

    /// A trace of two services, and one of a service whose name needs care in a path.
    fn stored() -> Store {
        let span = |trace: &str, id: u32, parent: &str, name: &str, code: u32| {
            serde_json::json!({
                "traceId": trace, "spanId": format!("{id:016x}"), "parentSpanId": parent, "name": name, "kind": 2,
                "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000500000000",
                "status": {"code": code},
            })
        };
        let of = |service: &str, spans: Vec<serde_json::Value>| {
            let name = serde_json::json!({"key": "service.name", "value": {"stringValue": service}});
            serde_json::json!({"resource": {"attributes": [name]}, "scopeSpans": [{"spans": spans}]})
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let request = serde_json::json!({"resourceSpans": [
            of("shop", vec![span(trace, 1, "", "GET /a", 0)]),
            of("prices", vec![span(trace, 2, "0000000000000001", "GET /b", 2)]),
            of("a/../b ?", vec![span("00000000000000000000000012345678", 3, "", "GET /c", 0)]),
        ]});
        let store = Store::in_memory(Limits::default());
        store.insert(otlp::decode_json(request.to_string().as_bytes()).expect("OTLP").spans);
        store
    }

    fn in_full<T: std::fmt::Debug>(answer: Result<T, Failure>) -> String {
        match answer {
            Ok(answer) => format!("{answer:?}"),
            Err(Failure { message, code }) => format!("{code} {message}"),
        }
    }

    #[test]
    fn a_viewer_and_its_store_say_the_same() {
        let store = std::sync::Arc::new(stored());
        let settings = tracer_viewer::Settings {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            otlp_grpc: None,
            otlp_http: None,
            path_prefix: "/traces".to_owned(),
            ..tracer_viewer::Settings::default()
        };
        let viewer = tracer_viewer::Viewer::start(settings, store, None).expect("a viewer");
        let url = viewer.addresses().url.clone();
        let viewed = Source::Viewer(Box::new(Client::new(Some(&url), None).expect("a client")));
        let read =
            Source::Store { store: Box::new(stored()), directory: PathBuf::from(url.trim_end_matches('/')) };
        let window = read.window(60_000_000).expect("a window");
        assert_eq!(window.end_unix_us, 1_700_000_000_500_001);
        let id = TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").expect("an id");
        let search = |query: &str, since_us, slowest_first| Search {
            query: query.to_owned(),
            since_us,
            limit: 1,
            slowest_first,
        };
        type Question<'a> = &'a dyn Fn(&Source) -> String;
        let questions: [(&str, Question<'_>); 14] = [
            ("4bf92f35", &|source| {
                in_full(source.search(&search("service:prices status:error", None, false)))
            }),
            ("has_more: true", &|source| in_full(source.search(&search("", Some(1), true)))),
            ("traces: []", &|source| in_full(source.search(&search("", Some(window.end_unix_us), false)))),
            ("2 the query cannot be read", &|source| {
                in_full(source.search(&search("status:wrong", None, false)))
            }),
            ("4bf92f3577b34da6a3ce929d0e0e4736", &|source| in_full(source.find("4BF92f35"))),
            ("00000000000000000000000012345678", &|source| in_full(source.find("12345678"))),
            ("has no trace 87654321: ", &|source| in_full(source.find("87654321"))),
            ("2 \"4bf9\" is no id", &|source| in_full(source.find("4bf9"))),
            ("GET /b", &|source| in_full(source.trace(id))),
            ("None", &|source| in_full(source.trace(TraceId([7; 16])))),
            ("is_error: true", &|source| in_full(source.laid_out(id))),
            ("\"prices\"", &|source| in_full(source.services(window))),
            ("GET /c", &|source| in_full(source.service("a/../b ?", window))),
            ("None", &|source| in_full(source.service("nobody", window))),
        ];
        for (expected, ask) in questions {
            let (viewed, read) = (ask(&viewed), ask(&read));
            assert_eq!(viewed, read);
            assert!(viewed.contains(expected), "{expected}: {viewed}");
        }
        viewer.stop();
    }
}
