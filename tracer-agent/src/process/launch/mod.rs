//! Starting the program of `tracer run`: held before its first instruction until it is selected.

mod descendants;
mod environment;
mod error;
mod executable;
mod session;
mod terminal;
mod user;

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

pub use self::error::LaunchError;
use self::{
    executable::terminated,
    terminal::Terminal,
    user::{User, run_as},
};

/// Exit status of a program that was found and could not be executed, as shells have it.
const NOT_EXECUTED: libc::c_int = 126;

/// A program that was started; it runs once it is let go.
#[derive(Debug)]
pub struct Launched {
    pid: libc::pid_t,
    shown: String,
    /// The file that is executed, and the user if one was changed to.
    found: String,
    gate: Option<PipeWriter>,
    /// Ends without a byte when the program executes; else brings the error's number.
    failure: PipeReader,
    status: Option<ExitStatus>,
    /// Of the program: signals cannot reach a successor.
    pidfd: OwnedFd,
    /// If it has one of its own.
    session: Option<Session>,
}

/// The session of a program with a terminal of its own.
#[derive(Debug)]
struct Session {
    terminal: Terminal,
    /// How the program stopped or ended, from the leader.
    events: PipeReader,
    /// Its leader, a child of ours; none when it was reaped.
    leader: Option<libc::pid_t>,
}

/// How a program ended, as a shell would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus(pub i32);

/// Starts `command` (program and arguments) and holds it before it executes. Under sudo it runs as the
/// user who called, or as `user`. Its standard streams, process group and directory are ours; as another user it
/// has a session and a terminal of its own, if we have one, and none of our credentials: `consumed` names variables
/// of which the agent made some.
///
/// # Errors
/// The program cannot be executed, or the user is not known.
pub fn launch(
    command: &[OsString],
    user: Option<&str>,
    consumed: &[String],
) -> Result<Launched, LaunchError> {
    let program = command.first().ok_or_else(|| LaunchError::NotFound("nothing".to_owned()))?;
    let shown = program.to_string_lossy().into_owned();
    let other = |error| LaunchError::Other(shown.clone(), error);
    let user = run_as(user).map_err(LaunchError::User)?;
    let path = terminated(executable::find(program, user.as_ref())?.as_os_str()).map_err(other)?;
    let arguments =
        command.iter().map(|argument| terminated(argument)).collect::<io::Result<Vec<_>>>().map_err(other)?;
    let environment = environment::environment(user.as_ref(), consumed).map_err(other)?;
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    let (terminal, slave) = match user.as_ref().filter(|user| user.is_another()) {
        Some(user) => Terminal::open(user.uid).map_err(LaunchError::Terminal)?.unzip(),
        None => (None, None),
    };
    // All ends close by themselves when the program executes.
    let (held, gate) = io::pipe().map_err(other)?;
    let (mut failure, failed) = io::pipe().map_err(other)?;
    let (mut events, told) = io::pipe().map_err(other)?;
    // SAFETY: plain flags of this process: descendants whose parents end become our children, and children wait to be
    // reaped, also if our caller ignores SIGCHLD.
    let ignores_children = unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL) == libc::SIG_IGN
    };
    // SAFETY: the child makes only async-signal-safe calls, on memory made before.
    let mut pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(other(io::Error::last_os_error()));
    }
    if pid == 0 {
        // SAFETY: as above; this never returns.
        unsafe {
            libc::close(gate.as_raw_fd());
            if let Some(slave) = &slave {
                session::lead(slave, told.as_raw_fd(), failed.as_raw_fd());
            }
            if ignores_children {
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            }
            become_program(held.as_raw_fd(), failed.as_raw_fd(), user.as_ref(), &path, &argv, &envp)
        }
    }
    drop((told, failed, slave));
    let leader = pid;
    if terminal.is_some() {
        let mut word = [0; size_of::<libc::pid_t>()];
        if events.read_exact(&mut word).is_err() {
            let error = match failure.read_exact(&mut word) {
                Ok(()) => io::Error::from_raw_os_error(libc::c_int::from_ne_bytes(word)),
                Err(error) => error,
            };
            return Err(LaunchError::Terminal(error));
        }
        pid = libc::pid_t::from_ne_bytes(word);
    }
    let pidfd = Pid::from_raw(pid)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .map_err(|error| other(error.into()))?;
    let session = terminal.map(|terminal| Session { terminal, events, leader: Some(leader) });
    let found = executable::described(OsStr::from_bytes(path.as_bytes()), user.as_ref());
    Ok(Launched { pid, shown, found, gate: Some(gate), failure, status: None, pidfd, session })
}

