//! What the viewer's page tells of the agent in its process.

#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tracer_model::answer::{Ability, AgentAnswer, AgentCost, AgentProcess, LedgerLine};
use tracer_viewer::AgentSource;

use super::remedy::remedy;
use crate::agent::status::{Count, ServiceStatus, StatusReport, StatusSource};

/// The time over which the cost is told.
const COST_OVER: Duration = Duration::from_secs(60);

/// The agent in this process.
pub(super) struct ThisAgent {
    status: Arc<dyn StatusSource>,
    selectors: Vec<String>,
    /// Times, processor times of this process and events that were read by then.
    samples: Mutex<VecDeque<(Instant, Duration, u64)>>,
}

impl ThisAgent {
    pub(super) fn new(status: Arc<dyn StatusSource>, selectors: Vec<String>) -> Self {
        let samples = Mutex::new(VecDeque::from([(Instant::now(), processor_time(), 0)]));
        Self { status, selectors, samples }
    }

    fn cost(&self, events: u64) -> AgentCost {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (Instant::now(), processor_time(), events);
        while samples.len() > 1 && samples.get(1).is_some_and(|(at, ..)| now.0 - *at >= COST_OVER) {
            samples.pop_front();
        }
        // The page asks again and again: a sample for each second is enough.
        if samples.back().is_none_or(|(at, ..)| now.0 - *at >= Duration::from_secs(1)) {
            samples.push_back(now);
        }
        let (since, used, read) = samples.front().copied().unwrap_or(now);
        let seconds = (now.0 - since).as_secs_f64();
        let used = now.1.saturating_sub(used);
        let read = events.saturating_sub(read);
        AgentCost {
            cpu: if seconds > 0.0 { used.as_secs_f64() / seconds } else { 0.0 },
            memory_bytes: resident_bytes(),
            events_per_second: if seconds > 0.0 { read as f64 / seconds } else { 0.0 },
            ns_per_event: if read > 0 { used.as_nanos() as f64 / read as f64 } else { 0.0 },
        }
    }
}

impl AgentSource for ThisAgent {
    fn answer(&self) -> AgentAnswer {
        let status = self.status.status();
        AgentAnswer {
            is_here: true,
            processes: status.services.iter().filter(|service| is_shown(service)).map(process).collect(),
            selectors: self.selectors.clone(),
            cost: Some(self.cost(status.events)),
            losses: lines(&status.totals),
            abilities: abilities(&status),
        }
    }
}

/// Shell scripts leave many processes behind that have done nothing.
fn is_shown(service: &ServiceStatus) -> bool {
    service.processes > 0 || !service.counts.is_empty()
}

fn process(service: &ServiceStatus) -> AgentProcess {
    let exchanges = ["exchanges.paired", "exchanges.unanswered", "exchanges.open", "exchanges.one_way"];
    let exchanges: u64 = exchanges.iter().map(|name| count_of(&service.counts, name)).sum();
    let works_by: Vec<String> =
        service.profiles.iter().map(|profile| format!("{}: {}", profile.profile, profile.why)).collect();
    AgentProcess {
        pid: service.pid,
        service: service.name.to_string(),
        program: service.executable.to_string(),
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

fn abilities(status: &StatusReport) -> Vec<Ability> {
    let told = |name: &str, is_there, detail: &str| Ability {
        name: name.to_owned(),
        is_there,
        detail: detail.to_owned(),
    };
    vec![
        told("Linux", true, &status.kernel),
        told(
            "times of sends",
            status.sees_sends_before,
            if status.sees_sends_before {
                "a send is seen before its bytes leave"
            } else {
                "a send is seen after its bytes have left (before Linux 6.16): its time is bounded by the receive"
            },
        ),
        told(
            "trace headers",
            status.adds_headers,
            if status.adds_headers {
                "added to requests where that is safe"
            } else {
                "off (propagation.mode)"
            },
        ),
    ]
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Resident memory of this process; 0 if that cannot be read.
fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()));
    pages.unwrap_or(0) * rustix::param::page_size() as u64
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
        let answer = ThisAgent::new(status, vec!["pid=7".to_owned()]).answer();
        let [process] = &answer.processes[..] else { panic!("{answer:?}") };
        assert_eq!((process.server_requests, process.client_requests, process.linked), (20, 10, 9));
        let names: Vec<&str> = process.losses.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["links.several", "connections.tls"]);
        assert!(answer.cost.is_some_and(|cost| cost.memory_bytes > 1 << 20));
    }
}
