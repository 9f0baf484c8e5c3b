//! What the viewer's page tells of the agent in its process.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracer_model::answer::{Ability, AgentAnswer, AgentProcess, LedgerLine};
use tracer_viewer::AgentSource;

use super::{
    abilities::abilities,
    advice::advice,
    cost::Cost,
    listening::{Listening, Place},
    remedy::remedy,
};
use crate::agent::{
    RunningPrograms,
    status::{Count, ServiceStatus, StatusReport, StatusSource},
};

/// The agent in this process.
pub(super) struct ThisAgent {
    status: Arc<dyn StatusSource>,
    selectors: Vec<String>,
    programs: RunningPrograms,
    /// Looked at when a page asks for the first time.
    abilities: OnceLock<Vec<Ability>>,
    cost: Mutex<Cost>,
    listening: Mutex<Listening>,
}

impl ThisAgent {
    pub(super) fn new(
        status: Arc<dyn StatusSource>,
        selectors: Vec<String>,
        programs: RunningPrograms,
    ) -> Self {
        let (cost, listening) = (Mutex::new(Cost::new()), Mutex::default());
        Self { status, selectors, programs, abilities: OnceLock::new(), cost, listening }
    }
}

impl AgentSource for ThisAgent {
    fn answer(&self) -> AgentAnswer {
        let status = self.status.status();
        let shown = shown(&status);
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        let places = listening.of(alive(&shown));
        let nowhere = Place::default();
        let process =
            |service: &&ServiceStatus| process(service, places.get(&service.pid).unwrap_or(&nowhere));
        let mut cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        AgentAnswer {
            is_here: true,
            processes: shown.iter().map(process).collect(),
            selectors: self.selectors.clone(),
            cost: Some(cost.tell(status.events, status.events_ns)),
            losses: lines(&status.totals),
            abilities: self.abilities.get_or_init(|| abilities(&self.programs)).clone(),
        }
    }

    fn advice(&self) -> Vec<String> {
        let status = self.status.status();
        let shown = shown(&status);
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        advice(&shown, listening.of(alive(&shown)))
    }
}

/// Shell scripts leave many processes behind that have done nothing.
fn shown(status: &StatusReport) -> Vec<&ServiceStatus> {
    let is_shown = |service: &&ServiceStatus| service.processes > 0 || !service.counts.is_empty();
    status.services.iter().filter(is_shown).collect()
}

/// The processes of services that live.
fn alive<'a>(services: &'a [&ServiceStatus]) -> impl Iterator<Item = u32> + 'a {
    services.iter().filter(|service| service.processes > 0).map(|service| service.pid)
}

fn process(service: &ServiceStatus, place: &Place) -> AgentProcess {
    let exchanges = ["exchanges.paired", "exchanges.unanswered", "exchanges.open", "exchanges.one_way"];
    let exchanges: u64 = exchanges.iter().map(|name| count_of(&service.counts, name)).sum();
    let works_by: Vec<String> =
        service.profiles.iter().map(|profile| format!("{}: {}", profile.profile, profile.why)).collect();
    AgentProcess {
        pid: service.pid,
        service: service.name.to_string(),
        program: service.executable.to_string(),
        ports: place.ports.clone(),
        works_by: works_by.join("; "),
        server_requests: exchanges.saturating_sub(service.links.calls),
        client_requests: service.links.calls,
        linked: service.links.linked,
        injected: count_of(&service.counts, "headers.pushed")
            + count_of(&service.counts, "headers.forwarded"),
        losses: lines(&service.counts),
    }
}

/// What is missing, and why: what was seen as it should be is no line.
fn lines(counts: &[Count]) -> Vec<LedgerLine> {
    const SEEN: [&str; 12] = [
        "bytes.seen",
        "bytes.copied",
        "bytes.skipped",
        "connections.seen",
        "exchanges.paired",
        "exchanges.one_way",
        "links.made",
        "headers.pushed",
        "headers.forwarded",
        "headers.own",
        "spans.queued",
        "connections.tunnel",
    ];
    let missing = counts.iter().filter(|count| !SEEN.contains(&count.name.as_str()));
    missing
        .map(|count| LedgerLine {
            name: count.name.clone(),
            count: count.count,
            meaning: count.meaning.clone(),
            remedy: remedy(&count.name).to_owned(),
        })
        .collect()
}

fn count_of(counts: &[Count], name: &str) -> u64 {
    counts.iter().find(|count| count.name == name).map_or(0, |count| count.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Counter;

    #[test]
    fn the_page_is_told_of_requests_links_and_losses_and_what_can_be_done() {
        let counts = vec![
            Count::of(Counter::ExchangesPaired, 30),
            Count::of(Counter::LinksMade, 9),
            Count::of(Counter::LinksSeveral, 1),
            Count::of(Counter::ConnectionsTls, 2),
        ];
        let service = ServiceStatus {
            pid: 7,
            name: "shop".into(),
            processes: 1,
            links: crate::agent::status::LinksStatus { calls: 10, linked: 9, unlinked: Vec::new() },
            counts,
            ..ServiceStatus::default()
        };
        let report = StatusReport { services: vec![service], ..StatusReport::default() };
        let status: Arc<dyn StatusSource> = Arc::new(Mutex::new(report));
        let answer = ThisAgent::new(status, vec!["pid=7".to_owned()], RunningPrograms::default()).answer();
        let [process] = &answer.processes[..] else { panic!("{answer:?}") };
        assert_eq!((process.server_requests, process.client_requests, process.linked), (20, 10, 9));
        let names: Vec<&str> = process.losses.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["links.several", "connections.tls"]);
        assert!(answer.cost.is_some_and(|cost| cost.memory_bytes > 1 << 20));
        assert!(answer.abilities.iter().any(|ability| ability.name == "kernel"));
    }
}
