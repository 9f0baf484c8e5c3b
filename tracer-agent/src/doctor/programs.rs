//! What the kernel programs need, and whether the kernel takes them.

#![forbid(unsafe_code)]

use std::{fs, path::Path};

use super::{
    finding::{Check, Finding},
    host::Host,
};
use crate::{
    agent::RunningPrograms,
    kernel::{DataHooks, LoadedPrograms, PRE_SEND, Switches, TRACEPOINTS, btf},
};

/// The kernel programs as the kernel took them.
pub struct Probe {
    /// Those that capture.
    pub programs: LoadedPrograms,
    /// The same with those that add trace headers to requests, or why those do not run.
    pub with_headers: Result<LoadedPrograms, String>,
}

/// Loads and attaches the kernel programs, and lets them go.
pub type TryPrograms = fn(&Switches) -> Result<Probe, String>;

/// Where it is known from whether the kernel takes the programs.
pub enum Programs {
    /// Nobody knows.
    Untried,
    /// It is tried, if nothing else is missing.
    Try(TryPrograms),
    /// They run now.
    Running(RunningPrograms),
}

const PROGRAMS: Check =
    Check { what: "kernel programs", why: "they see what processes send and receive, and when" };
const HEADERS: Check = Check {
    what: "trace headers",
    why: "a request that carries one joins the trace of its caller in another process or host",
};

/// What the types of the kernel tell: which structures, tracepoints and functions it has.
pub(super) fn types(host: &Host, switches: &Switches) -> Vec<Finding> {
    const TYPES: Check =
        Check { what: "type information", why: "it says where the fields of the kernel lie that are read" };
    const PROCESSES: Check =
        Check { what: "tracepoints", why: "they tell of processes and connections that begin and end" };
    const DATA: Check = Check { what: "data", why: "it is what spans are made of" };
    const SENDS: Check = Check {
        what: "start of sends",
        why: "a client's request begins when its send begins, not when that returns",
    };
    let types = match btf::Types::from_file(&host.path("sys/kernel/btf/vmlinux")) {
        Ok(types) => types,
        Err(error) => {
            return vec![TYPES.missing(error.to_string(), "this kernel needs CONFIG_DEBUG_INFO_BTF")];
        }
    };
    let mut findings = vec![match btf::offsets(&types) {
        Ok(_) => TYPES.ok("/sys/kernel/btf/vmlinux has every field that is read"),
        Err(error) => TYPES.missing(error.to_string(), ""),
    }];
    let absent: Vec<_> = TRACEPOINTS.iter().filter(|(name, _)| !types.has_tracepoint(name)).collect();
    findings.extend(absent.iter().map(|(name, since)| {
        PROCESSES.missing(format!("{name} is missing"), format!("it came with Linux {since}"))
    }));
    if absent.is_empty() {
        findings.push(PROCESSES.ok("all that are needed"));
    }
    let hooks = DataHooks::of(&types, switches);
    findings.push(match hooks {
        Some(DataHooks::Tracepoints) => DATA.ok("by the tracepoints of the socket layer"),
        Some(DataHooks::Functions) => DATA.ok("by fexit on the socket families' functions, as before Linux 6.3"),
        None => DATA.missing(
            "neither sock_send_length and sock_recv_length (tracepoints, Linux 6.3) nor inet_sendmsg and inet_recvmsg (functions in BTF)",
            "run a later kernel",
        ),
    });
    if let Some(what) = hooks.and_then(|hooks| hooks.blind_to(&types)) {
        findings.push(DATA.less(format!("not seen is {what}"), ""));
    }
    findings.push(match types.has_tracepoint(PRE_SEND) {
        true => SENDS.ok("seen before its bytes leave"),
        false => SENDS.less(
            format!("{PRE_SEND} is missing (a tracepoint since Linux 6.16): a client's request starts when its send returns, not when it begins"),
            "",
        ),
    });
    findings
}

/// Whether the kernel takes the programs.
pub(super) fn programs(host: &Host, probe: Result<Probe, String>) -> Vec<Finding> {
    match probe {
        Ok(Probe { programs, with_headers }) => vec![
            PROGRAMS.ok(format!("load and attach: {}", size(programs))),
            headers(host, "can be added to requests (--propagation headers); then ", with_headers),
        ],
        Err(error) => vec![PROGRAMS.missing(error, "")],
    }
}

/// What is known of programs that run.
pub(super) fn running(host: &Host, running: &RunningPrograms) -> Vec<Finding> {
    let RunningPrograms { loaded, adds_headers, why_no_headers } = running;
    let headers = match (adds_headers, why_no_headers) {
        (true, _) => headers(host, "are added to requests; ", Ok(*loaded)),
        (false, Some(why)) => headers(host, "", Err(why.clone())),
        (false, None) => {
            HEADERS.less("are not added, as configured (propagation.mode)", "--propagation headers adds them")
        }
    };
    vec![PROGRAMS.ok(format!("they run: {}", size(*loaded))), headers]
}

fn size(taken: LoadedPrograms) -> String {
    let LoadedPrograms { programs, instructions, verified, .. } = taken;
    format!("{programs} of them, {instructions} instructions (the verifier went through {verified})")
}

/// Whether requests can get trace headers. `well` begins the sentence if they can.
fn headers(host: &Host, well: &str, loaded: Result<LoadedPrograms, String>) -> Finding {
    /// Inode of the initial cgroup namespace: `PROC_CGROUP_INIT_INO`, `include/linux/proc_ns.h`.
    const INITIAL: &str = "cgroup:[4026531835]";
    /// What a kernel that shows no options of sockets adds.
    const BLIND: &str = "; a socket whose process sets SO_ZEROCOPY, TCP_REPAIR, TCP_ULP, SO_TIMESTAMPING or IP_RECVERR \
                         once it is connected leaves with its next send only, since no program can be attached to \
                         security_socket_setsockopt";
    let namespace = fs::read_link(host.path("proc/self/ns/cgroup"));
    let more = loaded.as_ref().map_or("", |taken| if taken.sees_options { "" } else { BLIND });
    match loaded {
        Err(error) => {
            // The error of the agent's start names the headers, and this command.
            let begin = "trace headers cannot be added to requests: ";
            let reason = error.strip_prefix(begin).unwrap_or(&error);
            let reason = reason.strip_suffix("; see `tracer doctor`").unwrap_or(reason);
            HEADERS.less(format!("cannot be added to requests: {reason}"), "")
        }
        Ok(_) if namespace.is_ok_and(|link| link != Path::new(INITIAL)) => HEADERS.less(
            "only for processes below the agent's own cgroup: it runs in a cgroup namespace of its own",
            "run it in the host's (docker: --cgroupns=host)",
        ),
        Ok(taken) if taken.first_only => HEADERS.less(
            format!(
                "only on the first request of a connection, and only to ports known to speak HTTP/1: on this kernel \
                 FIONREAD is wrong for a socket while headers can be added to its requests{more}"
            ),
            "--propagation-http-ports adds ports; a later kernel has no such fault",
        ),
        Ok(taken) => HEADERS.ok(format!("{well}{}{more}", size(taken))),
    }
}
