//! Why the kernel programs do not run, in words that say what to do.

#![forbid(unsafe_code)]

use aya::programs::ProgramError;

use super::{btf, version::FLOOR};

/// Why the kernel programs do not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The binary was built without them.
    #[error("this binary was built without the kernel programs: build it with `cargo xtask build`")]
    NoObject,
    /// Not allowed.
    #[error(
        "loading eBPF programs is not permitted: {0}; run as root (or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_NET_ADMIN), see `tracer doctor`"
    )]
    Privilege(String),
    /// The kernel's types cannot be used.
    #[error("{0}; see `tracer doctor`")]
    Btf(#[from] btf::BtfError),
    /// The kernel lacks a tracepoint that is needed.
    #[error("this kernel has no tracepoint {0} (it came with Linux {1}); see `tracer doctor`")]
    Tracepoint(&'static str, &'static str),
    /// Below [`FLOOR`].
    #[error("Linux {0}.{1} is too old: tracer needs {major}.{minor} or later; see `tracer doctor`", major = FLOOR.0, minor = FLOOR.1)]
    TooOld(u32, u32),
    /// Neither kind of hook for data.
    #[error(
        "this kernel has neither the tracepoints sock_send_length and sock_recv_length (Linux 6.3) nor the functions inet_sendmsg and inet_recvmsg in its BTF; see `tracer doctor`"
    )]
    NoDataHooks,
    /// The agent does not see the process ids that the kernel uses.
    #[error(
        "the agent runs in a pid namespace of its own and cannot translate process ids: run it in the host's (in Kubernetes: hostPID: true)"
    )]
    PidNamespace,
    /// Requests cannot get trace headers; all else may work.
    #[error("trace headers cannot be added to requests: {0}; see `tracer doctor`")]
    Headers(String),
    /// The verifier or the loader refused.
    #[error("cannot load the kernel programs: {0}")]
    Load(String),
}

/// An error that says which program, and the end of the verifier's log: its reason stands there.
pub(super) fn refused(hook: &str, error: ProgramError) -> KernelError {
    const LINES: usize = 12;
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            if io_error.kind() == std::io::ErrorKind::PermissionDenied && verifier_log.to_string().is_empty()
            {
                return KernelError::Privilege(io_error.to_string());
            }
            let log = verifier_log.to_string();
            if let Ok(path) = std::env::var("TRACER_VERIFIER_LOG") {
                let _ = std::fs::write(path, &log);
            }
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n  ");
            KernelError::Load(format!("the kernel refuses {hook}: {io_error}\n  {last}"))
        }
        other => KernelError::Load(format!("{hook}: {other}")),
    }
}

pub(super) fn classify(error: &aya::EbpfError) -> KernelError {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::PermissionDenied
        {
            return KernelError::Privilege(io.to_string());
        }
        source = cause.source();
    }
    load_error(error)
}

pub(super) fn load_error(error: impl std::fmt::Display) -> KernelError {
    KernelError::Load(error.to_string())
}
