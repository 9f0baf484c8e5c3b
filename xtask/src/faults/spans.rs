//! Recorded spans, as far as the checks of a fault need them.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::Value;

/// OTLP's numbers of kinds.
const SERVER: i64 = 2;
const CLIENT: i64 = 3;

#[derive(Debug, Clone, Default)]
pub(super) struct Span {
    pub(super) service: String,
    pub(super) version: String,
    pub(super) name: String,
    pub(super) server: bool,
    pub(super) client: bool,
    pub(super) begin_us: u64,
    pub(super) end_us: u64,
    pub(super) error: bool,
    id: String,
    parent: String,
}

impl Span {
    pub(super) fn ms(&self) -> f64 {
        self.end_us.saturating_sub(self.begin_us) as f64 / 1e3
    }
}

/// The spans of a file of OTLP JSON lines. The last line may be cut.
pub(super) fn read(path: &Path) -> Result<Vec<Span>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut spans = Vec::new();
    for line in BufReader::new(file).lines() {
        if let Ok(request) = serde_json::from_str::<Value>(&line?) {
            add(&request, &mut spans);
        }
    }
    Ok(spans)
}

fn add(request: &Value, spans: &mut Vec<Span>) {
    for group in list(&request["resourceSpans"]) {
        let resource = |name| attribute(&group["resource"], name).as_str().unwrap_or_default().to_owned();
        for span in list(&group["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
            let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
            let us = |name: &str| text(name).parse::<u64>().unwrap_or_default() / 1_000;
            spans.push(Span {
                service: resource("service.name"),
                version: resource("service.version"),
                name: text("name"),
                server: span["kind"] == SERVER,
                client: span["kind"] == CLIENT,
                begin_us: us("startTimeUnixNano"),
                end_us: us("endTimeUnixNano"),
                error: span["status"]["code"] == 2,
                id: text("spanId"),
                parent: text("parentSpanId"),
            });
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn attribute<'a>(of: &'a Value, name: &str) -> &'a Value {
    let found = list(&of["attributes"]).iter().find(|attribute| attribute["key"] == name);
    found.map_or(&Value::Null, |attribute| &attribute["value"]["stringValue"])
}

/// The server spans of calls from one service to another.
pub(super) fn calls<'a>(spans: &'a [Span], from: &str, to: &str) -> Vec<&'a Span> {
    let clients: HashMap<&str, &Span> = spans
        .iter()
        .filter(|span| span.client && span.service == from)
        .map(|span| (&*span.id, span))
        .collect();
    spans
        .iter()
        .filter(|span| span.server && span.service == to && clients.contains_key(&*span.parent))
        .collect()
}

/// The middle of these numbers.
pub(super) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_otlp_json_becomes_spans() {
        let request = serde_json::json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "stock"}}]},
            "scopeSpans": [{"spans": [{"kind": 2, "name": "GET /level/{id}", "spanId": "ab", "parentSpanId": "cd",
                "startTimeUnixNano": "5000000", "endTimeUnixNano": "7500000", "status": {"code": 2}}]}]}]});
        let mut spans = Vec::new();
        add(&request, &mut spans);
        let span = &spans[0];
        assert_eq!((&*span.service, &*span.name, span.ms()), ("stock", "GET /level/{id}", 2.5));
        assert!(span.server && span.error && span.parent == "cd");
        add(&Value::Null, &mut spans);
        assert_eq!(spans.len(), 1);
    }
}
