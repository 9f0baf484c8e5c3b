//! Where the terminal's commands read traces: a viewer, or the store of one that has stopped.

#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tracer_analysis::{
    compare::{self, ComparisonAnswer, Side},
    corpus::Corpus,
    dependency::{self, DependenciesAnswer, graph::ServiceGraph},
    report::{self, ReportAnswer},
    slow::{self, SlowAnswer, SlowOperationsAnswer, SlowSelection},
    source::{self, Source as _, clickhouse},
};
use tracer_model::{
    answer::{SearchAnswer, ServiceAnswer, ServicesAnswer, SpanKind, TraceAnswer, TraceSummary, Window},
    layout::{self, lay_out},
    otlp,
    span::{Kind, Span, TraceId},
};
use tracer_store::{Limits, Order, Query, SearchOptions, Store};
use tracer_viewer::service_graph_metrics;

use super::{
    files,
    flags::SourceFlags,
    outcome::{FAILURE, Failure, USAGE},
};
use crate::{
    agent::status::usual_socket,
    client::{Client, ClientError, Remote, TlsFiles},
    clock,
    config::token_in,
    log::{self, EVERY_LINE, LogConfig},
    outside::escaped,
    percent::percent_encoded,
    sink::terminal::escape::columns,
};

/// Digits of a trace's id that tell it from others.
pub(super) const LEAST_DIGITS: usize = 8;
/// Traces that are looked through for one whose id begins so; a viewer tells no more at once.
const MOST_TRACES: usize = 1000;

/// Where traces are read.
pub(super) enum Source {
    /// A viewer that runs, or an agent with one.
    Viewer(Box<Client>),
    /// A store that nobody else uses.
    Store {
        /// It.
        store: Box<Store>,
        /// Its directory, or the files whose traces it has.
        name: String,
    },
    /// ClickHouse, or what speaks Jaeger's API.
    Remote(Box<dyn source::Source>),
}

/// Which traces and requests are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// When they begin.
    pub(super) window: Option<Window>,
    /// Service and version.
    pub(super) version: Option<(String, String)>,
}

impl Wanted {
    pub(super) fn side<'a>(&self, corpus: &'a Corpus, name: &str) -> Side<'a> {
        Side { corpus, name: name.to_owned(), window: self.window, version: self.version.clone() }
    }
}

