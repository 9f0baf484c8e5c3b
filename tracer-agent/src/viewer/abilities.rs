//! What the kernel and the privileges allow this agent: the lines of `tracer doctor`.

#![forbid(unsafe_code)]

use tracer_model::answer::Ability;

use crate::{
    agent::RunningPrograms,
    doctor::{Environment, Finding, Programs, Verdict, check},
    kernel::Switches,
};

/// Looks at this host, and at the kernel programs of this agent. It reads the kernel's types: once is enough.
pub(super) fn abilities(programs: &RunningPrograms) -> Vec<Ability> {
    let environment = Environment {
        root: "/".into(),
        programs: Programs::Running(programs.clone()),
        switches: Switches::default(),
    };
    check(&environment).into_iter().map(ability).collect()
}

fn ability(finding: Finding) -> Ability {
    let Finding { what, verdict, detail, why, remedy } = finding;
    Ability {
        name: what.to_owned(),
        is_there: verdict == Verdict::Ok,
        verdict: verdict.name().to_owned(),
        detail,
        why: why.to_owned(),
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_told_what_the_doctor_knows_and_what_it_is_for() {
        let why_no_headers = Some("they need the cgroup2 hierarchy".to_owned());
        let told = abilities(&RunningPrograms { why_no_headers, ..RunningPrograms::default() });
        let find = |name: &str| told.iter().find(|ability| ability.name == name).expect(name);
        for name in ["kernel", "privileges", "process ids", "type information", "BPF JIT", "lockdown"] {
            assert!(!find(name).why.is_empty() && !find(name).verdict.is_empty(), "{told:?}");
        }
        let headers = find("trace headers");
        assert_eq!((headers.is_there, headers.verdict.as_str()), (false, "less"));
        assert!(headers.detail.ends_with("they need the cgroup2 hierarchy"), "{headers:?}");
    }
}
