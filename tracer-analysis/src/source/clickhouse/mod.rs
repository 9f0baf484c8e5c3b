//! Traces in ClickHouse, in the tables of the OpenTelemetry Collector's exporter
//! (`clickhouseexporter`, `internal/sqltemplates/traces_table.sql`).
//!
//! What can be counted is counted there. Of traces, the columns come that analyses look at, and what many spans have in common
//! comes once: 56 bytes for a span.

mod row_binary;
mod spans;
mod sql;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use rustc_hash::FxBuildHasher;
use tracer_model::{
    answer::Window,
    facts::{FactRow, Facts, Gathered},
    span::{Resource, Span, TraceId},
};

use self::{
    row_binary::{Columns, Rows, Stop},
    spans::{Coded, Row},
    sql::{MOST_COUNTS, Traces},
};
use super::{
    Source, SourceError,
    address::Name,
    http::{Http, HttpError, Question, Server},
    overview::{MinuteCount, OperationCount, Overview},
};

/// Spans that are gathered at most, whatever is asked for: 400 MB.
pub const MOST_SPANS: usize = 4_000_000;
/// Different facts of them.
const MOST_FACTS: usize = 1_000_000;
/// Traces that are asked for by their ids at once.
const MOST_IDS: usize = 500;
/// Spans of these.
const MOST_TRACE_SPANS: usize = 200_000;
/// Longest answer: what many spans have in common may be long.
const MAX_ANSWER_BYTES: usize = 512 << 20;
/// Tries to get a part of the traces that is no more than what is wanted.
const MOST_TRIES: u32 = 8;

/// Traces in ClickHouse.
pub struct ClickHouse {
    http: Box<dyn Http>,
    url: String,
    headers: Vec<(&'static str, String)>,
    database: Name,
    table: Name,
}

impl ClickHouse {
    pub(super) fn new(server: &Server, http: Box<dyn Http>, database: Name, table: Name) -> Self {
        let mut headers = vec![("content-type", "text/plain; charset=utf-8".to_owned())];
        if let Some((user, password)) = &server.login {
            headers.push(("x-clickhouse-user", user.clone()));
            headers.push(("x-clickhouse-key", password.clone()));
        }
        Self { http, url: server.url(), headers, database, table }
    }

