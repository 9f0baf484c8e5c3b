//! The terminal of a program that runs as another user: a pseudo-terminal that stands for our caller's.
//!
//! Who has a terminal can push characters into it (`TIOCSTI`), and the caller's shell would run them. So the program
//! gets a terminal and a session of its own, and a thread of ours passes the bytes on, as `sudo` (`use_pty`) and
//! `runuser --pty` do. The caller's terminal is raw meanwhile: Ctrl-C and Ctrl-Z are characters, and the program's
//! own terminal makes signals of them. In a pipeline (`tracer run … | less`) this begins when the program uses its
//! terminal.

#![forbid(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Gid, Mode, OFlags, Uid, fchown, fcntl_setfl, openat},
    io::{Errno, read, write},
    process::{Pid, getpgrp},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{
        OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
        tcsetwinsize,
    },
};

/// The program's side of its terminal.
#[derive(Debug)]
pub(super) struct Slave {
    pub(super) file: OwnedFd,
    /// Which of the three standard streams it replaces: those that are terminals.
    pub(super) streams: [bool; 3],
}

impl Slave {
    /// Whether the program begins in the foreground of its terminal. If its input or output is redirected, another
    /// program of the pipeline may use the caller's terminal: ours gets it when it asks (`SIGTTIN`, `SIGTTOU`).
    pub(super) fn is_foreground(&self) -> bool {
        self.streams[0] && self.streams[1]
    }
}

/// The program's terminal, from its other side.
#[derive(Debug)]
pub(super) struct Terminal {
    master: Arc<OwnedFd>,
    caller: Arc<Caller>,
    is_ending: Arc<AtomicBool>,
    /// The program is in the foreground of its terminal, or was.
    is_foreground: Arc<AtomicBool>,
    relay: Option<JoinHandle<()>>,
}

/// The terminal that we were called from.
#[derive(Debug)]
struct Caller {
    file: OwnedFd,
    state: Mutex<State>,
}

struct State {
    /// Its modes before we changed them; none while they are not changed.
    before: Option<Termios>,
    /// What its output modes were set to.
    output: OutputModes,
    /// We are not in its foreground, or about to be stopped: hands off.
    is_background: bool,
    is_suspended: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { before: None, output: OutputModes::empty(), is_background: false, is_suspended: false }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("is_changed", &self.before.is_some()).finish_non_exhaustive()
    }
}

impl Terminal {
    /// A terminal for a program of `user`, if we have a terminal ourselves: one that controls us, or a standard
    /// stream.
    ///
    /// # Errors
    /// The kernel has no pseudo-terminal for us.
    pub(super) fn open(user: u32) -> io::Result<Option<(Self, Slave)>> {
        let Some(file) = callers_terminal()? else { return Ok(None) };
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        // The program may open its terminal by name. The group stays: it is who may write messages there.
        fchown(&slave, Some(Uid::from_raw(user)), None::<Gid>)?;
        tcsetattr(&slave, OptionalActions::Now, &tcgetattr(&file)?)?;
        // A terminal without a window has no size.
        let _ = tcgetwinsize(&file).and_then(|size| tcsetwinsize(&slave, size));
        fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
        let streams = [isatty(io::stdin()), isatty(io::stdout()), isatty(io::stderr())];
        let slave = Slave { file: slave, streams };
        let terminal = Self {
            master: Arc::new(master),
            caller: Arc::new(Caller { file, state: Mutex::default() }),
            is_ending: Arc::default(),
            is_foreground: Arc::new(AtomicBool::new(slave.is_foreground())),
            relay: None,
        };
        Ok(Some((terminal, slave)))
    }

