//! What the agent costs.

#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    fs,
    time::{Duration, Instant},
};

use tracer_model::answer::AgentCost;

use crate::clock;

/// The time over which the cost is told.
const COST_OVER: Duration = Duration::from_secs(60);

/// What was spent and done until a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    /// Processor time of this process.
    process_ns: u64,
    /// Events that were read from the kernel.
    events: u64,
    /// Processor time that reading and following them took.
    events_ns: u64,
}

/// The cost over the last minute.
pub(super) struct Cost {
    samples: VecDeque<Sample>,
}

impl Cost {
    /// Begins now.
    pub(super) fn new() -> Self {
        let begin = Sample { at: Instant::now(), process_ns: clock::process_ns(), events: 0, events_ns: 0 };
        Self { samples: VecDeque::from([begin]) }
    }

    /// The cost until now, when so many events were read in so much processor time.
    pub(super) fn tell(&mut self, events: u64, events_ns: u64) -> AgentCost {
        self.tell_at(Sample { at: Instant::now(), process_ns: clock::process_ns(), events, events_ns })
    }

    fn tell_at(&mut self, now: Sample) -> AgentCost {
        let samples = &mut self.samples;
        while samples.len() > 1 && samples.get(1).is_some_and(|sample| now.at - sample.at >= COST_OVER) {
            samples.pop_front();
        }
        // The page asks again and again: a sample for each second is enough.
        if samples.back().is_none_or(|sample| now.at - sample.at >= Duration::from_secs(1)) {
            samples.push_back(now);
        }
        let since = samples.front().copied().unwrap_or(now);
        let seconds = (now.at - since.at).as_secs_f64();
        let used = now.process_ns.saturating_sub(since.process_ns);
        let read = now.events.saturating_sub(since.events);
        let read_ns = now.events_ns.saturating_sub(since.events_ns);
        AgentCost {
            cpu: if seconds > 0.0 { used as f64 / 1e9 / seconds } else { 0.0 },
            memory_bytes: resident_bytes(),
            events_per_second: if seconds > 0.0 { read as f64 / seconds } else { 0.0 },
            ns_per_event: if read > 0 { read_ns as f64 / read as f64 } else { 0.0 },
        }
    }
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

    #[test]
    fn an_event_costs_what_its_own_path_took_and_the_share_is_of_all() {
        let begin = Instant::now();
        let sample = |seconds, process_ms: u64, events, events_ns| Sample {
            at: begin + Duration::from_secs(seconds),
            process_ns: process_ms * 1_000_000,
            events,
            events_ns,
        };
        let mut cost = Cost { samples: VecDeque::from([sample(0, 100, 0, 0)]) };
        let told = cost.tell_at(sample(10, 1_100, 1_000, 3_000_000));
        assert_eq!((told.cpu, told.events_per_second, told.ns_per_event), (0.1, 100.0, 3_000.0));
        assert!(told.memory_bytes > 1 << 20);
        // After a minute, what was before is told no more.
        let told = cost.tell_at(sample(70, 1_700, 1_000, 3_000_000));
        assert_eq!((told.cpu, told.events_per_second, told.ns_per_event), (0.01, 0.0, 0.0));
    }
}
