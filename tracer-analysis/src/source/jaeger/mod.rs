//! Traces in anything that speaks the API of Jaeger's query service.
//!
//! That API finds the traces of a service in a stretch of time, a limited number of them, and does not say how many more there
//! are. A stretch that meets the limit is asked in two parts, which meet in the middle of the traces that came: so the first
//! answer leads to where the traces are.

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;
use tracer_model::{
    answer::Window,
    facts::Gathered,
    jaeger,
    span::{Span, TraceId},
};

use super::{
    Source, SourceError,
    http::{Http, HttpError, Question, Server},
};

/// Traces that one request asks for. Some stores behind Jaeger answer 1,500 at most.
const MOST_TRACES: usize = 1500;
/// Shortest stretch that is asked for.
const LEAST_STRETCH_US: u64 = 10_000;
/// Requests of one gathering.
const MOST_QUESTIONS: usize = 2000;
/// Services that are asked for.
const MOST_SERVICES: usize = 1000;
/// Longest answer.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Jaeger does not tell from when on it has traces: its page looks so far back.
const LOOK_BACK_US: u64 = 3_600_000_000;

/// Traces behind Jaeger's API.
pub struct Jaeger {
    http: Box<dyn Http>,
    url: String,
}

/// `/api/services`.
#[derive(Deserialize)]
struct Services {
    data: Option<Vec<String>>,
}

/// What it says of an error.
#[derive(Deserialize)]
struct Problems {
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    msg: String,
}

impl Jaeger {
    pub(super) fn new(server: &Server, http: Box<dyn Http>) -> Self {
        Self { http, url: server.url() }
    }

    /// The answer to a path. None if there is no such thing.
    fn get(&self, target: String) -> Result<Option<Vec<u8>>, SourceError> {
        let question = Question { target, ..Question::default() };
        let mut bytes = Vec::new();
        let answered = self.http.ask(&question, &mut |part| {
            if bytes.len() + part.len() > MAX_ANSWER_BYTES {
                let most = MAX_ANSWER_BYTES >> 20;
                let text =
                    format!("an answer of {} has more than {most} MiB: ask for a shorter time", self.name());
                return Err(SourceError::Answer(text));
            }
            bytes.extend_from_slice(part);
            Ok(())
        });
        match answered {
            Ok(taken) => taken.map(|()| Some(bytes)),
            Err(HttpError::Status(404, _)) => Ok(None),
            Err(HttpError::Status(status @ (401 | 403), _)) => Err(SourceError::Answer(format!(
                "{} answers with HTTP status {status}: give a user by jaeger+https://USER@HOST, and the password by \
                 --source-password-file or TRACER_SOURCE_PASSWORD",
                self.url
            ))),
            Err(HttpError::Status(status, told)) => {
                let problems = serde_json::from_str::<Problems>(&told).ok();
                let told = problems.and_then(|problems| problems.errors.into_iter().next());
                let told =
                    told.map(|problem| problem.msg.chars().filter(|c| !c.is_control()).take(300).collect());
                let told: String = told.unwrap_or_default();
                Err(SourceError::Answer(format!("{} answers with HTTP status {status}: {told}", self.name())))
            }
            Err(HttpError::Failed(text)) => Err(SourceError::Answer(text)),
        }
    }

    fn services(&self) -> Result<Vec<String>, SourceError> {
        let bytes =
            self.get("/api/services".to_owned())?.ok_or_else(|| self.stranger("it has no /api/services"))?;
        let services: Services =
            serde_json::from_slice(&bytes).map_err(|error| self.stranger(&error.to_string()))?;
        let mut services = services.data.unwrap_or_default();
        services.sort();
        services.dedup();
        Ok(services)
    }

    /// Spans of an answer, those of one trace together, and how many were refused.
    fn spans(&self, bytes: &[u8]) -> Result<(Vec<Span>, u64), SourceError> {
        let mut decoded = jaeger::decode(bytes).map_err(|error| self.stranger(&error.to_string()))?;
        decoded.spans.sort_by_key(|span| span.trace_id);
        Ok((decoded.spans, decoded.refused.iter().map(|(_, count)| count).sum()))
    }

    fn stranger(&self, reason: &str) -> SourceError {
        SourceError::Answer(format!(
            "{} does not answer as Jaeger's query service does ({reason}): name that by jaeger+http://HOST:16686, with the \
             path below which it serves",
            self.url
        ))
    }
}

impl Source for Jaeger {
    fn name(&self) -> String {
        format!("Jaeger's API on {}", self.url)
    }