    /// Begins to pass bytes on.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let (master, caller) = (Arc::clone(&self.master), Arc::clone(&self.caller));
        let (is_ending, is_foreground) = (Arc::clone(&self.is_ending), Arc::clone(&self.is_foreground));
        let relay = std::thread::Builder::new().name("tracer-terminal".to_owned()).spawn(move || {
            Relay { master, caller, is_ending, is_foreground, input: Vec::new(), output: Vec::new() }.run()
        })?;
        self.relay = Some(relay);
        Ok(())
    }

    /// The program asks for its terminal, which it did not have yet: from now on it has the caller's too. Returns false
    /// if it had.
    pub(super) fn come_to_foreground(&self) -> bool {
        !self.is_foreground.swap(true, Ordering::Relaxed)
    }

    /// Gives the caller's terminal back as it was, until [`Self::resume`].
    pub(super) fn suspend(&self) {
        let mut state = self.caller.lock();
        state.is_suspended = true;
        self.caller.restore(&mut state);
    }

    /// Takes the caller's terminal again.
    pub(super) fn resume(&self) {
        self.caller.lock().is_suspended = false;
    }

    /// Passes on what the program has written, and gives the caller's terminal back.
    pub(super) fn end(&mut self) {
        self.is_ending.store(true, Ordering::Release);
        if let Some(relay) = self.relay.take() {
            // A panic there was reported, and there is nothing more to pass on.
            let _ = relay.join();
        }
        self.suspend();
    }
}

/// Also when the agent fails or panics.
impl Drop for Terminal {
    fn drop(&mut self) {
        self.end();
    }
}

/// The terminal that we were called from, opened anew: its mode of waiting is ours alone.
fn callers_terminal() -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if let Ok(file) = openat(CWD, "/dev/tty", flags, Mode::empty()) {
        return Ok(Some(file));
    }
    let streams = [isatty(io::stdin()), isatty(io::stdout()), isatty(io::stderr())];
    let Some(stream) = streams.iter().position(|is_terminal| *is_terminal) else { return Ok(None) };
    Ok(Some(openat(CWD, format!("/proc/self/fd/{stream}"), flags, Mode::empty())?))
}

impl Caller {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether we may read from it and change it. One that does not control us is nobody else's.
    fn is_ours(&self) -> bool {
        tcgetpgrp(&self.file).map_or_else(|error| error == Errno::NOTTY, |group: Pid| group == getpgrp())
    }

    /// Makes it raw, if we are in its foreground. Its output is processed as the program's own terminal does it, so
    /// that lines of ours look right between the program's. Returns whether it can be read, and its output modes.
    fn follow(&self, output: OutputModes) -> (bool, OutputModes) {
        let mut state = self.lock();
        let was_background = std::mem::replace(&mut state.is_background, !self.is_ours());
        if state.is_suspended || state.is_background {
            return (false, OutputModes::empty());
        }
        let is_right = state.before.is_some() && state.output == output && !was_background;
        if !is_right {
            let Ok(now) = tcgetattr(&self.file) else { return (false, OutputModes::empty()) };
            let mut raw = now.clone();
            raw.make_raw();
            raw.output_modes = output;
            // Set by somebody else while we were away: that is how it should be again at the end.
            let is_changed = raw.local_modes != now.local_modes || raw.input_modes != now.input_modes;
            if is_changed || state.before.is_none() {
                state.before = Some(now);
            }
            // If it cannot be changed, it can still be read.
            let _ = tcsetattr(&self.file, OptionalActions::Drain, &raw);
            state.output = output;
        }
        (true, output)
    }

    fn restore(&self, state: &mut State) {
        if let Some(before) = state.before.take()
            && self.is_ours()
        {
            // It may be gone.
            let _ = tcsetattr(&self.file, OptionalActions::Now, &before);
        }
    }
}

/// What passes the bytes on.
struct Relay {
    master: Arc<OwnedFd>,
    caller: Arc<Caller>,
    is_ending: Arc<AtomicBool>,
    is_foreground: Arc<AtomicBool>,
    /// From the caller's terminal, to the program.
    input: Vec<u8>,
    /// From the program, to the caller's terminal.
    output: Vec<u8>,
}

impl Relay {
    /// How often the size of the window, and who is in the foreground, are looked at.
    const LOOK: Duration = Duration::from_millis(50);
    /// How long the caller's terminal may take nothing when the program has ended.
    const GRACE: Duration = Duration::from_secs(1);
    const CHUNK: usize = 16 << 10;

