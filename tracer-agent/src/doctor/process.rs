//! Why a process is traced or not.

#![forbid(unsafe_code)]

use crate::{
    agent::status::{ServiceStatus, StatusReport},
    outside::escaped,
    process::{capabilities, execution::continues, facts::Proc, task_finder},
};

/// Why a process is seen or not.
pub struct Explanation {
    /// Sentences for a person.
    pub lines: Vec<String>,
    /// The agent traces it.
    pub is_traced: bool,
}

/// Why a process is not seen, as far as the agent and `/proc` tell. An agent that does not answer has no status: the error
/// says why.
pub fn explain(pid: u32, proc: &Proc, agent: Result<&StatusReport, &str>) -> Explanation {
    let mut lines = Vec::new();
    let is_traced = explain_in(&mut lines, pid, proc, agent);
    Explanation { lines, is_traced }
}

/// What may forbid the doctor to look at a process.
fn denial(is_root: bool, has_ptrace: bool) -> &'static str {
    match (is_root, has_ptrace) {
        (_, true) => " CAP_SYS_PTRACE is there: a security module (SELinux, AppArmor) may forbid it.",
        (true, false) => {
            " CAP_SYS_PTRACE is missing, though the doctor is root (docker: --cap-add SYS_PTRACE)."
        }
        (false, false) => " Run the doctor as root.",
    }
}

/// Returns whether the agent traces the process.
fn explain_in(lines: &mut Vec<String>, pid: u32, proc: &Proc, agent: Result<&StatusReport, &str>) -> bool {
    let facts = match proc.facts(pid) {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let is_there = proc.parent(pid).is_some();
            lines.push(if is_there {
                format!("Process {pid} executes no file: it is a kernel thread, or it has ended.")
            } else {
                format!("There is no process {pid}.")
            });
            return false;
        }
        Err(error) => {
            let hint = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    denial(rustix::process::geteuid().is_root(), capabilities::has_ptrace())
                }
                _ => "",
            };
            lines.push(format!("Process {pid} cannot be looked at: {error}.{hint}"));
            return false;
        }
    };
    let ports = proc.listening_ports(pid).unwrap_or_default();
    lines.push(format!("Process {pid} is {} (parent {}).", escaped(&facts.exe), facts.parent));
    lines.extend(
        task_finder::task_program(proc, pid, &facts.exe)
            .map(|program| escaped(&program.explain()).into_owned()),
    );
    if !ports.is_empty() {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        lines.push(format!("It listens on TCP port {}.", ports.join(", ")));
    }
    if facts.is_32_bit {
        lines.push("It is a 32-bit program: those cannot be traced.".to_owned());
    }
    let agent = match agent {
        Ok(agent) => agent,
        Err(why) => {
            lines.push(format!("No agent answers ({why}): start one, or name its socket with --socket."));
            return false;
        }
    };
    // A worker belongs to the instance of an ancestor.
    let mut ancestor = Some(pid);
    let mut service: Option<&ServiceStatus> = None;
    for _ in 0..64 {
        let Some(current) = ancestor else { break };
        service = agent.services.iter().find(|service| service.pid == current);
        if service.is_some() {
            break;
        }
        ancestor = proc.parent(current).filter(|parent| *parent > 1 && continues(proc, current, *parent));
    }
    let Some(service) = service else {
        lines.push("The agent does not trace it: no selector matches it, or one excludes it.".to_owned());
        return false;
    };
    lines.push(format!("The agent traces it, as service {:?} (process {}).", service.name, service.pid));
    if service.counts.is_empty() {
        lines.push("The agent has seen no bytes of it on TCP connections.".to_owned());
    }
    for count in &service.counts {
        lines.push(count.to_string());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_not_told_to_become_root() {
        assert!(denial(false, false).contains("as root"));
        assert!(denial(true, false).contains("CAP_SYS_PTRACE is missing"));
        for is_root in [true, false] {
            assert!(denial(is_root, true).contains("a security module"));
        }
    }

    #[test]
    fn a_process_that_is_not_selected_is_told_so() {
        let pid = std::process::id();
        let lines = explain(pid, &Proc::default(), Ok(&StatusReport::default())).lines.join("\n");
        assert!(lines.contains("no selector matches it"), "{lines}");
        assert_eq!(
            explain(u32::MAX, &Proc::default(), Err("")).lines,
            [format!("There is no process {}.", u32::MAX)]
        );
    }
}
