//! Signals that end the agent or go on to the program that it runs, and the word to systemd that it is ready.

use std::{
    os::unix::net::UnixDatagram,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::clock;

/// Signals that came and were not taken, a bit for each.
static PENDING: AtomicU32 = AtomicU32::new(0);
/// Signals are for the program of `tracer run`, not for us.
static RELAYING: AtomicBool = AtomicBool::new(false);

/// The program has a session of its own: what our terminal sends does not reach it.
static HAS_SESSION: AtomicBool = AtomicBool::new(false);

/// SIGHUP asks a daemon to read its configuration again.
static RELOADS: AtomicBool = AtomicBool::new(false);

/// A SIGHUP came that was not taken by [`take_reload`].
static RELOAD: AtomicBool = AtomicBool::new(false);

/// Signals that end the agent.
const ENDING: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
/// Signals that only mean something to a program that is run.
const OTHERS: [libc::c_int; 3] = [libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];
/// And to one with a session of its own; without, the signal stops us and the program alike.
const STOP: libc::c_int = libc::SIGTSTP;
/// `si_code` of what the kernel sends by itself, such as Ctrl-C (`include/uapi/asm-generic/siginfo.h`).
const SI_KERNEL: libc::c_int = 0x80;

const fn bit(signal: libc::c_int) -> u32 {
    1 << signal
}

const ENDING_BITS: u32 = bit(libc::SIGINT) | bit(libc::SIGTERM) | bit(libc::SIGHUP);

extern "C" fn remember(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let relaying = RELAYING.load(Ordering::Relaxed);
    // SAFETY: with SA_SIGINFO the kernel passes one that is valid while the handler runs.
    let from_kernel = unsafe { (*info).si_code } == SI_KERNEL;
    if relaying && from_kernel && !HAS_SESSION.load(Ordering::Relaxed) {
        // The terminal has sent it to the program too: it is in our process group.
        return;
    }
    // The kernel sends SIGHUP when the terminal has gone: that ends a daemon in the foreground too.
    if signal == libc::SIGHUP && !from_kernel && RELOADS.load(Ordering::Relaxed) {
        RELOAD.store(true, Ordering::Relaxed);
        return;
    }
    let before = PENDING.fetch_or(bit(signal), Ordering::Relaxed);
    // A second signal of those that end us does so at once.
    if !relaying && bit(signal) & ENDING_BITS != 0 && before & ENDING_BITS != 0 {
        // SAFETY: async-signal-safe.
        unsafe { libc::_exit(128 + signal) };
    }
}

/// Remembers SIGINT, SIGTERM and SIGHUP from now on; SIGHUP stays ignored under `nohup`. SIGUSR1 and SIGUSR2 mean
/// nothing to the agent, and do not end it.
pub fn install() {
    ENDING.into_iter().chain([libc::SIGUSR1, libc::SIGUSR2]).for_each(handle);
}

/// A file that may not grow is an error of its write, and ends nobody. Programs that are started later inherit this.
pub fn ignore_file_size_limit() {
    // SAFETY: no handler of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// From now on a SIGHUP of another process is kept for [`take_reload`] and does not end the agent.
pub fn reload_on_hangup() {
    RELOADS.store(true, Ordering::Relaxed);
}

/// Whether a SIGHUP has asked for the configuration to be read again, since the last call.
pub fn take_reload() -> bool {
    RELOAD.swap(false, Ordering::Relaxed)
}

fn handle(signal: libc::c_int) {
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = remember;
    // SAFETY: an all-zero sigaction is valid; both structures live through the calls, and the handler
    // only touches atomics, or exits.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action);
        if signal == libc::SIGHUP && action.sa_sigaction == libc::SIG_IGN {
            return;
        }
        action = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// From now on signals are kept for [`take`], SIGQUIT, SIGUSR1 and SIGUSR2 among them, and none ends us. If the program
/// `has_session`, so are SIGTSTP and the signals of our terminal.
pub fn relay(has_session: bool) {
    HAS_SESSION.store(has_session, Ordering::Relaxed);
    RELAYING.store(true, Ordering::Relaxed);
    ENDING.into_iter().chain(OTHERS).chain(has_session.then_some(STOP)).for_each(handle);
}

/// The program has ended: the next signal that ends us does so at once.
pub fn stop_relaying() {
    PENDING.fetch_or(ENDING_BITS, Ordering::Relaxed);
    RELAYING.store(false, Ordering::Relaxed);
}

/// Whether a signal that ends us was received.
pub fn received() -> bool {
    PENDING.load(Ordering::Relaxed) & ENDING_BITS != 0
}

/// Whether this signal ends us.
pub fn is_ending(signal: libc::c_int) -> bool {
    ENDING.contains(&signal)
}

/// Takes a signal that came while [`relay`] was on.
pub fn take() -> Option<libc::c_int> {
    let signal = ENDING
        .into_iter()
        .chain(OTHERS)
        .chain([STOP])
        .find(|signal| PENDING.load(Ordering::Relaxed) & bit(*signal) != 0)?;
    PENDING.fetch_and(!bit(signal), Ordering::Relaxed);
    Some(signal)
}

/// Waits, but not longer than until a signal that ends us or asks for a reload.
pub fn wait(limit: Duration) {
    const STEP: Duration = Duration::from_millis(20);
    let until = Instant::now() + limit;
    while !received() && !RELOAD.load(Ordering::Relaxed) && Instant::now() < until {
        std::thread::sleep(STEP.min(until.saturating_duration_since(Instant::now())));
    }
}

/// Tells systemd that the service is ready: `sd_notify(3)`.
pub fn notify_ready() {
    notify("READY=1");
}

/// Tells systemd that the service reads its configuration again; [`notify_ready`] ends that.
pub fn notify_reloading() {
    // `Type=notify-reload` asks for the time.
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", clock::monotonic_ns() / 1_000));
}

/// Tells systemd that the service ends.
pub fn notify_stopping() {
    notify("STOPPING=1");
}

fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), path));
    if let Err(error) = sent {
        tracing::warn!(%error, state, "cannot tell systemd the state of the agent");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn a_hangup_asks_a_daemon_to_reload_and_does_not_end_it() {
        reload_on_hangup();
        handle(libc::SIGHUP);
        for _ in 0..2 {
            kill_process(getpid(), Signal::HUP).expect("sent");
            let deadline = Instant::now() + Duration::from_secs(10);
            while !RELOAD.load(Ordering::Relaxed) && Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert!(take_reload() && !take_reload());
            assert!(!received());
        }
    }
}
