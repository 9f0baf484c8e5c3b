//! What the files of the host tell: privileges, namespaces, settings of the kernel.

#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::finding::{Check, Finding};
use crate::{
    kernel::{FLOOR, parse_version},
    process::capabilities,
};

/// A root of the file system; another one in tests.
pub(super) struct Host(pub(super) PathBuf);

/// `include/uapi/linux/capability.h`.
const NEEDED: [(&str, u32); 4] = [
    ("CAP_BPF", 39),
    ("CAP_PERFMON", 38),
    ("CAP_SYS_PTRACE", capabilities::SYS_PTRACE),
    ("CAP_NET_ADMIN", 12),
];
const CAP_SYS_ADMIN: u32 = 21;

impl Host {
    /// Every check of files.
    pub(super) fn check(&self) -> [Finding; 7] {
        [
            self.kernel(),
            architecture(),
            self.privileges(),
            self.process_ids(),
            self.memory(),
            self.jit(),
            self.lockdown(),
        ]
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read(self.path(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    fn kernel(&self) -> Finding {
        const CHECK: Check = Check {
            what: "kernel",
            why: "the kernel programs are written for it, and tested on it and later ones",
        };
        let release = self.read("proc/sys/kernel/osrelease").unwrap_or_default();
        match parse_version(&release) {
            Some(version) if version >= FLOOR => CHECK.ok(format!("Linux {release}")),
            Some(_) => CHECK.missing(release, format!("Linux {}.{} or later is needed", FLOOR.0, FLOOR.1)),
            None => CHECK.less(format!("{release:?} tells no version"), ""),
        }
    }

    fn privileges(&self) -> Finding {
        const CHECK: Check = Check {
            what: "privileges",
            why: "they let the agent load kernel programs, look at processes of others, and add trace headers",
        };
        let status = self.read("proc/self/status").unwrap_or_default();
        let Some(mask) = capabilities::effective(&status) else {
            return CHECK.less("cannot read /proc/self/status", "mount /proc where tracer runs");
        };
        let has = |bit: u32| mask >> bit & 1 != 0;
        let missing: Vec<&str> = NEEDED
            .iter()
            .filter(|(_, bit)| !(has(*bit) || has(CAP_SYS_ADMIN) && *bit >= 38))
            .map(|(name, _)| *name)
            .collect();
        if missing.is_empty() {
            return CHECK.ok("all capabilities that are needed");
        }
        CHECK.missing(format!("{} missing", missing.join(", ")), "run as root, or grant them")
    }

    fn process_ids(&self) -> Finding {
        const CHECK: Check =
            Check { what: "process ids", why: "the kernel programs tell the host's ids of processes" };
        match fs::read_link(self.path("proc/self/ns/pid")) {
            Ok(link) if link == Path::new("pid:[4026531836]") => CHECK.ok("the host's pid namespace"),
            Ok(_) => CHECK.missing(
                "a pid namespace of its own",
                "run in the host's (docker: --pid=host; Kubernetes: hostPID: true)",
            ),
            Err(_) => CHECK.less("cannot read /proc/self/ns/pid", "mount /proc where tracer runs"),
        }
    }

    /// Whether the memory of other processes can be read: Yama may forbid it, even to root
    /// (Documentation/admin-guide/LSM/Yama.rst).
    fn memory(&self) -> Finding {
        const CHECK: Check = Check {
            what: "process memory",
            why: "tasks of Python, Node.js, Java and Go are found there: they tell which call belongs to which request",
        };
        match self.read("proc/sys/kernel/yama/ptrace_scope").as_deref() {
            Some("3") => CHECK.less(
                "nobody may look into other processes (kernel.yama.ptrace_scope is 3)",
                "boot with a lower one: it cannot be lowered while the kernel runs",
            ),
            _ => CHECK.ok("can be looked at"),
        }
    }

    fn jit(&self) -> Finding {
        const CHECK: Check =
            Check { what: "BPF JIT", why: "programs that are interpreted cost several times as much" };
        match self.read("proc/sys/net/core/bpf_jit_enable").as_deref() {
            Some("0") => CHECK.less(
                "off: programs are interpreted, which costs several times as much",
                "set net.core.bpf_jit_enable=1",
            ),
            Some(_) => CHECK.ok("on"),
            None => CHECK.ok("not told by this kernel"),
        }
    }

    fn lockdown(&self) -> Finding {
        const CHECK: Check =
            Check { what: "lockdown", why: "its confidentiality mode forbids programs that read memory" };
        match self.read("sys/kernel/security/lockdown") {
            Some(text) if text.contains("[confidentiality]") => CHECK.missing(
                "confidentiality mode forbids programs that read memory",
                "boot with lockdown=integrity or none",
            ),
            _ => CHECK.ok("does not forbid eBPF"),
        }
    }
}

fn architecture() -> Finding {
    const CHECK: Check =
        Check { what: "architecture", why: "the kernel programs read registers and structures of it" };
    match std::env::consts::ARCH {
        "x86_64" => CHECK.ok("x86-64"),
        other => CHECK.missing(other, "this version of tracer runs on x86-64"),
    }
}
