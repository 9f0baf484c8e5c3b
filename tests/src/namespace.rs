//! Namespaces that a test makes, and that are gone with it.

use std::{
    fs::File,
    os::fd::AsRawFd,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use crate::programs::run;

/// A network namespace.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, with its own loopback.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tracer-{}-{count}", std::process::id());
        run(command("ip").args(["netns", "add", &name]));
        let this = Self { name };
        this.ip("link set lo up");
        this
    }

    /// `ip` with these arguments, inside.
    pub fn ip(&self, arguments: &str) {
        run(command("ip").args(["-n", &self.name]).args(arguments.split(' ')));
    }

    /// A pair of interfaces: `eth0` inside, and `eth0` of another namespace.
    pub fn connect(&self, other: &Self) {
        self.ip(&format!("link add eth0 type veth peer name eth0 netns {}", other.name));
        self.ip("link set eth0 up");
        other.ip("link set eth0 up");
    }

    /// Does something inside; programs that it starts are inside too.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace's file");
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // SAFETY: a file descriptor that is open; the namespace is this thread's only.
                let entered = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(entered, 0, "cannot enter {}", self.name);
                work()
            });
            inside.join().expect("no panic inside")
        })
    }

    /// Sets a parameter of the kernel's inside.
    pub fn set(&self, parameter: &str, value: &str) {
        self.enter(|| std::fs::write(format!("/proc/sys/{parameter}"), value).expect("a parameter"));
    }

    /// Adds rules of nftables inside.
    pub fn nft(&self, rules: &str) {
        self.enter(|| run(command("nft").arg(rules)));
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = command("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Starts one program as the first process of a PID namespace of its own, as container runtimes do.
pub fn in_pid_namespace<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: it has no argument but the flag. Only processes that this thread starts are in the namespace.
            let made = unsafe { libc::unshare(libc::CLONE_NEWPID) };
            assert_eq!(made, 0, "no PID namespace: {}", std::io::Error::last_os_error());
            start()
        });
        inside.join().expect("no panic inside")
    })
}

/// A program of the administrator's.
fn command(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}