    /// Rows of the answer to a statement.
    fn rows<T>(
        &self,
        statement: String,
        read: impl Fn(&mut Columns<'_>) -> Result<T, Stop>,
        mut row: impl FnMut(T) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        // The server holds the answer back until it is whole: an error in its middle would look like rows.
        let question = Question {
            target: "/?wait_end_of_query=1".to_owned(),
            body: Some(statement),
            headers: self.headers.clone(),
        };
        let mut rows = Rows::default();
        let mut bytes = 0_usize;
        let answered = self.http.ask(&question, &mut |part| {
            bytes = bytes.saturating_add(part.len());
            if bytes > MAX_ANSWER_BYTES {
                let most = MAX_ANSWER_BYTES >> 20;
                return Err(SourceError::Answer(format!(
                    "an answer of {} has more than {most} MiB: ask for a shorter time",
                    self.name()
                )));
            }
            rows.take(part, &read, &mut row)
        });
        answered.map_err(|error| self.understood(error))??;
        rows.end(read, row)
    }

    fn all<T>(
        &self,
        statement: String,
        read: impl Fn(&mut Columns<'_>) -> Result<T, Stop>,
    ) -> Result<Vec<T>, SourceError> {
        let mut all = Vec::new();
        self.rows(statement, read, |row| {
            all.push(row);
            Ok(())
        })?;
        Ok(all)
    }

    fn one<T>(
        &self,
        statement: String,
        read: impl Fn(&mut Columns<'_>) -> Result<T, Stop>,
    ) -> Result<T, SourceError> {
        let none = || {
            SourceError::Answer(format!("{} answers a count with nothing: is it ClickHouse?", self.name()))
        };
        self.all(statement, read)?.pop().ok_or_else(none)
    }

    /// What an error means. ClickHouse tells it in words, with a number
    /// (`src/Common/ErrorCodes.cpp`).
    fn understood(&self, error: HttpError) -> SourceError {
        let (status, told) = match error {
            HttpError::Failed(text) => return SourceError::Answer(text),
            HttpError::Status(status, told) => (status, told),
        };
        let code =
            told.strip_prefix("Code: ").and_then(|rest| rest.split('.').next()?.trim().parse::<u32>().ok());
        let (name, url) = (self.name(), &self.url);
        let text = match code {
            Some(60) => format!(
                "{name} has no such table: name it by clickhouse://HOST/DATABASE?table=NAME; the Collector's exporter \
                 makes otel_traces"
            ),
            Some(81) => format!("{name} has no such database: name it by clickhouse://HOST/DATABASE"),
            Some(192..=195 | 516) => format!(
                "{url} does not know this user or password: name the user by clickhouse://USER@HOST, and give the password \
                 by --source-password-file or TRACER_SOURCE_PASSWORD"
            ),
            Some(497) => format!("{url} forbids this user to read {}: {}", self.place(), first_line(&told)),
            Some(16 | 43 | 47) => format!(
                "{name} is no table as the Collector's exporter makes it (with columns of the type Map): {}",
                first_line(&told)
            ),
            Some(159 | 241 | 160) => format!(
                "{name} stopped at a limit of its own: ask for a shorter time, or raise the limit: {}",
                first_line(&told)
            ),
            Some(_) => format!("{name} refuses: {}", first_line(&told)),
            None => format!(
                "{url} answers with HTTP status {status}: is it ClickHouse's HTTP port (8123, or 8443 by TLS)? {}",
                first_line(&told)
            ),
        };
        SourceError::Answer(text.trim_end().to_owned())
    }

    fn place(&self) -> String {
        format!("{}.{}", self.database.as_str(), self.table.as_str())
    }

    fn chosen(&self, window: Window, one_of: u64) -> Traces<'_> {
        Traces { database: &self.database, table: &self.table, window, one_of }
    }

    /// What codes stand for: their places in the table.
    fn facts(
        &self,
        traces: &Traces<'_>,
        gathered: &mut Gathered,
    ) -> Result<HashMap<u64, u32, FxBuildHasher>, SourceError> {
        let mut codes = HashMap::default();
        self.rows(traces.facts(MOST_FACTS), Coded::read, |coded| {
            let resource = Arc::new(Resource { attributes: coded.resource, ..Resource::default() });
            let maker = gathered.facts.maker(&resource);
            let facts = Facts::new(&maker, &coded.name.into(), coded.kind, coded.status, &coded.attributes);
            codes.insert(coded.code, gathered.facts.code(facts));
            Ok(())
        })?;
        Ok(codes)
    }
}

impl Source for ClickHouse {
    fn name(&self) -> String {
        format!("{} in ClickHouse on {}", self.place(), self.url)
    }

    fn extent(&self) -> Result<Option<Window>, SourceError> {
        let statement = sql::extent(&self.database, &self.table);
        let (spans, first, last) =
            self.one(statement, |columns| Ok((columns.u64()?, columns.i64()?, columns.i64()?)))?;
        let us = |time_ns: i64| u64::try_from(time_ns).unwrap_or(0) / 1000;
        Ok((spans > 0).then(|| Window { start_unix_us: us(first), end_unix_us: us(last).saturating_add(1) }))
    }

    fn gather(&self, window: Window, max_spans: usize) -> Result<Gathered, SourceError> {
        let most = max_spans.min(MOST_SPANS);
        let count = |one_of| {
            self.one(self.chosen(window, one_of).count(), |columns| Ok((columns.u64()?, columns.u64()?)))
        };
        let (of_traces, spans) = count(1)?;
        let mut gathered = Gathered::default();
        if of_traces == 0 || most == 0 {
            gathered.omitted_traces = of_traces;
            return Ok(gathered);
        }
        // Spans that came since the count have room too.
        let room = (most + most / 16 + 1000).min(MOST_SPANS);
        let mut one_of = spans.div_ceil(most as u64).max(1);
        let mut rows = Vec::new();
        for _ in 0..MOST_TRIES {
            // Whole traces are chosen by their ids: how many spans these have is known after a count.
            if one_of == 1 || count(one_of)?.1 <= most as u64 {
                rows = self.all(self.chosen(window, one_of).rows(room + 1), Row::read)?;
                if rows.len() <= room {
                    break;
                }
                rows.clear();
            }
            one_of = one_of.saturating_add(one_of.div_ceil(4));
        }
        if rows.is_empty() {
            gathered.omitted_traces = of_traces;
            gathered.incomplete = Some(format!("no trace was taken: none has fewer than {most} spans"));
            return Ok(gathered);
        }
        let codes = self.facts(&self.chosen(window, one_of), &mut gathered)?;
        rows.sort_unstable_by_key(|row| (row.trace_id, row.start_ns, row.span_id));
        let mut unknown = 0_u64;
        for trace in rows.chunk_by(|one, other| one.trace_id == other.trace_id) {
            if trace[0].trace_id.0 == [0; 16] || trace.iter().any(|row| !codes.contains_key(&row.code)) {
                unknown += 1;
                continue;
            }
            gathered.rows.extend(trace.iter().filter_map(|row| {
                let facts = *codes.get(&row.code)?;
                let Row { span_id, parent, start_ns, end_ns, .. } = *row;
                Some(FactRow { span_id, parent, start_ns, end_ns, facts })
            }));
            gathered.end_trace(trace[0].trace_id);
        }
        gathered.omitted_traces = of_traces.saturating_sub(gathered.traces.len() as u64);
        if unknown > 0 {
            gathered.incomplete = Some(format!(
                "{unknown} traces were left out: they have no valid id, were deleted while they were read, or tell more than \
                 {MOST_FACTS} different things"
            ));
        }
        Ok(gathered)
    }

    fn traces(&self, ids: &[TraceId]) -> Result<Vec<Vec<Span>>, SourceError> {
        let mut found: HashMap<TraceId, Vec<Span>> = HashMap::new();
        for part in ids.chunks(MOST_IDS) {
            let mut spans = 0;
            let statement = sql::traces(&self.database, &self.table, part, MOST_TRACE_SPANS + 1);
            self.rows(statement, spans::read, |span| {
                spans += 1;
                if spans > MOST_TRACE_SPANS {
                    let text = format!(
                        "these traces have more than {MOST_TRACE_SPANS} spans: ask for fewer at once"
                    );
                    return Err(SourceError::Answer(text));
                }
                if let Some(span) = span {
                    found.entry(span.trace_id).or_default().push(span);
                }
                Ok(())
            })?;
        }
        Ok(ids.iter().map(|id| found.get(id).cloned().unwrap_or_default()).collect())
    }

    fn overview(&self, window: Window) -> Result<Option<Overview>, SourceError> {
        let traces = self.chosen(window, 1);
        let mut operations = self.all(traces.operations(), |columns| {
            let (service, name) = (columns.text()?, columns.text()?);
            let kind = spans::kind(&columns.text()?);
            let (peer, spans, errors) = (columns.text()?, columns.u64()?, columns.u64()?);
            let quantiles = columns.list(Columns::u64)?;
            let [p50_ns, p95_ns, p99_ns] = quantiles.try_into().map_err(|_| Stop::Wrong)?;
            Ok(OperationCount { service, name, kind, peer, spans, errors, p50_ns, p95_ns, p99_ns })
        })?;
        let mut minutes = self.all(traces.minutes(), |columns| {
            let start = u64::try_from(columns.i64()?).unwrap_or(0);
            Ok(MinuteCount {
                start_unix_us: start.saturating_mul(1_000_000),
                service: columns.text()?,
                spans: columns.u64()?,
                errors: columns.u64()?,
                p95_ns: columns.u64()?,
            })
        })?;
        let is_cut = operations.len() > MOST_COUNTS || minutes.len() > MOST_COUNTS;
        operations.truncate(MOST_COUNTS);
        minutes.truncate(MOST_COUNTS);
        Ok(Some(Overview { operations, minutes, is_cut }))
    }
}

/// The first line, shortened.
fn first_line(text: &str) -> String {
    const MOST: usize = 300;
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(MOST).collect()
}
