//! What the agent says of itself, and how a person reads it.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{count::Count, links::LinksStatus};
use crate::{
    outside::{OutsideText, escaped},
    sink::otlp::ExportStatistics,
};

/// What the agent says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct StatusReport {
    /// Version of the agent.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether sends are seen before their bytes leave.
    pub sees_sends_before: bool,
    /// Whether requests of traced processes get trace headers.
    pub adds_headers: bool,
    /// Records that were read from the kernel.
    pub events: u64,
    /// Processor time that reading and following them took, nanoseconds; measured only if there is a viewer to tell it.
    pub events_ns: u64,
    /// Selected processes that live.
    pub processes_alive: usize,
    /// Connections that are followed.
    pub connections: usize,
    /// Service instances.
    pub services: Vec<ServiceStatus>,
    /// Sums over all of them, and what belongs to none.
    pub totals: Vec<Count>,
    /// The exporter's account; none if nothing is exported.
    pub export: Option<ExportStatistics>,
}

/// A service instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct ServiceStatus {
    /// First process of it; 0 for all processes of a service together that ended a while ago.
    pub pid: u32,
    /// `service.name`.
    pub name: OutsideText,
    /// Executable.
    pub executable: OutsideText,
    /// Its processes that live, workers included.
    pub processes: usize,
    /// How they work for requests, each way once.
    pub profiles: Vec<ProfileStatus>,
    /// Which of its calls have a parent.
    pub links: LinksStatus,
    /// Its part of the ledger.
    pub counts: Vec<Count>,
}

/// How processes work for requests: what decides which of their calls are linked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct ProfileStatus {
    /// `threads`, `proxy` or `unknown`.
    pub profile: String,
    /// What it is known from, or why it is not.
    pub why: String,
    /// Processes that work so.
    pub processes: usize,
}

