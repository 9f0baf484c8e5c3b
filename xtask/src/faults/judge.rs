//! What the analysis says of a recording: all that is known of its output stands here.

use std::{
    fmt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::scenarios::Finding;

/// One finding of `tracer report`.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) kind: String,
    pub(super) service: String,
    pub(super) operation: String,
    /// Services that call each other.
    pub(super) edge: Option<(String, String)>,
    pub(super) onset_us: Option<u64>,
    /// When a running agent found it.
    pub(super) detected_us: Option<u64>,
}

/// The judgement over one run. Times are microseconds since the fault began.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The report has the finding that was expected, or none if none was.
    pub(super) is_right: bool,
    /// Since when it is there, as the report says.
    pub(super) onset_us: Option<i64>,
    /// When the running agent found it.
    pub(super) detected_us: Option<i64>,
    /// What the report says besides.
    pub(super) false_findings: Vec<Found>,
    /// What the running agent said besides.
    pub(super) false_incidents: Vec<Found>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds =
            |us: Option<i64>| us.map_or("never".to_owned(), |us| format!("{:.1} s", us as f64 / 1e6));
        let (onset, detected) = (seconds(self.onset_us), seconds(self.detected_us));
        let word = if self.is_right { "right" } else { "WRONG" };
        write!(formatter, "{word}; onset after {onset}, detected after {detected}")?;
        for found in self.false_findings.iter().chain(&self.false_incidents) {
            write!(
                formatter,
                "\n  false: {} {} {} {:?}",
                found.kind, found.service, found.operation, found.edge
            )?;
        }
        Ok(())
    }
}

/// The findings in a file of spans; none if this `tracer` has no `report`.
pub(super) fn report(tracer: &Path, spans: &Path) -> Result<Option<Vec<Found>>> {
    let mut help = Command::new(tracer);
    help.args(["report", "--help"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !help.status().with_context(|| format!("cannot run {}", tracer.display()))?.success() {
        return Ok(None);
    }
    let output = Command::new(tracer).args(["report", "--json"]).arg(spans).output()?;
    // Its exit status tells whether there are findings.
    let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("`tracer report --json {}` ended with {}", spans.display(), output.status)
    })?;
    Ok(Some(answer["findings"].as_array().into_iter().flatten().map(found).collect()))
}

fn found(finding: &Value) -> Found {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let edge = &finding["edge"];
    Found {
        kind: text(&finding["kind"]),
        service: text(&finding["service"]),
        operation: text(&finding["operation"]),
        edge: edge.is_object().then(|| (text(&edge["from"]), text(&edge["to"]))),
        onset_us: finding["onset_unix_us"].as_u64(),
        detected_us: None,
    }
}

/// The incidents that a running agent has found, as its page tells them.
pub(super) fn incidents(answer: &Value) -> Vec<Found> {
    let of = |incident: &Value| Found {
        detected_us: incident["found_unix_us"].as_u64(),
        ..found(&incident["finding"])
    };
    answer["incidents"].as_array().into_iter().flatten().map(of).collect()
}

/// Compares what was found with what is expected: of the report's findings one must fit, and all others are false.
pub(super) fn judge(
    findings: Vec<Found>,
    incidents: Vec<Found>,
    expected: Option<&Finding>,
    began_us: u64,
) -> Verdict {
    let fits = |found: &Found| expected.is_some_and(|expected| fits(found, expected));
    let since = |first: Option<u64>| first.map(|first| signed(first).saturating_sub(signed(began_us)));
    let (right, false_findings): (Vec<_>, Vec<_>) = findings.into_iter().partition(fits);
    let (live, false_incidents): (Vec<_>, Vec<_>) = incidents.into_iter().partition(fits);
    Verdict {
        is_right: if expected.is_some() { !right.is_empty() } else { false_findings.is_empty() },
        onset_us: since(right.iter().filter_map(|found| found.onset_us).min()),
        detected_us: since(live.iter().filter_map(|found| found.detected_us).min()),
        false_findings,
        false_incidents,
    }
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

fn fits(found: &Found, expected: &Finding) -> bool {
    let edge = expected
        .edge
        .is_some_and(|(from, to)| found.edge.as_ref().is_some_and(|edge| (&*edge.0, &*edge.1) == (from, to)));
    let operation = expected.operations.is_empty()
        || found.operation.is_empty()
        || expected.operations.iter().any(|word| found.operation.contains(word));
    expected.kinds.contains(&&*found.kind) && (found.service == expected.service || edge) && operation
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EXPECTED: Finding = Finding {
        kinds: &["slower"],
        service: "stock",
        operations: &["level"],
        edge: Some(("shop", "stock")),
        says: "",
    };

    fn finding(kind: &str, service: &str, operation: &str, onset_us: u64) -> Found {
        found(&json!({
            "kind": kind, "service": service, "operation": operation, "edge": null, "onset_unix_us": onset_us,
        }))
    }

    #[test]
    fn the_injected_cause_is_right_and_the_rest_is_false() {
        let findings = vec![
            finding("slower", "stock", "GET /level/{id}", 3_000),
            finding("slower", "shop", "GET /item/{id}", 2_000),
            finding("errors", "stock", "GET /level/{id}", 2_000),
        ];
        let verdict = judge(findings, Vec::new(), Some(&EXPECTED), 1_000);
        assert_eq!(
            (verdict.is_right, verdict.onset_us, verdict.false_findings.len()),
            (true, Some(2_000), 2)
        );
        let other = vec![finding("slower", "stock", "GET /reserve/{id}", 500)];
        let verdict = judge(other, Vec::new(), Some(&EXPECTED), 1_000);
        assert_eq!((verdict.is_right, verdict.false_findings.len()), (false, 1));
    }

    #[test]
    fn an_edge_names_the_cause_too() {
        let found = found(&json!({
            "kind": "slower", "service": "shop", "edge": {"from": "shop", "to": "stock"}, "onset_unix_us": 500,
        }));
        let verdict = judge(vec![found], Vec::new(), Some(&EXPECTED), 1_000);
        assert_eq!((verdict.is_right, verdict.onset_us), (true, Some(-500)));
    }

    #[test]
    fn an_incident_tells_when_the_cause_was_detected() {
        let cause = json!({"kind": "slower", "service": "stock", "operation": "GET /level/{id}"});
        let other = json!({"kind": "errors", "service": "stock", "operation": "GET /level/{id}"});
        let live = incidents(&json!({"incidents": [
            {"found_unix_us": 9_000, "finding": cause}, {"found_unix_us": 4_000, "finding": other},
        ]}));
        let verdict = judge(Vec::new(), live, Some(&EXPECTED), 1_000);
        assert_eq!(
            (verdict.is_right, verdict.detected_us, verdict.false_incidents.len()),
            (false, Some(8_000), 1)
        );
    }

    #[test]
    fn without_a_fault_every_finding_is_false() {
        assert!(judge(Vec::new(), Vec::new(), None, 0).is_right);
        let verdict = judge(vec![finding("slower", "stock", "", 1)], Vec::new(), None, 0);
        assert_eq!((verdict.is_right, verdict.false_findings.len()), (false, 1));
    }
}
