//! What this kernel and these privileges allow, feature by feature.

#![forbid(unsafe_code)]

mod finding;
mod host;
mod process;
mod programs;

use std::path::PathBuf;

use self::host::Host;
pub use self::{
    finding::{Finding, Verdict, text},
    process::{Explanation, explain},
    programs::{Probe, Programs, TryPrograms},
};
use crate::kernel::Switches;

/// Where to look; another root in tests.
pub struct Environment {
    /// Root of the file system.
    pub root: PathBuf,
    /// What is known of the kernel programs.
    pub programs: Programs,
    /// What a test changes.
    pub switches: Switches,
}

/// Checks everything.
pub fn check(environment: &Environment) -> Vec<Finding> {
    let host = Host(environment.root.clone());
    let mut findings = Vec::from(host.check());
    findings.extend(programs::types(&host, &environment.switches));
    let is_fit = findings.iter().all(|finding| finding.verdict != Verdict::Missing);
    match &environment.programs {
        Programs::Try(probe) if is_fit => {
            findings.extend(programs::programs(&host, probe(&environment.switches)))
        }
        Programs::Running(running) => findings.extend(programs::running(&host, running)),
        Programs::Try(_) | Programs::Untried => {}
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{agent::RunningPrograms, kernel::LoadedPrograms};

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("tracer-doctor-{}-{name}", std::process::id()));
        for folder in ["proc/self/ns", "proc/sys/kernel", "proc/sys/net/core"] {
            fs::create_dir_all(root.join(folder)).expect("created");
        }
        root
    }

    fn verdict(findings: &[Finding], what: &str) -> (Verdict, String) {
        let found = findings.iter().find(|finding| finding.what == what).expect(what);
        (found.verdict, format!("{}: {}", found.detail, found.remedy))
    }

    #[test]
    fn the_missing_piece_is_named() {
        let root = root("missing");
        fs::write(root.join("proc/self/status"), "Name:\tx\nCapEff:\t0000000000001000\n").expect("written");
        fs::write(root.join("proc/sys/kernel/osrelease"), "5.10.0-30-amd64\n").expect("written");
        fs::write(root.join("proc/sys/net/core/bpf_jit_enable"), "0\n").expect("written");
        std::os::unix::fs::symlink("pid:[4026532000]", root.join("proc/self/ns/pid")).expect("linked");
        let findings = check(&Environment {
            root: root.clone(),
            programs: Programs::Untried,
            switches: Switches::default(),
        });
        let (privileges, detail) = verdict(&findings, "privileges");
        assert_eq!(privileges, Verdict::Missing);
        assert!(detail.contains("CAP_BPF") && !detail.contains("CAP_NET_ADMIN"), "{detail}");
        assert_eq!(verdict(&findings, "process ids").0, Verdict::Missing);
        assert!(verdict(&findings, "kernel").1.contains("6.1"));
        assert!(verdict(&findings, "type information").1.contains("CONFIG_DEBUG_INFO_BTF"));
        assert_eq!(verdict(&findings, "BPF JIT").0, Verdict::Less);
        assert!(text(&findings).contains("cannot work here"));
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn an_agent_that_runs_tells_of_its_own_programs_and_tries_none() {
        let root = root("running");
        std::os::unix::fs::symlink("cgroup:[4026531835]", root.join("proc/self/ns/cgroup")).expect("linked");
        let loaded = LoadedPrograms {
            programs: 8,
            instructions: 9_702,
            sees_options: true,
            ..LoadedPrograms::default()
        };
        let told = |adds_headers, why_no_headers: Option<&str>| {
            let why_no_headers = why_no_headers.map(str::to_owned);
            let programs = Programs::Running(RunningPrograms { loaded, adds_headers, why_no_headers });
            check(&Environment { root: root.clone(), programs, switches: Switches::default() })
        };
        let adding = told(true, None);
        let (programs, detail) = verdict(&adding, "kernel programs");
        assert_eq!(programs, Verdict::Ok);
        assert!(detail.starts_with("they run: 8 of them, 9702 instructions"), "{detail}");
        let (headers, detail) = verdict(&adding, "trace headers");
        assert_eq!(headers, Verdict::Ok);
        assert!(detail.starts_with("are added to requests; 8 of them"), "{detail}");
        let (headers, detail) = verdict(
            &told(false, Some("trace headers cannot be added to requests: no cgroup2; see `tracer doctor`")),
            "trace headers",
        );
        assert_eq!((headers, detail.as_str()), (Verdict::Less, "cannot be added to requests: no cgroup2: "));
        let (headers, detail) = verdict(&told(false, None), "trace headers");
        assert_eq!(
            (headers, detail.as_str()),
            (
                Verdict::Less,
                "are not added, as configured (propagation.mode): --propagation headers adds them"
            )
        );
        assert!(adding.iter().all(|finding| !finding.why.is_empty()));
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn memory_that_nobody_may_read_is_told() {
        let root = root("yama");
        fs::create_dir_all(root.join("proc/sys/kernel/yama")).expect("created");
        for (scope, expected) in [("1", Verdict::Ok), ("3", Verdict::Less)] {
            fs::write(root.join("proc/sys/kernel/yama/ptrace_scope"), scope).expect("written");
            let programs = Programs::Untried;
            let found = check(&Environment { root: root.clone(), programs, switches: Switches::default() });
            assert_eq!(verdict(&found, "process memory").0, expected);
        }
        fs::remove_dir_all(root).expect("removed");
    }
}
