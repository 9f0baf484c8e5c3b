//! An incident as a log record of OTLP: an event, as OpenTelemetry's conventions call it.

use serde_json::{Value, json};
use tracer_analysis::{answer::Finding, incident::Change};

/// Severity numbers of OTLP.
const WARN: u8 = 13;
const INFO: u8 = 9;

/// One `ExportLogsServiceRequest` in JSON.
pub(super) fn encode(change: &Change) -> Vec<u8> {
    let incident = change.incident();
    let finding = &incident.finding;
    let (severity, name) = match change {
        Change::Ended(_) => (INFO, "INFO"),
        _ => (WARN, "WARN"),
    };
    let time_ns = |unix_us: u64| unix_us.saturating_mul(1000).to_string();
    let mut attributes = vec![
        attribute("tracer.incident.number", &incident.number.to_string()),
        attribute("tracer.incident.event", change.name()),
        attribute("tracer.incident.kind", &kind(finding)),
        attribute("tracer.incident.service", &finding.service),
    ];
    attributes.extend(
        finding.operation.as_deref().map(|operation| attribute("tracer.incident.operation", operation)),
    );
    let exemplar = finding.exemplars.first();
    let record = json!({
        "timeUnixNano": time_ns(finding.onset_unix_us),
        "observedTimeUnixNano": time_ns(incident.found_unix_us),
        "severityNumber": severity,
        "severityText": name,
        "eventName": format!("tracer.incident.{}", change.name()),
        "body": {"stringValue": finding.sentence},
        "attributes": attributes,
        "traceId": exemplar.map(|exemplar| exemplar.trace_id.as_str()).unwrap_or_default(),
        "spanId": exemplar.and_then(|exemplar| exemplar.span_id.as_deref()).unwrap_or_default(),
    });
    let scope = json!({"name": "tracer", "version": env!("CARGO_PKG_VERSION")});
    let resource = json!({"attributes": [attribute("service.name", "tracer")]});
    json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": [record]}]}]})
        .to_string()
        .into_bytes()
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn kind(finding: &Finding) -> String {
    serde_json::to_value(finding.kind)
        .ok()
        .and_then(|kind| Some(kind.as_str()?.to_owned()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tracer_analysis::{
        answer::{Exemplar, FindingKind},
        incident::Incident,
    };

    use super::*;

    #[test]
    fn an_incident_is_an_event_with_its_trace() {
        let finding = Finding {
            kind: FindingKind::RetryStorm,
            sentence: "a storm".to_owned(),
            service: "shop".to_owned(),
            onset_unix_us: 1_700_000_000_000_000,
            exemplars: vec![Exemplar { trace_id: "0123".to_owned(), ..Exemplar::default() }],
            ..Finding::default()
        };
        let change = Change::Ended(Incident { number: 3, finding, ..Incident::default() });
        let request: Value = serde_json::from_slice(&encode(&change)).expect("JSON");
        let record = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["timeUnixNano"], "1700000000000000000");
        assert_eq!(
            (&record["eventName"], &record["severityText"]),
            (&json!("tracer.incident.ended"), &json!("INFO"))
        );
        assert_eq!((&record["body"]["stringValue"], &record["traceId"]), (&json!("a storm"), &json!("0123")));
        let attributes = record["attributes"].as_array().expect("a list");
        assert!(attributes.contains(&attribute("tracer.incident.kind", "retry_storm")), "{attributes:?}");
    }
}
