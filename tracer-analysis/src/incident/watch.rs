//! Incidents over time: what is found again and again is one, and ends by itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tracer_model::answer::Window;
use utoipa::ToSchema;

use super::explain::explain;
use crate::answer::{EdgeName, Finding, FindingKind};

/// An incident: a finding that lasts, or has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// Its number, from 1 on, in this process.
    pub number: u64,
    /// Whether it goes on.
    pub state: IncidentState,
    /// When it was found.
    pub found_unix_us: u64,
    /// When it was last there.
    pub seen_unix_us: u64,
    /// What is known of it.
    pub finding: Finding,
}

/// Answer to `GET /api/tracer/analysis/incidents`: what was found in what comes in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IncidentsAnswer {
    /// Whether faults are looked for.
    pub is_watching: bool,
    /// Incidents, those that were found last first.
    pub incidents: Vec<Incident>,
    /// Incidents that were not told to have opened, or opened again, since there were too many in an hour.
    pub suppressed: u64,
    /// How often it was looked.
    pub rounds: u64,
    /// Up to when spans were looked at the last time; 0 before the first time.
    pub last_round_unix_us: u64,
    /// How long that took.
    pub last_round_ns: u64,
}

/// Whether an incident goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// It goes on.
    #[default]
    Open,
    /// It has ended.
    Ended,
}

/// What became of an incident in a round.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It was found for the first time.
    Opened(Incident),
    /// It had ended, and goes on.
    Reopened(Incident),
    /// It has ended.
    Ended(Incident),
}

impl Change {
    /// What it is called: `opened`, `reopened` or `ended`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opened(_) => "opened",
            Self::Reopened(_) => "reopened",
            Self::Ended(_) => "ended",
        }
    }

    /// The incident.
    pub fn incident(&self) -> &Incident {
        match self {
            Self::Opened(incident) | Self::Reopened(incident) | Self::Ended(incident) => incident,
        }
    }
}

/// Bounds of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time that is looked at in each round, microseconds: a change is told by what was before it.
    pub window_us: u64,
    /// The same at most, while an incident is open whose onset must stay in sight.
    pub max_window_us: u64,
    /// An incident that is not found for so long has ended, microseconds.
    pub quiet_us: u64,
    /// Incidents that are opened, or opened again, in an hour. Those beyond are counted.
    pub per_hour: usize,
    /// Incidents that are kept after their ends.
    pub kept: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MINUTE_US: u64 = 60_000_000;
        Self {
            window_us: 30 * MINUTE_US,
            max_window_us: 180 * MINUTE_US,
            quiet_us: 2 * MINUTE_US,
            per_hour: 20,
            kept: 100,
        }
    }
}

/// Time that must be in sight before an incident's onset, to tell the change.
const BEFORE_US: u64 = 10 * 60 * 1_000_000;

const HOUR_US: u64 = 3_600_000_000;

/// Follows incidents from round to round.
#[derive(Debug, Default)]
pub struct Watch {
    limits: Limits,
    /// Open ones, and those that ended lately, in the order in which they were found.
    incidents: Vec<Incident>,
    last_number: u64,
    /// Openings that were not told since there were too many.
    suppressed: u64,
    /// Findings of the last round that were not told.
    held_back: Vec<Finding>,
    /// When incidents were opened, and opened again, in the last hour.
    openings_us: Vec<u64>,
    /// Incidents that were opened again without being told.
    silent: BTreeSet<u64>,
}

impl Watch {
    /// A watch that knows of nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The incidents, in the order in which they were found.
    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    /// Whether any incident goes on.
    pub fn has_open(&self) -> bool {
        self.incidents.iter().any(|incident| incident.state == IncidentState::Open)
    }

    /// Incidents that were not told to have opened, or opened again, since there were too many in an hour.
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// The time to look at in a round.
    pub fn window(&self, now_us: u64) -> Window {
        let open = self.incidents.iter().filter(|incident| incident.state == IncidentState::Open);
        let onset = open.map(|incident| incident.finding.onset_unix_us.saturating_sub(BEFORE_US)).min();
        let usual = now_us.saturating_sub(self.limits.window_us);
        let first = now_us.saturating_sub(self.limits.max_window_us);
        Window {
            start_unix_us: onset.map_or(usual, |onset| onset.min(usual)).max(first),
            end_unix_us: now_us.saturating_add(1),
        }
    }