/// In the child: waits to be let go, changes the user, executes.
///
/// # Safety
/// Both descriptors are open pipes of this process; `argv` and `envp` end with a null pointer, and every
/// pointer before it is a terminated string. Nothing else runs in this process.
unsafe fn become_program(
    held: libc::c_int,
    failed: libc::c_int,
    user: Option<&User>,
    path: &CStr,
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
) -> ! {
    // SAFETY: async-signal-safe calls on what the caller guarantees.
    unsafe {
        as_programs_expect_signals();
        let mut byte = 0u8;
        loop {
            match libc::read(held, (&raw mut byte).cast(), 1) {
                1 => break,
                _ if *libc::__errno_location() == libc::EINTR => {}
                // The agent is gone: nobody will ever let us go.
                _ => libc::_exit(NOT_EXECUTED),
            }
        }
        if user.is_none_or(|user| user.become_it()) {
            libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
        }
        let error = (*libc::__errno_location()).to_ne_bytes();
        libc::write(failed, error.as_ptr().cast(), error.len());
        libc::_exit(NOT_EXECUTED)
    }
}

/// Rust ignores SIGPIPE, and the agent handles others: a program gets the defaults, and already while it
/// is held. What our own caller ignored (`nohup`) stays ignored.
///
/// # Safety
/// Nothing else runs in this process.
unsafe fn as_programs_expect_signals() {
    // SAFETY: an all-zero sigaction and set are valid; both live through the calls.
    unsafe {
        for signal in 1..libc::SIGRTMIN() {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut action);
            if action.sa_sigaction != libc::SIG_IGN || signal == libc::SIGPIPE {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

impl Launched {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Whether it has a session of its own: no signal of our terminal reaches it.
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Lets it execute, and returns when it does.
    ///
    /// # Errors
    /// It cannot be executed: it is no program, its interpreter is missing, or its user may not. That it
    /// was ended while it waited is no error; [`Self::poll`] tells.
    pub fn release(&mut self) -> Result<(), LaunchError> {
        let Some(mut gate) = self.gate.take() else { return Ok(()) };
        if let Some(session) = &mut self.session {
            // SAFETY: ignoring signals touches no memory. The terminal may be taken from us at any time: then calls
            // fail instead of stopping us.
            unsafe {
                libc::signal(libc::SIGTTIN, libc::SIG_IGN);
                libc::signal(libc::SIGTTOU, libc::SIG_IGN);
            }
            session.terminal.begin().map_err(LaunchError::Terminal)?;
        }
        if gate.write_all(&[1]).is_err() {
            return Ok(());
        }
        let mut number = [0; size_of::<libc::c_int>()];
        match self.failure.read_exact(&mut number) {
            Ok(()) => {
                let error = io::Error::from_raw_os_error(libc::c_int::from_ne_bytes(number));
                Err(LaunchError::NotExecutable {
                    program: self.shown.clone(),
                    found: self.found.clone(),
                    source: error,
                })
            }
            Err(_) => Ok(()),
        }
    }

    /// Passes a signal on to it; one that a terminal sends, to the whole process group of a program with a session.
    pub fn signal(&self, signal: libc::c_int) {
        if self.status.is_some() {
            return;
        }
        if let Some(session) = self.session.as_ref().filter(|_| session::passes(signal)) {
            session.signal(signal);
        } else if let Some(signal) = Signal::from_named_raw(signal) {
            // It may have ended.
            let _ = pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Whether the program itself has ended; descendants may go on.
    pub fn has_ended(&self) -> bool {
        self.status.is_some()
    }

    /// The processes that the program started and that still live, ascending.
    pub fn descendants(&self) -> Vec<u32> {
        let leader = self.session.as_ref().and_then(|session| session.leader).map(i32::unsigned_abs);
        let mut found = descendants::descendants(std::process::id());
        found.retain(|pid| Some(*pid) != leader && *pid != self.pid());
        found
    }

    /// Reaps what has ended, and stops this process while the program of a session is stopped. Returns the
    /// program's exit status once it and its last descendant have ended; our terminal is then as it was.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        while let Some(status) = self.event() {
            let comes_to_foreground = session::asks_for_terminal(status)
                && self.session.as_ref().is_some_and(|session| session.terminal.come_to_foreground());
            if libc::WIFSTOPPED(status) {
                if !comes_to_foreground {
                    self.stop_as_well();
                }
            } else {
                self.status = Some(ExitStatus::of(status));
            }
        }
        loop {
            let mut status = 0;
            // SAFETY: all children of this process are the program and its descendants.
            match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
                0 => return None,
                pid if pid > 0 => {
                    if pid == self.pid {
                        self.status = Some(ExitStatus::of(status));
                    }
                    if let Some(session) = &mut self.session {
                        session.leader = session.leader.filter(|leader| *leader != pid);
                    }
                }
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        while let Some(status) = self.event() {
            self.status = Some(ExitStatus::of(status));
        }
        if let Some(session) = &mut self.session {
            session.terminal.end();
        }
        Some(self.status.unwrap_or(ExitStatus(1)))
    }

    /// How the program of a session has stopped or ended, if the leader has told it.
    fn event(&mut self) -> Option<libc::c_int> {
        let events = &mut self.session.as_mut()?.events;
        let mut file = [PollFd::new(&*events, PollFlags::IN)];
        poll(&mut file, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).ok()?;
        if !file[0].revents().contains(PollFlags::IN) {
            return None;
        }
        let mut word = [0; size_of::<libc::c_int>()];
        events.read_exact(&mut word).ok()?;
        Some(libc::c_int::from_ne_bytes(word))
    }

    /// The program was stopped (Ctrl-Z): so are we, and our job, until the shell continues it.
    fn stop_as_well(&self) {
        let Some(session) = &self.session else { return };
        session.terminal.suspend();
        // SAFETY: an all-zero sigaction is valid, and both live through the calls. The signal reaches our own
        // process group; it does nothing if no shell could continue us.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            let mut default: libc::sigaction = std::mem::zeroed();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut before);
            libc::kill(0, libc::SIGTSTP);
            libc::sigaction(libc::SIGTSTP, &raw const before, std::ptr::null_mut());
        }
        session.terminal.resume();
        session.signal(libc::SIGCONT);
    }
}

impl Session {
    /// To the program's process group.
    fn signal(&self, signal: libc::c_int) {
        if let Some(leader) = self.leader {
            // SAFETY: the leader was not reaped: its pid is its own.
            unsafe { libc::kill(leader, signal) };
        }
    }
}

impl ExitStatus {
    fn of(status: libc::c_int) -> Self {
        if libc::WIFSIGNALED(status) {
            Self(128 + libc::WTERMSIG(status))
        } else {
            Self(libc::WEXITSTATUS(status))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// Polling reaps any child of this process, those of other tests too: they take turns.
    fn turn() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn programs_that_cannot_run_are_told_apart() {
        let code = |program: &str| launch(&[program.into()], None, &[]).expect_err("cannot run").exit_code();
        assert_eq!(code("no-such-program-anywhere"), 127);
        assert_eq!(code("/no/such/program"), 127);
        assert_eq!(code("/etc/passwd"), 126);
        let no_user = launch(&["true".into()], Some("no-such-user"), &[]).expect_err("no such user");
        assert_eq!(no_user.exit_code(), 2);
        let said = |program: &str| launch(&[program.into()], None, &[]).expect_err("cannot run").to_string();
        assert_eq!(said(""), "cannot run \"\": there is no such program");
        assert_eq!(
            said("/etc/passwd"),
            "cannot run \"/etc/passwd\" (\"/etc/passwd\"): Permission denied (os error 13)"
        );
        let nobody = User { name: c"nobody".into(), uid: 1, gid: 1, groups: vec![1], home: "/".into() };
        let found = executable::described(OsStr::new("/root/bin/python3"), Some(&nobody));
        assert_eq!(found, "\"/root/bin/python3\", as user \"nobody\"");
    }

    #[test]
    fn a_program_waits_until_it_is_let_go_and_its_status_is_ours() {
        let _turn = turn();
        let file = std::env::temp_dir().join(format!("tracer-launch-{}", std::process::id()));
        let script = format!("echo ran > {}; (sleep 0.2 &) ; exit 7", file.display());
        let mut launched =
            launch(&["sh".into(), "-c".into(), script.into()], None, &[]).expect("sh is there");
        assert_eq!(launched.poll(), None);
        let exe = std::fs::read_link(format!("/proc/{}/exe", launched.pid())).expect("it lives");
        assert_eq!(exe, std::env::current_exe().expect("known"), "it has not executed yet");
        assert!(!file.exists());
        launched.release().expect("it waits");
        let begin = std::time::Instant::now();
        let status = loop {
            if let Some(status) = launched.poll() {
                break status;
            }
            assert!(begin.elapsed().as_secs() < 10, "it never ended");
            std::thread::yield_now();
        };
        assert_eq!(status, ExitStatus(7));
        assert!(begin.elapsed().as_millis() >= 150, "its descendant was not waited for");
        std::fs::remove_file(file).expect("it ran");
    }

    #[test]
    fn processes_that_outlive_the_program_are_named_while_they_live() {
        let _turn = turn();
        let file = std::env::temp_dir().join(format!("tracer-outlived-{}", std::process::id()));
        let script = format!("sleep 60 & echo $! > {}; exit 3", file.display());
        let mut launched =
            launch(&["sh".into(), "-c".into(), script.into()], None, &[]).expect("sh is there");
        launched.release().expect("it waits");
        assert!(!launched.has_ended());
        let begin = std::time::Instant::now();
        while !launched.has_ended() {
            assert_eq!(launched.poll(), None);
            assert!(begin.elapsed().as_secs() < 10, "it never ended");
            std::thread::yield_now();
        }
        let left: u32 = std::fs::read_to_string(&file).expect("written").trim().parse().expect("a pid");
        assert!(launched.descendants().contains(&left));
        assert!(!launched.descendants().contains(&launched.pid()));
        let pid = Pid::from_raw(left as i32).expect("a pid");
        rustix::process::kill_process(pid, Signal::KILL).expect("it lives");
        let status = loop {
            if let Some(status) = launched.poll() {
                break status;
            }
            assert!(begin.elapsed().as_secs() < 20, "it never ended");
            std::thread::yield_now();
        };
        assert_eq!(status, ExitStatus(3));
        assert!(!launched.descendants().contains(&left));
        std::fs::remove_file(file).expect("it ran");
    }

    #[test]
    fn a_file_that_turns_out_to_be_no_program_is_an_error_with_its_name() {
        let _turn = turn();
        let file = std::env::temp_dir().join(format!("tracer-no-program-{}", std::process::id()));
        std::fs::write(&file, "\u{7f}ELF, and nothing else").expect("written");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("allowed");
        let mut launched = launch(&[file.clone().into()], None, &[]).expect("it is executable");
        let error = launched.release().expect_err("it is no program");
        assert_eq!(error.exit_code(), 126);
        assert!(error.to_string().contains("tracer-no-program"), "{error}");
        std::fs::remove_file(file).expect("removed");
    }

    #[test]
    fn a_held_program_ends_with_the_agent_and_by_a_signal() {
        let _turn = turn();
        let ended = |pid: u32| {
            let mut status = 0;
            // SAFETY: our own child.
            let reaped = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) };
            assert_eq!(reaped, pid.cast_signed());
            ExitStatus::of(status)
        };
        let launched = launch(&["true".into()], None, &[]).expect("true is there");
        let pid = launched.pid();
        drop(launched);
        assert_eq!(ended(pid), ExitStatus(126), "nobody will let it go");
        let mut launched = launch(&["true".into()], None, &[]).expect("true is there");
        launched.signal(libc::SIGTERM);
        assert_eq!(ended(launched.pid()), ExitStatus(128 + libc::SIGTERM));
        launched.release().expect("that is for poll to tell");
    }
}
