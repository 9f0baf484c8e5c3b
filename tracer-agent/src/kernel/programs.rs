//! The kernel programs and maps by name: which hooks this kernel has, and what is of use only with trace headers.

#![forbid(unsafe_code)]

use tracer_common::{WORK_SLOTS, WORK_SLOTS_OF_TRACEPOINTS};

use super::btf::Types;

/// Tracepoints without which nothing works, and the kernel that brought each.
pub const TRACEPOINTS: [(&str, &str); 4] = [
    (STATES, "4.16"),
    ("sched_process_fork", "2.6"),
    ("sched_process_exec", "3.4"),
    ("sched_process_exit", "2.6"),
];
/// The hook that shows how the state of a socket changes.
pub(super) const STATES: &str = "inet_sock_set_state";
/// The program that runs at the same hook for the changes that happen while the first one runs on that CPU.
pub(super) const NESTED_STATES: &str = "nested_sock_set_state";
/// Maps that are of use only with trace headers.
pub(super) const PROPAGATION_MAPS: [&str; 13] = [
    "SOCKETS",
    "BOUNDARIES",
    "HTTP_PORTS",
    "DESTINATIONS",
    "PROXIED_HOSTS",
    "REQUESTS",
    "LONG_HEADS",
    "WORKING",
    "SERVING",
    "PROFILES",
    "FILED",
    "RINGS",
    SCRATCH,
];
/// Where kernel programs look at heads: each that runs needs one.
pub(super) const SCRATCH: &str = "SCRATCH";
/// The hook that shows a send before its bytes leave.
pub const PRE_SEND: &str = "tcp_sendmsg_locked";

/// The hook that shows which options a process sets; not in a kernel without `CONFIG_SECURITY_NETWORK`. Of use only
/// with trace headers.
pub(super) const OPTIONS_HOOK: &str = "security_socket_setsockopt";
/// The hook that shows rings of io_uring. Of use only with trace headers.
pub(super) const RINGS_HOOK: &str = "io_uring_create";

/// Which hooks show the data that processes send and receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataHooks {
    /// Tracepoints of the socket layer: Linux 6.3 and later.
    Tracepoints,
    /// The end of the functions of each socket family (fexit).
    Functions,
}

impl DataHooks {
    pub(super) const TRACEPOINTS: [&str; 2] = ["sock_recv_length", "sock_send_length"];
    /// Functions that every kernel below 6.3 has, with IPv4.
    pub(super) const FUNCTIONS: [&str; 2] = ["inet_recvmsg", "inet_sendmsg"];
    /// Functions that may be missing: IPv6 or Unix sockets in a module, or not at all; `sendpage`
    /// went away in 6.5.
    pub(super) const OPTIONAL: [&str; 5] =
        ["inet6_recvmsg", "inet6_sendmsg", "inet_sendpage", "unix_stream_recvmsg", "unix_stream_sendmsg"];

    /// The array through which other programs go on in the program of this hook.
    pub(super) fn array_of(program: &str) -> Option<&'static str> {
        match program {
            "inet_recvmsg" => Some("RECEIVING"),
            "inet_sendmsg" => Some("SENDING"),
            _ => None,
        }
    }

    /// Traffic that these hooks miss in this kernel, in words.
    pub fn blind_to(self, types: &Types) -> Option<&'static str> {
        (self == Self::Functions && !Self::OPTIONAL[..2].iter().all(|name| types.has_function(name)))
            .then_some("IPv6: this kernel has it in a module, or not at all")
    }

    /// How many programs may interrupt each other: tracepoints run with preemption off.
    pub(super) fn work_slots(self) -> u32 {
        match self {
            Self::Tracepoints => WORK_SLOTS_OF_TRACEPOINTS,
            Self::Functions => WORK_SLOTS,
        }
    }

    /// The programs to attach. Programs that others go on in come first.
    pub(super) fn programs(self, types: &Types) -> Vec<&'static str> {
        match self {
            Self::Tracepoints => Self::TRACEPOINTS.to_vec(),
            Self::Functions => {
                let optional = Self::OPTIONAL.into_iter().filter(|name| types.has_function(name));
                Self::FUNCTIONS.into_iter().chain(optional).collect()
            }
        }
    }
}
