//! Spans out of ClickHouse's rows.

use std::sync::Arc;

use tracer_model::span::{
    Attribute, Event, Kind, Link, Resource, Scope, Span, SpanId, StatusCode, TraceId, Value,
};

use super::row_binary::{Columns, Stop};

/// A span without its facts.
pub(super) struct Row {
    pub(super) trace_id: TraceId,
    pub(super) span_id: u64,
    pub(super) parent: u64,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) code: u64,
}

impl Row {
    pub(super) fn read(columns: &mut Columns<'_>) -> Result<Self, Stop> {
        let (high, low) = (columns.u64()?, columns.u64()?);
        let (span_id, parent) = (columns.u64()?, columns.u64()?);
        let (start_ns, end_ns) = times(columns.i64()?, columns.i64()?);
        let id = u128::from(high) << 64 | u128::from(low);
        Ok(Self {
            trace_id: TraceId(id.to_be_bytes()),
            span_id,
            parent,
            start_ns,
            end_ns,
            code: columns.u64()?,
        })
    }
}

/// What a code of facts stands for.
pub(super) struct Coded {
    pub(super) code: u64,
    pub(super) resource: Vec<Attribute>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) status: StatusCode,
    pub(super) attributes: Vec<Attribute>,
}

impl Coded {
    pub(super) fn read(columns: &mut Columns<'_>) -> Result<Self, Stop> {
        let (code, service, name) = (columns.u64()?, columns.text()?, columns.text()?);
        let (kind, status) = (kind(&columns.text()?), status(&columns.text()?));
        let resource = of_service(&service, columns.map()?);
        Ok(Self { code, resource, name, kind, status, attributes: attributes(columns.map()?) })
    }
}

/// All of a span. None if it has no valid ids.
pub(super) fn read(columns: &mut Columns<'_>) -> Result<Option<Span>, Stop> {
    let trace_id = TraceId::parse(&columns.text()?);
    let span_id = SpanId::parse(&columns.text()?);
    let parent_span_id = SpanId::parse(&columns.text()?);
    let (trace_state, name) = (columns.text()?, columns.text()?);
    let kind = kind(&columns.text()?);
    let service = columns.text()?;
    let resource = Resource { attributes: of_service(&service, columns.map()?), ..Resource::default() };
    let scope = Scope { name: columns.text()?.into(), version: columns.text()?.into(), ..Scope::default() };
    let attributes = attributes(columns.map()?);
    let (start_unix_ns, end_unix_ns) = times(columns.i64()?, columns.i64()?);
    let status = status(&columns.text()?);
    let status_message = columns.text()?.into();
    let (events, links) = (events(columns)?, links(columns)?);
    let (Some(trace_id), Some(span_id)) = (trace_id, span_id) else { return Ok(None) };
    Ok(Some(Span {
        trace_id,
        span_id,
        parent_span_id,
        trace_state: trace_state.into(),
        flags: 0,
        name: name.into(),
        kind,
        start_unix_ns,
        end_unix_ns,
        attributes,
        dropped_attributes: 0,
        events,
        dropped_events: 0,
        links,
        dropped_links: 0,
        status,
        status_message,
        resource: Arc::new(resource),
        scope: Arc::new(scope),
    }))
}

fn events(columns: &mut Columns<'_>) -> Result<Vec<Event>, Stop> {
    let times = columns.list(Columns::i64)?;
    let names = columns.list(Columns::text)?;
    let maps = columns.list(Columns::map)?;
    let event = |((time, name), map): ((i64, String), _)| Event {
        time_unix_ns: u64::try_from(time).unwrap_or(0),
        name: name.into(),
        attributes: attributes(map),
        dropped_attributes: 0,
    };
    Ok(times.into_iter().zip(names).zip(maps).map(event).collect())
}

fn links(columns: &mut Columns<'_>) -> Result<Vec<Link>, Stop> {
    let traces = columns.list(Columns::text)?;
    let spans = columns.list(Columns::text)?;
    let states = columns.list(Columns::text)?;
    let maps = columns.list(Columns::map)?;
    let link = |(((trace, span), state), map): (((String, String), String), _)| {
        Some(Link {
            trace_id: TraceId::parse(&trace)?,
            span_id: SpanId::parse(&span)?,
            trace_state: state.into(),
            attributes: attributes(map),
            dropped_attributes: 0,
            flags: 0,
        })
    };
    Ok(traces.into_iter().zip(spans).zip(states).zip(maps).filter_map(link).collect())
}

/// Start and end. The exporter takes the end from the start: a span that ends before it begins has a negative duration.
fn times(start_ns: i64, duration_ns: i64) -> (u64, u64) {
    let from = |time: i64| u64::try_from(time).unwrap_or(0);
    (from(start_ns), from(start_ns.saturating_add(duration_ns)))
}

/// Both ways in which versions of the exporter write it.
pub(super) fn kind(text: &str) -> Kind {
    match text.strip_prefix("SPAN_KIND_").unwrap_or(text) {
        "Internal" | "INTERNAL" => Kind::Internal,
        "Server" | "SERVER" => Kind::Server,
        "Client" | "CLIENT" => Kind::Client,
        "Producer" | "PRODUCER" => Kind::Producer,
        "Consumer" | "CONSUMER" => Kind::Consumer,
        _ => Kind::Unspecified,
    }
}

fn status(text: &str) -> StatusCode {
    match text.strip_prefix("STATUS_CODE_").unwrap_or(text) {
        "Ok" | "OK" => StatusCode::Ok,
        "Error" | "ERROR" => StatusCode::Error,
        _ => StatusCode::Unset,
    }
}

/// Attributes of a resource. The column of the service is it, whatever the map says.
fn of_service(service: &str, map: Vec<(String, String)>) -> Vec<Attribute> {
    let mut all = vec![(Arc::from("service.name"), Value::Str(service.into()))];
    all.extend(attributes(map).into_iter().filter(|(name, _)| **name != *"service.name"));
    all
}

/// The exporter makes text of all values. Of those that are looked at as something else, it is made that again.
fn attributes(map: Vec<(String, String)>) -> Vec<Attribute> {
    let value = |name: &str, text: String| match name {
        "http.request.resend_count" | "http.resend_count" => {
            text.parse().map_or_else(|_| Value::Str(text.as_str().into()), Value::Int)
        }
        "tracer.http.end_unknown" => {
            text.parse().map_or_else(|_| Value::Str(text.as_str().into()), Value::Bool)
        }
        _ => Value::Str(text.into()),
    };
    map.into_iter()
        .map(|(name, text)| {
            let value = value(&name, text);
            (name.into(), value)
        })
        .collect()
}
