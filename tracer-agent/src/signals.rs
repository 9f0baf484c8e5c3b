//! Signals that end the agent, and the word to systemd that it is ready.

use std::{
    os::unix::net::UnixDatagram,
    sync::atomic::{AtomicI32, Ordering},
    time::{Duration, Instant},
};

static RECEIVED: AtomicI32 = AtomicI32::new(0);

extern "C" fn remember(signal: libc::c_int) {
    // A second signal of those that end us does so at once.
    if RECEIVED.swap(signal, Ordering::Relaxed) != 0 {
        // SAFETY: async-signal-safe.
        unsafe { libc::_exit(128 + signal) };
    }
}

/// Remembers SIGINT, SIGTERM and SIGHUP from now on.
pub fn install() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let handler: extern "C" fn(libc::c_int) = remember;
        // SAFETY: the handler only touches an atomic, or exits.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// The signal that was received, if one was.
pub fn received() -> Option<libc::c_int> {
    Some(RECEIVED.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// Takes the signal, so that the next is a first one again.
pub fn take() -> Option<libc::c_int> {
    Some(RECEIVED.swap(0, Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// Waits, but not longer than until a signal.
pub fn wait(limit: Duration) {
    const STEP: Duration = Duration::from_millis(20);
    let until = Instant::now() + limit;
    while received().is_none() && Instant::now() < until {
        std::thread::sleep(STEP.min(until.saturating_duration_since(Instant::now())));
    }
}

/// Tells systemd that the service is ready: `sd_notify(3)`.
pub fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", path));
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot tell systemd that the agent is ready");
    }
}
