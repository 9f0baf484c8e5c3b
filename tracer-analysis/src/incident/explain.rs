//! One finding for each cause: of findings that say the same in other words, the one that says most.

use crate::answer::{Finding, FindingKind};

/// Findings of one cause begin within this time of each other, microseconds.
const TOGETHER_US: u64 = 30_000_000;

/// Most texts of one kind that a finding takes over from others.
const MOST_TAKEN: usize = 8;

/// Puts findings of one cause together, the one that explains the others first. Sorted by onset.
pub fn explain(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| (std::cmp::Reverse(weight(finding.kind)), finding.onset_unix_us));
    let mut causes: Vec<Finding> = Vec::new();
    for finding in findings {
        match causes.iter_mut().find(|cause| explains(cause, &finding)) {
            Some(cause) => take(cause, finding),
            None => causes.push(finding),
        }
    }
    causes.sort_by(|one, other| {
        (one.onset_unix_us, &one.service, one.kind).cmp(&(other.onset_unix_us, &other.service, other.kind))
    });
    causes
}

/// How much a kind says of a cause: what it is weighs more than how it shows.
fn weight(kind: FindingKind) -> u8 {
    match kind {
        FindingKind::Unreachable | FindingKind::Stalled => 6,
        FindingKind::Regression => 5,
        FindingKind::RetryStorm => 4,
        FindingKind::RepeatedCalls => 3,
        FindingKind::Queueing => 2,
        FindingKind::Errors | FindingKind::Timeouts => 1,
        FindingKind::Slower => 0,
    }
}

/// Whether one finding is the cause of another, or the same.
fn explains(cause: &Finding, finding: &Finding) -> bool {
    overlap(cause, finding) && (is_of_same_place(cause, finding) || cause.services.contains(&finding.service))
}

/// Whether both were there at one time, or began at about the same time.
fn overlap(one: &Finding, other: &Finding) -> bool {
    let end = |finding: &Finding| finding.end_unix_us.unwrap_or(u64::MAX).saturating_add(TOGETHER_US);
    let begin = |finding: &Finding| finding.onset_unix_us.saturating_sub(TOGETHER_US);
    begin(one) <= end(other) && begin(other) <= end(one)
}

fn is_of_same_place(one: &Finding, other: &Finding) -> bool {
    let is_one_operation = match (&one.operation, &other.operation) {
        (Some(one), Some(other)) => one == other,
        // One that is about the whole service is about each operation.
        _ => true,
    };
    one.service == other.service && is_one_operation
}

/// Takes over what another finding of the same cause says.
fn take(cause: &mut Finding, finding: Finding) {
    // Before that, the cause was not known to be there.
    cause.onset_unix_us = cause.onset_unix_us.min(finding.onset_unix_us);
    cause.end_unix_us = match (cause.end_unix_us, finding.end_unix_us) {
        (Some(one), Some(other)) => Some(one.max(other)),
        _ => None,
    };
    cause.p_value = cause.p_value.min(finding.p_value);
    let add = |texts: &mut Vec<String>, more: Vec<String>| {
        for text in more {
            if texts.len() < MOST_TAKEN && !texts.contains(&text) {
                texts.push(text);
            }
        }
    };
    add(&mut cause.evidence, vec![finding.sentence]);
    add(&mut cause.evidence, finding.evidence);
    let services = finding.services.into_iter().filter(|service| *service != cause.service).collect();
    add(&mut cause.services, services);
    for exemplar in finding.exemplars {
        if cause.exemplars.len() < MOST_TAKEN && !cause.exemplars.contains(&exemplar) {
            cause.exemplars.push(exemplar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: FindingKind, service: &str, operation: Option<&str>, onset_s: u64) -> Finding {
        Finding {
            kind,
            service: service.to_owned(),
            operation: operation.map(str::to_owned),
            onset_unix_us: onset_s * 1_000_000,
            sentence: format!("{kind:?} of {service}"),
            p_value: 0.001,
            ..Finding::default()
        }
    }

    #[test]
    fn a_release_explains_that_its_operation_is_slower() {
        let slower = finding(FindingKind::Slower, "shop", Some("GET /"), 100);
        let release = finding(FindingKind::Regression, "shop", Some("GET /"), 105);
        let found = explain(vec![slower, release]);
        let [only] = found.as_slice() else { panic!("one, not {found:?}") };
        assert_eq!((only.kind, only.onset_unix_us), (FindingKind::Regression, 100_000_000));
        assert_eq!(only.evidence, ["Slower of shop"]);
    }

    #[test]
    fn a_cause_explains_what_it_does_to_services_that_it_names() {
        let dead = Finding {
            services: vec!["shop".to_owned()],
            ..finding(FindingKind::Unreachable, "prices", None, 100)
        };
        let errors = finding(FindingKind::Errors, "shop", Some("GET /"), 101);
        let other = finding(FindingKind::Slower, "mail", Some("POST /"), 101);
        let found = explain(vec![errors, other, dead]);
        let told: Vec<_> = found.iter().map(|finding| (finding.kind, finding.service.as_str())).collect();
        assert_eq!(told, [(FindingKind::Unreachable, "prices"), (FindingKind::Slower, "mail")]);
    }

    #[test]
    fn what_happens_at_another_time_or_in_another_operation_is_another_cause() {
        let first = Finding {
            end_unix_us: Some(110_000_000),
            ..finding(FindingKind::Slower, "shop", Some("GET /"), 100)
        };
        let later = finding(FindingKind::Slower, "shop", Some("GET /"), 200);
        let beside = finding(FindingKind::Errors, "shop", Some("POST /"), 100);
        assert_eq!(explain(vec![first, later, beside]).len(), 3);
    }
}
