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

/// Leads a new session on this terminal, and returns in a child that is the foreground of it, with standard streams
/// of the terminal. The leader itself does not return: it tells the pid of the child and then how the child has
/// stopped or ended (`wait(2)`), each as an `int` to `told`; it ends with the last descendant. An error's number goes
/// to `failed`.
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
        libc::tcsetpgrp(terminal, program);
        // It executes nothing, so nothing closes by itself: only the streams and `told` stay. The terminal hangs up once
        // the agent is gone.
        let told = if libc::dup2(told, FIRST) < 0 { told } else { FIRST };
        if told == FIRST {
            libc::syscall(libc::SYS_close_range, FIRST + 1, libc::c_uint::MAX, 0);
        }
        // Signals are for the program.
        for signal in 1..libc::SIGRTMIN() {
            if signal != libc::SIGCHLD {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
        let tell = |word: libc::c_int| {
            let bytes = word.to_ne_bytes();
            libc::write(told, bytes.as_ptr().cast(), bytes.len());
        };
        tell(program);
        loop {
            let mut status = 0;
            let pid = libc::waitpid(-1, &raw mut status, libc::WUNTRACED);
            if pid == program {
                tell(status);
            }
            if pid < 0 && *libc::__errno_location() != libc::EINTR {
                libc::_exit(0);
            }
        }
    }
}