    /// Takes what a round found. Tells what opened and what ended.
    pub fn round(&mut self, now_us: u64, findings: Vec<Finding>) -> Vec<Change> {
        let mut changes = Vec::new();
        self.openings_us.retain(|at_us| at_us.saturating_add(HOUR_US) > now_us);
        let held_before = std::mem::take(&mut self.held_back);
        for finding in explain(findings) {
            let is_over =
                finding.end_unix_us.is_some_and(|end| end.saturating_add(self.limits.quiet_us) <= now_us);
            let known = self.incidents.iter_mut().rev().find(|incident| is_same(&incident.finding, &finding));
            if let Some(incident) = known {
                let had_ended = incident.state == IncidentState::Ended;
                if had_ended && finding.end_unix_us.is_some() {
                    continue;
                }
                incident.seen_unix_us = finding.end_unix_us.unwrap_or(now_us).max(incident.seen_unix_us);
                // What was told once stays: the onset moves out of sight when an incident lasts.
                let onset_unix_us = incident.finding.onset_unix_us.min(finding.onset_unix_us);
                incident.finding = Finding { onset_unix_us, ..finding };
                if is_over {
                    incident.state = IncidentState::Ended;
                    if !self.silent.remove(&incident.number) {
                        changes.push(Change::Ended(incident.clone()));
                    }
                } else if had_ended {
                    incident.state = IncidentState::Open;
                    if self.openings_us.len() < self.limits.per_hour {
                        self.openings_us.push(now_us);
                        changes.push(Change::Reopened(incident.clone()));
                    } else {
                        self.suppressed += 1;
                        self.silent.insert(incident.number);
                    }
                }
                continue;
            }
            if self.openings_us.len() >= self.limits.per_hour {
                self.suppressed += u64::from(!held_before.iter().any(|held| is_same(held, &finding)));
                self.held_back.push(finding);
                continue;
            }
            self.openings_us.push(now_us);
            self.last_number += 1;
            let incident = Incident {
                number: self.last_number,
                state: if is_over { IncidentState::Ended } else { IncidentState::Open },
                found_unix_us: now_us,
                seen_unix_us: finding.end_unix_us.unwrap_or(now_us),
                finding,
            };
            changes.push(Change::Opened(incident.clone()));
            if is_over {
                changes.push(Change::Ended(incident.clone()));
            }
            self.incidents.push(incident);
        }
        for incident in &mut self.incidents {
            let is_quiet = incident.seen_unix_us.saturating_add(self.limits.quiet_us) <= now_us;
            if incident.state == IncidentState::Open && is_quiet {
                incident.state = IncidentState::Ended;
                incident.finding.end_unix_us.get_or_insert(incident.seen_unix_us);
                if !self.silent.remove(&incident.number) {
                    changes.push(Change::Ended(incident.clone()));
                }
            }
        }
        self.forget();
        changes
    }

    fn forget(&mut self) {
        let ended = self.incidents.iter().filter(|incident| incident.state == IncidentState::Ended).count();
        let mut surplus = ended.saturating_sub(self.limits.kept);
        self.incidents.retain(|incident| {
            let goes = surplus > 0 && incident.state == IncidentState::Ended;
            surplus -= usize::from(goes);
            !goes
        });
    }
}