impl std::fmt::Display for StatusReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "tracer {} (process {}), up {} s, Linux {}",
            self.version, self.pid, self.uptime_seconds, self.kernel
        )?;
        // Services whose processes have ended are told below, for their counts. Several instances are one service.
        let alive = self.services.iter().filter(|service| service.processes > 0);
        let services = alive.map(|service| &service.name).collect::<HashSet<_>>().len();
        writeln!(
            f,
            "{}, {}, {}",
            counted(self.processes_alive as u64, "process", "processes"),
            counted(services as u64, "service", "services"),
            counted(self.connections as u64, "connection", "connections")
        )?;
        // Shell scripts leave many behind that have done nothing.
        let is_shown = |service: &&ServiceStatus| service.processes > 0 || !service.counts.is_empty();
        for service in self.services.iter().filter(is_shown) {
            match service.pid {
                0 => writeln!(f, "\n{} (processes that have ended)", service.name)?,
                pid => writeln!(
                    f,
                    "\n{} (process {pid}, {}; {} alive)",
                    service.name, service.executable, service.processes
                )?,
            }
            for ProfileStatus { profile, why, processes } in &service.profiles {
                let of = if service.processes > 1 { format!(", {processes} of them") } else { String::new() };
                match profile.as_str() {
                    "unknown" => writeln!(f, "  profile: unknown: {why}{of}")?,
                    _ => writeln!(f, "  profile: {profile} ({why}){of}")?,
                }
            }
            write!(f, "{}", service.links)?;
            for count in service.counts.iter().filter(|count| !LinksStatus::tells(count)) {
                writeln!(f, "{count}")?;
            }
        }
        if !self.totals.is_empty() {
            writeln!(f, "\nAll together")?;
        }
        for count in &self.totals {
            writeln!(f, "{count}")?;
        }
        match &self.export {
            None => writeln!(
                f,
                "\nNothing is exported: no OTLP endpoint is configured, or the export is turned off."
            ),
            Some(export) => {
                writeln!(
                    f,
                    "\nExport: {} in all, {} sent, {} rejected, {} dropped, {} waiting, {}",
                    counted(export.queued, "span", "spans"),
                    export.sent,
                    export.rejected,
                    export.dropped(),
                    export.in_queue,
                    counted(export.failures, "failed request", "failed requests"),
                )?;
                if export.unconfirmed > 0 {
                    writeln!(
                        f,
                        "  {} sent to a server whose answers are not those of an OTLP receiver",
                        counted(export.unconfirmed, "span was", "spans were"),
                    )?;
                }
                match &export.last_error {
                    Some(error) => writeln!(f, "  last error: {}", escaped(error)),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A number, and what it is of.
fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Counter;

    #[test]
    fn each_service_shows_its_profiles_and_why() {
        let profile = |profile: &str, why: &str, processes| ProfileStatus {
            profile: profile.to_owned(),
            why: why.to_owned(),
            processes,
        };
        let links = LinksStatus { calls: 4, linked: 3, unlinked: vec![Count::of(Counter::LinksSeveral, 1)] };
        let counts = vec![Count::of(Counter::LinksSeveral, 1), Count::of(Counter::LinksMade, 3)];
        let service = |processes, profiles| ServiceStatus {
            processes,
            profiles,
            links: links.clone(),
            counts: counts.clone(),
            ..ServiceStatus::default()
        };
        let status = StatusReport {
            services: vec![
                service(1, vec![profile("threads", "212 overlapping exchanges", 1)]),
                service(3, vec![profile("unknown", "7 of 32 overlapping exchanges", 2)]),
                // It has ended, and did nothing.
                ServiceStatus { name: "sleep".into(), ..ServiceStatus::default() },
            ],
            ..StatusReport::default()
        };
        let text = status.to_string();
        assert!(text.contains("\n  profile: threads (212 overlapping exchanges)\n"), "{text}");
        assert!(text.contains("\n  profile: unknown: 7 of 32 overlapping exchanges, 2 of them\n"), "{text}");
        assert!(!text.contains("sleep"), "{text}");
        assert_eq!(text.matches("  links: 3 of 4 calls have a parent (75 %)\n").count(), 2, "{text}");
        assert_eq!(
            text.matches("1  call without a parent: several requests were in flight").count(),
            2,
            "once for each service: {text}"
        );
    }

    #[test]
    fn names_and_errors_from_outside_forge_no_lines() {
        let hostile = "x\n\nAll together\u{1b}[2J\u{9b}1m";
        let service = ServiceStatus {
            pid: 7,
            name: hostile.into(),
            executable: hostile.into(),
            processes: 1,
            ..ServiceStatus::default()
        };
        let export = ExportStatistics { last_error: Some(hostile.to_owned()), ..ExportStatistics::default() };
        let status = StatusReport {
            services: vec![service],
            totals: vec![Count::of(Counter::Connections, 1)],
            export: Some(export),
            ..StatusReport::default()
        };
        let text = status.to_string();
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{text:?}");
        assert_eq!(text.lines().filter(|line| line.starts_with("All together")).count(), 1, "{text}");
        assert!(text.contains(r"x\u{a}\u{a}All together\u{1b}[2J\u{9b}1m (process 7, x\u{a}"), "{text}");
    }

    #[test]
    fn services_that_have_ended_are_not_counted() {
        let service = |processes| ServiceStatus { processes, ..ServiceStatus::default() };
        let services = vec![service(2), service(0), service(0)];
        let status = StatusReport { processes_alive: 2, services, ..StatusReport::default() };
        assert!(status.to_string().contains("\n2 processes, 1 service, 0 connections\n"), "{status}");
    }

    #[test]
    fn instances_of_one_name_are_one_service() {
        let service =
            |name: &str| ServiceStatus { name: name.into(), processes: 1, ..ServiceStatus::default() };
        let services = vec![service("nginx"), service("shop"), service("nginx")];
        let status = StatusReport { processes_alive: 3, services, ..StatusReport::default() };
        assert!(status.to_string().contains("\n3 processes, 2 services, 0 connections\n"), "{status}");
    }

    #[test]
    fn the_export_of_one_span_is_told_in_the_singular() {
        let text = |queued, failures| {
            let export = ExportStatistics { queued, failures, ..ExportStatistics::default() };
            StatusReport { export: Some(export), ..StatusReport::default() }.to_string()
        };
        let one = "\nExport: 1 span in all, 0 sent, 0 rejected, 0 dropped, 0 waiting, 1 failed request\n";
        assert!(text(1, 1).contains(one), "{}", text(1, 1));
        assert!(
            text(2, 0).contains("Export: 2 spans in all, ") && text(2, 0).contains(", 0 failed requests\n")
        );
    }
}
