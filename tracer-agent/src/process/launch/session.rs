//! The session of a program that has a terminal of its own: its leader is a process of ours, which lives as long as
//! the program or a descendant of it does.
//!
//! If the program itself led the session, Ctrl-Z would do nothing (the process group would be orphaned: its parent
//! is in another session), and the end of the program would hang up the terminal of what it has left running.

use std::os::fd::AsRawFd;

use super::terminal::Slave;

/// Exit status of a leader that could not start the program.
const FAILED: libc::c_int = 126;
/// The first descriptor behind the standard streams.
const FIRST: libc::c_int = 3;

/// Signals that the leader passes on to the process group of the program. Only the leader can: it reaps the program, so
/// that the id of the group stays the program's until then.
const PASSED: [libc::c_int; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGCONT];

/// Whether [`lead`] passes the signal on.
pub(super) fn passes(signal: libc::c_int) -> bool {
    PASSED.contains(&signal)
}

/// Whether a status of `wait(2)` says that a background process has used its terminal.
pub(super) fn asks_for_terminal(status: libc::c_int) -> bool {
    libc::WIFSTOPPED(status) && matches!(libc::WSTOPSIG(status), libc::SIGTTIN | libc::SIGTTOU)
}

/// Leads a new session on this terminal, and returns in a child with standard streams of the terminal. The child is in
/// the foreground of the terminal from now on, or from when it asks. The leader itself does not return: it tells the
/// pid of the child and then how the child has stopped or ended (`wait(2)`), each as an `int` to `told`; it ends with
/// the last descendant. An error's number goes to `failed`.
///
/// # Safety
/// Called in a forked child in which nothing else runs; `told` and `failed` are open pipes.
pub(super) unsafe fn lead(slave: &Slave, told: libc::c_int, failed: libc::c_int) {
    let terminal = slave.file.as_raw_fd();
    // SAFETY: async-signal-safe calls on open descriptors, and on variables that live through them.
    unsafe {
        let give_up = || -> ! {
            let error = (*libc::__errno_location()).to_ne_bytes();
            libc::write(failed, error.as_ptr().cast(), error.len());
            libc::_exit(FAILED)
        };
        if libc::setsid() < 0 || libc::ioctl(terminal, libc::TIOCSCTTY, 0) < 0 {
            give_up();
        }
        // Descendants whose parents end become ours, so that we know when the last has ended.
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        // All wait, for us to take: those that came and are not for us are never taken.
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        let program = libc::fork();
        if program < 0 {
            give_up();
        }
        if program == 0 {
            libc::close(told);
            libc::setpgid(0, 0);
            for (stream, is_terminal) in (0..).zip(slave.streams) {
                if is_terminal && libc::dup2(terminal, stream) < 0 {
                    give_up();
                }
            }
            return;
        }
        libc::setpgid(program, program);
        if slave.is_foreground() {
            libc::tcsetpgrp(terminal, program);
        }
        // It executes nothing, so nothing closes by itself: only the streams and `told` stay. The terminal hangs up once
        // the agent is gone.
        let told = if libc::dup2(told, FIRST) < 0 { told } else { FIRST };
        if told == FIRST {
            libc::syscall(libc::SYS_close_range, FIRST + 1, libc::c_uint::MAX, 0);
        }
        tell(told, program);
        Leader { told, program: Some(program), is_foreground: slave.is_foreground() }.run()
    }
}

/// # Safety
/// `told` is an open pipe.
unsafe fn tell(told: libc::c_int, word: libc::c_int) {
    let bytes = word.to_ne_bytes();
    // SAFETY: the bytes live through the call.
    unsafe { libc::write(told, bytes.as_ptr().cast(), bytes.len()) };
}

/// The process that leads the session.
struct Leader {
    told: libc::c_int,
    /// None when it was reaped.
    program: Option<libc::pid_t>,
    is_foreground: bool,
}

impl Leader {
    /// # Safety
    /// In a forked child in which nothing else runs and all signals are blocked; `told` is an open pipe.
    unsafe fn run(mut self) -> ! {
        // SAFETY: async-signal-safe calls, on variables that live through them.
        unsafe {
            let mut awaited: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut awaited);
            for signal in PASSED.into_iter().chain([libc::SIGCHLD, libc::SIGHUP]) {
                libc::sigaddset(&raw mut awaited, signal);
            }
            loop {
                self.reap();
                let mut signal = 0;
                // The terminal hangs up when the agent is killed, and the kernel tells only the leader (SIGHUP, SIGCONT).
                // SIGCONT also comes when the leader itself was stopped; to continue the program is right then, too.
                if libc::sigwait(&raw const awaited, &raw mut signal) == 0
                    && signal != libc::SIGCHLD
                    && let Some(program) = self.program
                {
                    libc::kill(-program, signal);
                }
            }
        }
    }

    /// Reaps all that have ended, and ends with the last.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn reap(&mut self) {
        // SAFETY: as above.
        unsafe {
            loop {
                let mut status = 0;
                let pid = libc::waitpid(-1, &raw mut status, libc::WUNTRACED | libc::WNOHANG);
                if pid == 0 {
                    return;
                }
                if pid < 0 {
                    libc::_exit(0);
                }
                if self.program != Some(pid) {
                    continue;
                }
                tell(self.told, status);
                if !libc::WIFSTOPPED(status) {
                    self.program = None;
                } else if asks_for_terminal(status) && !self.is_foreground {
                    self.is_foreground = true;
                    let terminal = libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_NOCTTY);
                    libc::tcsetpgrp(terminal, pid);
                    libc::close(terminal);
                    libc::kill(-pid, libc::SIGCONT);
                }
            }
        }
    }
}