    fn run(mut self) {
        let mut size = tcgetwinsize(&self.master).ok();
        let (mut is_gone, mut last) = (false, Instant::now());
        loop {
            let inner = tcgetattr(&self.master).map_or(OutputModes::empty(), |modes| modes.output_modes);
            let (may_read, modes) = match self.is_foreground.load(Ordering::Relaxed) {
                true => self.caller.follow(inner),
                false => (false, OutputModes::empty()),
            };
            // The program gets SIGWINCH from its own terminal.
            let now = tcgetwinsize(&self.caller.file).ok();
            if now != size
                && let Some(now) = now
            {
                let _ = tcsetwinsize(&self.master, now);
                size = Some(now);
            }
            let before = self.output.len() + self.input.len();
            let (program, caller) = self.wait(may_read && !is_gone);
            is_gone |= caller.intersects(PollFlags::HUP | PollFlags::ERR);
            if is_gone {
                self.output.clear();
            }
            if program.contains(PollFlags::IN) {
                self.read_program(modes);
            }
            if !self.output.is_empty() {
                is_gone |= send(self.caller.file.as_fd(), &mut self.output).is_err();
            }
            if caller.contains(PollFlags::IN) {
                is_gone |= self.read_caller().is_err();
            }
            // No process has the program's side open, now or for good.
            let is_closed = program.contains(PollFlags::HUP) && !program.contains(PollFlags::IN);
            if is_closed {
                self.input.clear();
            } else if !self.input.is_empty() {
                let _ = send(self.master.as_fd(), &mut self.input);
            }
            if before != self.output.len() + self.input.len() || program.contains(PollFlags::IN) {
                last = Instant::now();
            }
            if self.is_ending.load(Ordering::Acquire)
                && (is_closed && self.output.is_empty() || last.elapsed() > Self::GRACE)
            {
                return;
            }
            if is_closed {
                std::thread::sleep(Self::LOOK / 5);
            }
        }
    }

    /// Waits for what can be done; returns what can, for the program's and the caller's side.
    fn wait(&self, may_read: bool) -> (PollFlags, PollFlags) {
        let mut of_program = PollFlags::empty();
        of_program.set(PollFlags::IN, self.output.is_empty());
        of_program.set(PollFlags::OUT, !self.input.is_empty());
        let mut of_caller = PollFlags::empty();
        of_caller.set(PollFlags::IN, may_read && self.input.is_empty());
        of_caller.set(PollFlags::OUT, !self.output.is_empty());
        let mut files = [PollFd::new(&*self.master, of_program), PollFd::new(&self.caller.file, of_caller)];
        // Nothing wanted: do not be woken by its hang-up all the time.
        let count = if of_caller.is_empty() { 1 } else { 2 };
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(Self::LOOK.subsec_nanos()) };
        // An interrupted wait is a short one.
        let _ = poll(&mut files[..count], Some(&limit));
        (files[0].revents(), if count == 2 { files[1].revents() } else { PollFlags::empty() })
    }

    fn read_program(&mut self, modes: OutputModes) {
        let mut chunk = [0; Self::CHUNK];
        let Ok(length) = read(&*self.master, &mut chunk) else { return };
        // The caller's terminal adds the carriage return again.
        let both = OutputModes::OPOST | OutputModes::ONLCR;
        if modes.contains(both) {
            let bytes = &chunk[..length];
            let is_added = |at: usize| bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n');
            self.output.extend((0..length).filter(|at| !is_added(*at)).map(|at| bytes[at]));
        } else {
            self.output.extend_from_slice(&chunk[..length]);
        }
    }

    /// # Errors
    /// The caller's terminal is gone.
    fn read_caller(&mut self) -> Result<(), Errno> {
        let mut chunk = [0; Self::CHUNK];
        match read(&self.caller.file, &mut chunk) {
            // Nothing, if somebody else has changed its modes: that it has gone, `poll` tells.
            Ok(length) => {
                self.input.extend_from_slice(&chunk[..length]);
                Ok(())
            }
            // EIO also means that we were sent to the background just now.
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Writes what a terminal takes now.
fn send(file: BorrowedFd<'_>, bytes: &mut Vec<u8>) -> Result<(), Errno> {
    match write(file, bytes) {
        Ok(length) => {
            bytes.drain(..length);
            Ok(())
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => {
            bytes.clear();
            Err(error)
        }
    }
}