/// The least window that has both. None if one has no bounds.
pub(super) fn union(before: &Wanted, after: &Wanted) -> Option<Window> {
    let (one, other) = (before.window?, after.window?);
    Some(Window {
        start_unix_us: one.start_unix_us.min(other.start_unix_us),
        end_unix_us: one.end_unix_us.max(other.end_unix_us),
    })
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
    /// The source that flags name. Without any it is the viewer at the usual address, else the agent on the usual socket.
    pub(super) fn open(flags: &SourceFlags) -> Result<Self, Failure> {
        if let Some(directory) = &flags.store {
            let name = directory.display().to_string();
            return Ok(Self::Store { store: Box::new(open_store(directory)?), name });
        }
        if let Some(socket) = &flags.socket {
            return Ok(Self::Viewer(Box::new(Client::of_agent(socket)?)));
        }
        let identity = flags.client_certificate.clone().zip(flags.client_key.clone());
        let tls = TlsFiles { ca: flags.ca.clone(), identity };
        if let Some(address) = &flags.source {
            return open_remote(address, flags.source_password_file.as_deref(), &tls).map(Self::Remote);
        }
        let token = match &flags.token_file {
            Some(path) => Some(token_in(path).map_err(|message| Failure::new(USAGE, message))?),
            None => std::env::var("TRACER_VIEWER_TOKEN").ok().filter(|token| !token.is_empty()),
        };
        let viewer = Client::of_viewer(flags.url.as_deref(), token.as_deref(), &tls)?;
        Ok(Self::Viewer(Box::new(match flags.url {
            Some(_) => viewer,
            None => reached(viewer, &usual_socket()),
        })))
    }

    /// The source that flags name, or saved traces if there are any.
    pub(super) fn open_or_files(flags: &SourceFlags, files: &[PathBuf]) -> Result<Self, Failure> {
        if files.is_empty() { Self::open(flags) } else { Self::saved(files) }
    }

    /// Saved traces: files, or the directory of a store.
    pub(super) fn saved(files: &[PathBuf]) -> Result<Self, Failure> {
        // What is wrong with a file, and does not keep it from being read, is told there.
        log::start(&LogConfig::default());
        if let [directory] = files
            && directory.is_dir()
        {
            let name = directory.display().to_string();
            return Ok(Self::Store { store: Box::new(open_store(directory)?), name });
        }
        let store = Box::new(Store::in_memory(Limits { max_bytes: usize::MAX, ..Limits::default() }));
        for path in files {
            files::take(path, &store).map_err(|message| Failure::new(FAILURE, message))?;
        }
        let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        Ok(Self::Store { store, name: names.join(", ") })
    }

    /// What it is, for people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Viewer(client) => client.asked().place(),
            Self::Store { name, .. } => name.clone(),
            Self::Remote(source) => source.name(),
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
            Self::Remote(_) => Err(self.cannot("search traces")),
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
        if let Self::Remote(_) = self {
            return Err(self.cannot("find a trace by a part of its id: give the whole id, or search traces"));
        }
        let alike = Search {
            query: format!("trace:{text}*"),
            since_us: None,
            limit: MOST_TRACES,
            slowest_first: false,
        };
        let answer = self.search(&alike)?;
        if let Some(found) = begins(&answer.traces, text)? {
            return Ok(found);
        }
        match id {
            // Leading zeros may be left out, as Jaeger does.
            Some(id) if self.trace(id)?.is_some() => Ok(id),
            _ if answer.has_more => Err(Failure::new(
                FAILURE,
                format!("more than {MOST_TRACES} traces have an id that begins with {text}: give more of it"),
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
                    Failure::new(
                        FAILURE,
                        format!("the trace from {} cannot be read: {error}", client.asked().place()),
                    )
                })?;
                Ok(Some(decoded.spans))
            }
            Self::Store { store, .. } => Ok(store.trace(id, usize::MAX)),
            Self::Remote(source) => {
                let spans = source.traces(&[id])?.pop().unwrap_or_default();
                Ok((!spans.is_empty()).then_some(spans))
            }
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
            Self::Remote(_) => Ok(self.trace(id)?.map(|spans| lay_out(spans, &layout::Options::default()))),
        }
    }

    /// The services in a window.
    pub(super) fn services(&self, window: Window) -> Result<ServicesAnswer, Failure> {
        match self {
            Self::Viewer(client) => Ok(client.get("/api/tracer/services", &bounds(window))?),
            Self::Store { store, .. } => Ok(store.service_rows(window)),
            Self::Remote(_) => Err(self.cannot("list services")),
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
            Self::Remote(_) => Err(self.cannot("list services")),
        }
    }

    /// What is wrong in a window; in all that is held without one.
    pub(super) fn report(&self, window: Option<Window>) -> Result<ReportAnswer, Failure> {
        self.analyzed("report", &[], window, report::report)
    }

    /// Who depends on whom in a window; in all that is held without one.
    pub(super) fn dependencies(&self, window: Option<Window>) -> Result<DependenciesAnswer, Failure> {
        self.analyzed("dependencies", &[], window, dependency::analyze)
    }

    /// Operations in a window, and how far their requests spread.
    pub(super) fn operations(&self, window: Option<Window>) -> Result<SlowOperationsAnswer, Failure> {
        self.analyzed("operations", &[], window, slow::operations)
    }

    /// How the slow requests of an operation of a service differ from the rest.
    pub(super) fn slow(
        &self,
        (service, operation): (&str, &str),
        selection: SlowSelection,
        window: Option<Window>,
    ) -> Result<SlowAnswer, Failure> {
        let asked = [("service", service.to_owned()), ("operation", operation.to_owned())];
        let chosen = match selection {
            SlowSelection::Quantile(quantile) => ("quantile", quantile.to_string()),
            SlowSelection::Box { least_ns, .. } => ("least_ns", least_ns.to_string()),
        };
        let parameters: Vec<_> = asked.into_iter().chain([chosen]).collect();
        self.analyzed("slow", &parameters, window, |corpus| {
            let named = slow::resolved(corpus, service, operation, None);
            slow::analyze(corpus, &named, selection, |ids| match self {
                Self::Store { store, .. } => store.traces(ids).map_err(|error| error.to_string()),
                Self::Remote(source) => source.traces(ids).map_err(|error| error.to_string()),
                Self::Viewer(_) => Err("a viewer reads attributes itself".to_owned()),
            })
        })
    }

    /// The same as metrics of service graphs, as OpenMetrics text.
    pub(super) fn service_graph(&self, window: Option<Window>) -> Result<String, Failure> {
        if let Self::Viewer(client) = self {
            let mut parameters = vec![("format", "metrics".to_owned())];
            parameters.extend(window.into_iter().flat_map(bounds));
            let bytes = client.get_bytes("/api/tracer/analysis/dependencies", &parameters)?;
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        let graph = |corpus: &Corpus| {
            let mut graph = ServiceGraph::default();
            graph.add(corpus);
            graph
        };
        let text = service_graph_metrics(self.here(window, graph)?);
        text.map_err(|error| Failure::new(FAILURE, format!("the metrics cannot be written: {error}")))
    }

    /// What changed from one side to the other; each has its name.
    pub(super) fn comparison(
        &self,
        (before_name, before): (&str, &Wanted),
        (after_name, after): (&str, &Wanted),
    ) -> Result<ComparisonAnswer, Failure> {
        let Self::Viewer(client) = self else {
            let window = union(before, after);
            return self.here(window, |corpus| {
                compare::analyze(&before.side(corpus, before_name), &after.side(corpus, after_name))
            });
        };
        let services: Vec<&String> =
            [before, after].iter().filter_map(|side| Some(&side.version.as_ref()?.0)).collect();
        if let [one, other] = services[..]
            && one != other
        {
            let message = format!("{one} and {other} are two services: compare versions of one");
            return Err(Failure::new(USAGE, message));
        }
        let mut parameters: Vec<(&str, String)> =
            services.first().map(|service| ("service", (*service).clone())).into_iter().collect();
        let names = [
            ("before_start_us", "before_end_us", "before_version"),
            ("after_start_us", "after_end_us", "after_version"),
        ];
        for (side, (start, end, version)) in [before, after].into_iter().zip(names) {
            if let Some(window) = side.window {
                parameters.push((start, window.start_unix_us.to_string()));
                parameters.push((end, window.end_unix_us.to_string()));
            }
            parameters.extend(side.version.as_ref().map(|(_, value)| (version, value.clone())));
        }
        let mut answer: ComparisonAnswer = client.get("/api/tracer/analysis/compare", &parameters)?;
        (answer.before.name, answer.after.name) = (before_name.to_owned(), after_name.to_owned());
        Ok(answer)
    }

    /// What an analysis tells of a window: the viewer's answer to its route, or what is made here of a store.
    fn analyzed<T: DeserializeOwned>(
        &self,
        route: &str,
        parameters: &[(&'static str, String)],
        window: Option<Window>,
        analyze: impl FnOnce(&Corpus) -> T,
    ) -> Result<T, Failure> {
        let Self::Viewer(client) = self else { return self.here(window, analyze) };
        let mut parameters = parameters.to_vec();
        parameters.extend(window.into_iter().flat_map(bounds));
        Ok(client.get(&format!("/api/tracer/analysis/{route}"), &parameters)?)
    }

    /// What an analysis tells of traces that are fetched to be analysed in this process.
    fn here<T>(&self, window: Option<Window>, analyze: impl FnOnce(&Corpus) -> T) -> Result<T, Failure> {
        Ok(analyze(&self.corpus(window)?))
    }

    /// Traces that begin in a window, to be analysed in this process; a viewer's are analysed there.
    pub(super) fn corpus(&self, window: Option<Window>) -> Result<Corpus, Failure> {
        match self {
            Self::Viewer(_) => Err(Failure::new(
                USAGE,
                format!(
                    "the traces of {} are compared with each other there, not with saved ones: save those too, or stop it and \
                     read the directory of its store",
                    self.name()
                ),
            )),
            Self::Store { store, .. } => {
                let window = window.unwrap_or(Window { start_unix_us: 0, end_unix_us: u64::MAX });
                Ok(Corpus::from(store.gather(window, usize::MAX, None)))
            }
            Self::Remote(source) => {
                let window = match window {
                    Some(window) => Some(window),
                    None => source.extent()?,
                };
                let window = window.unwrap_or_default();
                Ok(Corpus::from(source.gather(window, clickhouse::MOST_SPANS)?))
            }
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
            Self::Remote(source) => source.extent()?.map_or(now, |extent| extent.end_unix_us.min(now)),
        };
        // A window has a length, whatever times spans have.
        let end_unix_us = end_unix_us.max(1);
        let start_unix_us = end_unix_us.saturating_sub(length_us).min(end_unix_us - 1);
        Ok(Window { start_unix_us, end_unix_us })
    }

    /// Not every question can be put to a source that is none of ours.
    fn cannot(&self, what: &str) -> Failure {
        let message = format!(
            "{} is asked for reports and for traces by their whole ids only: tracer cannot {what} there; use its own page",
            self.name()
        );
        Failure::new(USAGE, message)
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

/// The viewer, unless nobody answers there and an agent does on its socket.
fn reached(viewer: Client, socket: &Path) -> Client {
    if !matches!(viewer.reach(), Err(ClientError::Nobody { .. })) {
        return viewer;
    }
    match Client::of_agent(socket) {
        Ok(agent) if agent.reach().is_ok() => agent,
        _ => viewer,
    }
}

/// The source of an address. Its password stands in a file, in the environment, or in the address.
fn open_remote(
    address: &str,
    password_file: Option<&Path>,
    tls: &TlsFiles,
) -> Result<Box<dyn source::Source>, Failure> {
    let password = match password_file {
        Some(path) => Some(fs::read_to_string(path).map_err(|error| {
            Failure::new(USAGE, format!("--source-password-file {}: {error}", path.display()))
        })?),
        None => std::env::var("TRACER_SOURCE_PASSWORD").ok().filter(|password| !password.is_empty()),
    };
    let password = password.as_deref().map(|password| password.trim_end_matches(['\r', '\n']));
    Ok(source::open(address, password, &|server| Ok(Box::new(Remote::new(server, tls)?)))?)
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
    let status = store.status();
    if status.cut_bytes > 0 {
        log::start(&LogConfig::default());
        tracing::warn!(target: EVERY_LINE, "--store {shown}: {} bytes cannot be read, and are left out", status.cut_bytes);
    }
    match status.problem {
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
mod tests;