/// Whether two findings are of one incident.
fn is_same(one: &Finding, other: &Finding) -> bool {
    let place = |finding: &Finding| -> (String, Option<String>, Option<EdgeName>) {
        (finding.service.clone(), finding.operation.clone(), finding.edge.clone())
    };
    let end = |finding: &Finding| finding.end_unix_us.unwrap_or(u64::MAX);
    let is_at_one_time = one.onset_unix_us <= end(other) && other.onset_unix_us <= end(one);
    // How a cause shows may change while it lasts.
    let is_symptom = |kind| {
        matches!(
            kind,
            FindingKind::Slower | FindingKind::Errors | FindingKind::Timeouts | FindingKind::Queueing
        )
    };
    let is_one_kind = one.kind == other.kind || is_symptom(one.kind) && is_symptom(other.kind);
    is_one_kind
        && is_at_one_time
        && (place(one) == place(other) || one.service == other.service && is_symptom(one.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn slower(service: &str, onset_s: u64, end_s: Option<u64>) -> Finding {
        Finding {
            kind: FindingKind::Slower,
            service: service.to_owned(),
            operation: Some("GET /".to_owned()),
            onset_unix_us: onset_s * S,
            end_unix_us: end_s.map(|end| end * S),
            ..Finding::default()
        }
    }

    fn told(changes: &[Change]) -> Vec<(&'static str, u64)> {
        let each = changes.iter().map(|change| match change {
            Change::Opened(incident) => ("opened", incident.number),
            Change::Reopened(incident) => ("reopened", incident.number),
            Change::Ended(incident) => ("ended", incident.number),
        });
        each.collect()
    }

    #[test]
    fn what_is_found_again_is_one_incident_and_ends_when_it_is_quiet() {
        let mut watch = Watch::new(Limits::default());
        assert_eq!(told(&watch.round(1000 * S, vec![slower("shop", 990, None)])), [("opened", 1)]);
        assert_eq!(told(&watch.round(1010 * S, vec![slower("shop", 995, None)])), []);
        let incident = &watch.incidents()[0];
        assert_eq!((incident.finding.onset_unix_us, incident.seen_unix_us), (990 * S, 1010 * S));
        assert_eq!(told(&watch.round(1100 * S, Vec::new())), []);
        assert_eq!(told(&watch.round(1130 * S, Vec::new())), [("ended", 1)]);
        assert_eq!(watch.incidents()[0].finding.end_unix_us, Some(1010 * S));
        // It was still there, and seen too late.
        assert_eq!(told(&watch.round(1150 * S, vec![slower("shop", 990, None)])), [("reopened", 1)]);
        assert_eq!(told(&watch.round(1180 * S, vec![slower("shop", 990, Some(1040))])), [("ended", 1)]);
        // It begins anew.
        assert_eq!(told(&watch.round(1200 * S, vec![slower("shop", 1195, None)])), [("opened", 2)]);
    }

    #[test]
    fn one_that_is_over_is_told_once() {
        let mut watch = Watch::new(Limits::default());
        let over = || vec![slower("shop", 100, Some(200))];
        assert_eq!(told(&watch.round(1000 * S, over())), [("opened", 1), ("ended", 1)]);
        assert_eq!(told(&watch.round(1010 * S, over())), []);
    }

    #[test]
    fn how_a_cause_shows_may_change() {
        let mut watch = Watch::new(Limits::default());
        watch.round(1000 * S, vec![slower("shop", 990, None)]);
        let errors = Finding { kind: FindingKind::Errors, ..slower("shop", 992, None) };
        assert_eq!(told(&watch.round(1010 * S, vec![errors])), []);
        assert_eq!(watch.incidents()[0].finding.kind, FindingKind::Errors);
    }

    #[test]
    fn the_onset_of_an_open_incident_stays_in_sight_within_bounds() {
        let mut watch = Watch::new(Limits::default());
        let start_s = |watch: &Watch, now_s: u64| watch.window(now_s * S).start_unix_us / S;
        assert_eq!(start_s(&watch, 10_000), 10_000 - 1800);
        watch.round(10_000 * S, vec![slower("shop", 9_990, None)]);
        assert_eq!(start_s(&watch, 12_000), 9_990 - 600);
        assert_eq!(start_s(&watch, 40_000), 40_000 - 10_800);
    }

    #[test]
    fn too_many_in_an_hour_are_counted_and_old_ones_forgotten() {
        let mut watch = Watch::new(Limits { per_hour: 3, kept: 2, ..Limits::default() });
        let many = (0..5).map(|at| slower(&format!("s{at}"), 100, Some(200))).collect();
        assert_eq!(watch.round(1000 * S, many).len(), 6);
        assert_eq!((watch.suppressed(), watch.incidents().len()), (2, 2));
    }

    #[test]
    fn one_that_is_held_back_is_counted_once() {
        let mut watch = Watch::new(Limits { per_hour: 1, ..Limits::default() });
        let found = || vec![slower("one", 900, None), slower("other", 900, None)];
        for round in 0..5 {
            watch.round((1000 + 10 * round) * S, found());
        }
        assert_eq!((watch.suppressed(), watch.incidents().len()), (1, 1));
        // In another hour there is room.
        assert_eq!(told(&watch.round(4700 * S, found())), [("opened", 2)]);
    }

    #[test]
    fn one_that_comes_and_goes_is_told_so_often_at_most() {
        let mut watch = Watch::new(Limits { per_hour: 3, ..Limits::default() });
        let mut messages = Vec::new();
        for turn in 0..10 {
            messages.extend(told(&watch.round((1000 + 200 * turn) * S, vec![slower("shop", 990, None)])));
            messages.extend(told(&watch.round((1150 + 200 * turn) * S, Vec::new())));
        }
        let count = |name| messages.iter().filter(|(message, _)| *message == name).count();
        assert_eq!((count("opened"), count("reopened"), count("ended")), (1, 2, 3));
        assert_eq!(watch.suppressed(), 7);
    }
}
