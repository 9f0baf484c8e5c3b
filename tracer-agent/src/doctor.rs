//! What this kernel and these privileges allow, feature by feature.

#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    agent::status::{ServiceStatus, StatusReport},
    kernel::{DataHooks, FLOOR, LoadedPrograms, PRE_SEND, Switches, TRACEPOINTS, parse_version},
    outside::escaped,
    process::{capabilities, execution::continues, facts::Proc, task_finder},
};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is there.
    Ok,
    /// Tracing works, with less.
    Less,
    /// Tracing does not work.
    Missing,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, and what to do.
    pub detail: String,
}

/// The kernel programs as the kernel took them.
pub struct Probe {
    /// Those that capture.
    pub programs: LoadedPrograms,
    /// The same with those that add trace headers to requests, or why those do not run.
    pub with_headers: Result<LoadedPrograms, String>,
}

/// Loads and attaches the kernel programs, and lets them go.
pub type TryPrograms = fn(&Switches) -> Result<Probe, String>;

/// Where to look; another root in tests.
pub struct Environment {
    /// Root of the file system.
    pub root: PathBuf,
    /// Tries to load the kernel programs.
    pub probe: Option<TryPrograms>,
    /// What a test changes.
    pub switches: Switches,
}

impl Environment {
    fn read(&self, path: &str) -> Option<String> {
        fs::read(self.root.join(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

/// Checks everything.
pub fn check(environment: &Environment) -> Vec<Finding> {
    let mut findings =
        vec![capabilities(environment), pid_namespace(environment), kernel(environment), architecture()];
    findings.extend(types(environment));
    findings.push(jit(environment));
    findings.push(lockdown(environment));
    if !findings.iter().any(|finding| finding.verdict == Verdict::Missing)
        && let Some(probe) = environment.probe
    {
        match probe(&environment.switches) {
            Ok(Probe { programs, with_headers }) => {
                let detail = format!("load and attach: {}", size(programs));
                findings.push(finding("kernel programs", Verdict::Ok, &detail));
                findings.push(headers(environment, with_headers));
            }
            Err(error) => findings.push(finding("kernel programs", Verdict::Missing, &error)),
        }
    }
    findings
}

fn finding(what: &'static str, verdict: Verdict, detail: &str) -> Finding {
    Finding { what, verdict, detail: detail.to_owned() }
}

fn size(taken: LoadedPrograms) -> String {
    let LoadedPrograms { programs, instructions, verified, .. } = taken;
    format!("{programs} of them, {instructions} instructions (the verifier went through {verified})")
}

/// Whether requests can get trace headers.
fn headers(environment: &Environment, loaded: Result<LoadedPrograms, String>) -> Finding {
    const WHAT: &str = "trace headers";
    /// Inode of the initial cgroup namespace: `PROC_CGROUP_INIT_INO`, `include/linux/proc_ns.h`.
    const INITIAL: &str = "cgroup:[4026531835]";
    let namespace = fs::read_link(environment.root.join("proc/self/ns/cgroup"));
    /// What a kernel that shows no options of sockets adds.
    const BLIND: &str = "; a socket whose process sets SO_ZEROCOPY, TCP_REPAIR, TCP_ULP, SO_TIMESTAMPING or IP_RECVERR \
                         once it is connected leaves with its next send only, since no program can be attached to \
                         security_socket_setsockopt";
    let more = loaded.as_ref().map_or("", |taken| if taken.sees_options { "" } else { BLIND });
    match loaded {
        Err(error) => finding(WHAT, Verdict::Less, &format!("cannot be added to requests: {error}")),
        Ok(_) if namespace.is_ok_and(|link| link != Path::new(INITIAL)) => finding(
            WHAT,
            Verdict::Less,
            "only for processes below the agent's own cgroup: it runs in a cgroup namespace of its own",
        ),
        Ok(taken) if taken.first_only => finding(
            WHAT,
            Verdict::Less,
            &format!(
                "only on the first request of a connection, and only to ports known to speak HTTP/1 \
                 (--propagation-http-ports adds some): on this kernel FIONREAD is wrong for a socket while headers can \
                 be added to its requests{more}"
            ),
        ),
        Ok(taken) => finding(
            WHAT,
            Verdict::Ok,
            &format!("can be added to requests (--propagation headers); then {}{more}", size(taken)),
        ),
    }
}

/// `include/uapi/linux/capability.h`.
const NEEDED: [(&str, u32); 4] = [
    ("CAP_BPF", 39),
    ("CAP_PERFMON", 38),
    ("CAP_SYS_PTRACE", capabilities::SYS_PTRACE),
    ("CAP_NET_ADMIN", 12),
];
const CAP_SYS_ADMIN: u32 = 21;

fn capabilities(environment: &Environment) -> Finding {
    const WHAT: &str = "privileges";
    let status = environment.read("proc/self/status").unwrap_or_default();
    let Some(mask) = capabilities::effective(&status) else {
        return finding(WHAT, Verdict::Less, "cannot read /proc/self/status");
    };
    let has = |bit: u32| mask >> bit & 1 != 0;
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(_, bit)| !(has(*bit) || has(CAP_SYS_ADMIN) && *bit >= 38))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return finding(WHAT, Verdict::Ok, "all capabilities that are needed");
    }
    finding(WHAT, Verdict::Missing, &format!("{} missing: run as root, or grant them", missing.join(", ")))
}

fn pid_namespace(environment: &Environment) -> Finding {
    const WHAT: &str = "process ids";
    match fs::read_link(environment.root.join("proc/self/ns/pid")) {
        Ok(link) if link == Path::new("pid:[4026531836]") => {
            finding(WHAT, Verdict::Ok, "the host's pid namespace")
        }
        Ok(_) => finding(
            WHAT,
            Verdict::Missing,
            "a pid namespace of its own: run in the host's (docker: --pid=host; Kubernetes: hostPID: true)",
        ),
        Err(_) => finding(WHAT, Verdict::Less, "cannot read /proc/self/ns/pid"),
    }
}

fn kernel(environment: &Environment) -> Finding {
    const WHAT: &str = "kernel";
    let release = environment.read("proc/sys/kernel/osrelease").unwrap_or_default();
    match parse_version(&release) {
        Some(version) if version >= FLOOR => finding(WHAT, Verdict::Ok, &release),
        Some(_) => finding(
            WHAT,
            Verdict::Missing,
            &format!("{release}: Linux {}.{} or later is needed", FLOOR.0, FLOOR.1),
        ),
        None => finding(WHAT, Verdict::Less, &format!("{release:?} tells no version")),
    }
}

fn architecture() -> Finding {
    const WHAT: &str = "architecture";
    match std::env::consts::ARCH {
        "x86_64" => finding(WHAT, Verdict::Ok, "x86-64"),
        other => finding(WHAT, Verdict::Missing, &format!("{other}: this version of tracer runs on x86-64")),
    }
}

fn types(environment: &Environment) -> Vec<Finding> {
    const WHAT: &str = "type information";
    let path = environment.root.join("sys/kernel/btf/vmlinux");
    let types = match crate::kernel::btf::Types::from_file(&path) {
        Ok(types) => types,
        Err(error) => {
            let detail = format!("{error}: this kernel needs CONFIG_DEBUG_INFO_BTF");
            return vec![finding(WHAT, Verdict::Missing, &detail)];
        }
    };
    let mut findings = vec![match crate::kernel::btf::offsets(&types) {
        Ok(_) => finding(WHAT, Verdict::Ok, "/sys/kernel/btf/vmlinux has every field that is read"),
        Err(error) => finding(WHAT, Verdict::Missing, &error.to_string()),
    }];
    let absent = TRACEPOINTS.iter().filter(|(name, _)| !types.has_tracepoint(name));
    findings.extend(absent.map(|(name, since)| {
        finding("tracepoints", Verdict::Missing, &format!("{name} is missing: it came with Linux {since}"))
    }));
    let hooks = DataHooks::of(&types, &environment.switches);
    findings.push(match hooks {
        Some(DataHooks::Tracepoints) => finding("data", Verdict::Ok, "by the tracepoints of the socket layer"),
        Some(DataHooks::Functions) => {
            finding("data", Verdict::Ok, "by fexit on the socket families' functions, as before Linux 6.3")
        }
        None => finding(
            "data",
            Verdict::Missing,
            "neither sock_send_length and sock_recv_length (tracepoints, Linux 6.3) nor inet_sendmsg and inet_recvmsg (functions in BTF)",
        ),
    });
    if let Some(what) = hooks.and_then(|hooks| hooks.blind_to(&types)) {
        findings.push(finding("data", Verdict::Less, &format!("not seen is {what}")));
    }
    if !types.has_tracepoint(PRE_SEND) {
        findings.push(finding(
            "start of sends",
            Verdict::Less,
            &format!("{PRE_SEND} is missing (a tracepoint since Linux 6.16): a client's request starts when its send returns, not when it begins"),
        ));
    }
    findings
}

fn jit(environment: &Environment) -> Finding {
    const WHAT: &str = "BPF JIT";
    match environment.read("proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => finding(
            WHAT,
            Verdict::Less,
            "off: programs are interpreted, which costs several times as much; set net.core.bpf_jit_enable=1",
        ),
        Some(_) => finding(WHAT, Verdict::Ok, "on"),
        None => finding(WHAT, Verdict::Ok, "not told by this kernel"),
    }
}

fn lockdown(environment: &Environment) -> Finding {
    const WHAT: &str = "lockdown";
    match environment.read("sys/kernel/security/lockdown") {
        Some(text) if text.contains("[confidentiality]") => finding(
            WHAT,
            Verdict::Missing,
            "confidentiality mode forbids programs that read memory: boot with lockdown=integrity or none",
        ),
        _ => finding(WHAT, Verdict::Ok, "does not forbid eBPF"),
    }
}

/// The findings as lines, and a verdict.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { what, verdict, detail } in findings {
        let sign = match verdict {
            Verdict::Ok => "✓",
            Verdict::Less => "–",
            Verdict::Missing => "✗",
        };
        text += &format!("{sign} {what:<17} {detail}\n");
    }
    text += if findings.iter().any(|finding| finding.verdict == Verdict::Missing) {
        "\ntracer cannot work here: the lines with ✗ say what is missing.\n"
    } else if findings.iter().any(|finding| finding.verdict == Verdict::Less) {
        "\ntracer works here; the lines with – name its limits.\n"
    } else {
        "\ntracer works here.\n"
    };
    text
}

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

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("tracer-doctor-{}-{name}", std::process::id()));
        for folder in ["proc/self/ns", "proc/sys/kernel", "proc/sys/net/core"] {
            fs::create_dir_all(root.join(folder)).expect("created");
        }
        root
    }

    fn verdict(findings: &[Finding], what: &str) -> (Verdict, String) {
        let found = findings.iter().find(|finding| finding.what == what).expect(what);
        (found.verdict, found.detail.clone())
    }

    #[test]
    fn the_missing_piece_is_named() {
        let root = root("missing");
        fs::write(root.join("proc/self/status"), "Name:\tx\nCapEff:\t0000000000001000\n").expect("written");
        fs::write(root.join("proc/sys/kernel/osrelease"), "5.10.0-30-amd64\n").expect("written");
        fs::write(root.join("proc/sys/net/core/bpf_jit_enable"), "0\n").expect("written");
        std::os::unix::fs::symlink("pid:[4026532000]", root.join("proc/self/ns/pid")).expect("linked");
        let findings = check(&Environment { root: root.clone(), probe: None, switches: Switches::default() });
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