    /// The last hour: Jaeger does not tell more.
    fn extent(&self) -> Result<Option<Window>, SourceError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let end_unix_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let start_unix_us = end_unix_us.saturating_sub(LOOK_BACK_US);
        Ok((!self.services()?.is_empty()).then_some(Window { start_unix_us, end_unix_us }))
    }

    fn gather(&self, window: Window, max_spans: usize) -> Result<Gathered, SourceError> {
        let services = self.services()?;
        let mut gathering = Gathering { max_spans, window, ..Gathering::default() };
        // The newest stretch is asked first, of every service: if there are too many spans, none lacks all of its own.
        let mut stretches = vec![window];
        let mut wanted: Vec<Vec<&String>> = vec![services.iter().take(MOST_SERVICES).collect()];
        'all: while let (Some(stretch), Some(names)) = (stretches.pop(), wanted.pop()) {
            let mut full = Vec::new();
            let mut starts = Vec::new();
            for service in names {
                if gathering.is_over() {
                    break 'all;
                }
                gathering.questions += 1;
                let Some(bytes) = self.get(search(service, stretch))? else { continue };
                let (spans, refused) = self.spans(&bytes)?;
                gathering.refused += refused;
                let begins = gathering.take(&spans);
                if begins.len() >= MOST_TRACES {
                    full.push(service);
                    starts.extend(begins);
                }
            }
            if full.is_empty() {
                continue;
            }
            let length = stretch.end_unix_us.saturating_sub(stretch.start_unix_us);
            if length <= LEAST_STRETCH_US {
                gathering.full += full.len();
                continue;
            }
            starts.sort_unstable();
            let middle = starts[starts.len() / 2];
            let is_within = middle > stretch.start_unix_us && middle < stretch.end_unix_us;
            let middle = if is_within { middle } else { stretch.start_unix_us + length / 2 };
            stretches.push(Window { end_unix_us: middle, ..stretch });
            wanted.push(full.clone());
            stretches.push(Window { start_unix_us: middle, ..stretch });
            wanted.push(full);
        }
        gathering.left_out = services.len().saturating_sub(MOST_SERVICES);
        Ok(gathering.end())
    }

    fn traces(&self, ids: &[TraceId]) -> Result<Vec<Vec<Span>>, SourceError> {
        ids.iter()
            .map(|id| match self.get(format!("/api/traces/{}", id.hex()))? {
                Some(bytes) => {
                    let (mut spans, _) = self.spans(&bytes)?;
                    spans.retain(|span| span.trace_id == *id);
                    Ok(spans)
                }
                None => Ok(Vec::new()),
            })
            .collect()
    }
}

/// What was gathered so far.
#[derive(Default)]
struct Gathering {
    gathered: Gathered,
    seen: HashSet<TraceId>,
    window: Window,
    max_spans: usize,
    questions: usize,
    /// Traces that have no room.
    omitted: u64,
    /// Spans that cannot be read.
    refused: u64,
    /// Stretches that cannot be halved, and have more traces than one answer.
    full: usize,
    /// Services that were not asked for.
    left_out: usize,
}

impl Gathering {
    fn is_over(&self) -> bool {
        self.omitted > 0 || self.questions >= MOST_QUESTIONS
    }

    /// Takes the traces of an answer that are new and begin in the window. Returns when each of its traces begins.
    fn take(&mut self, spans: &[Span]) -> Vec<u64> {
        let mut all = Vec::new();
        for trace in spans.chunk_by(|one, other| one.trace_id == other.trace_id) {
            let begins = trace.iter().map(|span| span.start_unix_ns / 1000).min().unwrap_or(0);
            all.push(begins);
            let is_within = (self.window.start_unix_us..self.window.end_unix_us).contains(&begins);
            if !is_within || !self.seen.insert(trace[0].trace_id) {
                continue;
            }
            if self.gathered.rows.len() + trace.len() > self.max_spans {
                self.omitted += 1;
                continue;
            }
            self.gathered.add(trace);
        }
        all
    }

    fn end(self) -> Gathered {
        let mut reasons = Vec::new();
        if self.omitted > 0 {
            reasons.push(format!(
                "there is room for {} spans: of the newest traces some were taken, and Jaeger does not tell how many there are",
                self.max_spans
            ));
        } else if self.questions >= MOST_QUESTIONS {
            reasons.push(format!("{MOST_QUESTIONS} requests were not enough: ask for a shorter time"));
        }
        if self.full > 0 {
            reasons.push(format!(
                "Jaeger answers at most {MOST_TRACES} traces of a service and 10 ms, and {} such answers were full",
                self.full
            ));
        }
        if self.left_out > 0 {
            reasons
                .push(format!("{} services were not asked for: {MOST_SERVICES} are at most", self.left_out));
        }
        if self.refused > 0 {
            reasons.push(format!("{} spans have no valid ids", self.refused));
        }
        let incomplete = (!reasons.is_empty()).then(|| reasons.join("; "));
        Gathered { omitted_traces: self.omitted, incomplete, ..self.gathered }
    }
}

/// `/api/traces` of a service.
fn search(service: &str, window: Window) -> String {
    // Signed in Jaeger.
    let time = |unix_us: u64| unix_us.min(i64::MAX.unsigned_abs() / 1000);
    format!(
        "/api/traces?service={}&start={}&end={}&limit={MOST_TRACES}",
        encoded(service),
        time(window.start_unix_us),
        time(window.end_unix_us)
    )
}

/// Percent-encoded: all but letters of ASCII and digits.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}
