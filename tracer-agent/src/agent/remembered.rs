//! What the agent remembers over its restarts: the programs whose threads work for one request each.
//!
//! The file holds for each of them a digest of the executable and its arguments, and the name of the service, the one
//! that was confirmed last at the end. It is read at the start, and replaced by a thread of its own: a disk that does
//! not answer must not stop the pipeline.

use std::{
    io,
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    correlate::Shown,
    event::input::RememberedProgram,
    private_file::{self, CreateError},
};

/// Version of the file.
const VERSION: u32 = 1;
/// Programs that are remembered.
const MOST_PROGRAMS: usize = 1024;
/// Longest name of a service that is remembered, bytes.
const MOST_NAME: usize = 256;
/// Longest file, bytes.
const MOST_BYTES: u64 = 2 << 20;
/// Name of the file in the state directory.
pub(super) const FILE: &str = "threads.json";

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    threads: Vec<RememberedProgram>,
}

/// The programs, and the thread that writes them down.
pub(super) struct Remembered {
    programs: Vec<RememberedProgram>,
    /// They differ from what the thread was given last.
    is_new: bool,
    /// What the thread takes: the bytes of a file. It has ended if it could not write.
    writer: Option<SyncSender<Vec<u8>>>,
    /// Closed when the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Remembered {
    /// Reads the file in this directory; none if nothing can be remembered there.
    pub(super) fn start(directory: PathBuf) -> Option<Self> {
        let path = directory.join(FILE);
        let programs = match private_file::read(&path, MOST_BYTES) {
            Ok(bytes) => parsed(&bytes),
            Err(CreateError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        let programs = programs.unwrap_or_else(|problem| {
            tracing::warn!(
                "ignores and replaces {}, what an earlier run has learned: {problem}",
                path.display()
            );
            Vec::new()
        });
        if let Err(error) = private_file::replace(&path, &bytes_of(&programs)) {
            tracing::info!(
                "what is learned of programs is not kept for the next start: cannot write {}: {error} (state_directory \
                 names another directory; an empty name keeps nothing)",
                path.display()
            );
            return None;
        }
        let (writer, files) = mpsc::sync_channel::<Vec<u8>>(1);
        let (running, ended) = mpsc::channel();
        let write = move || {
            let _running: mpsc::Sender<()> = running;
            for bytes in files {
                if let Err(error) = private_file::replace(&path, &bytes) {
                    tracing::warn!(
                        "what is learned of programs is no longer kept for the next start: cannot write {}: {error}",
                        path.display()
                    );
                    return;
                }
            }
        };
        std::thread::Builder::new().name("tracer-state".to_owned()).spawn(write).ok()?;
        Some(Self { programs, is_new: false, writer: Some(writer), ended })
    }

    /// What is remembered.
    pub(super) fn programs(&self) -> &[RememberedProgram] {
        &self.programs
    }

    /// A process has shown how the threads of its program work.
    pub(super) fn shown(&mut self, program: RememberedProgram, shown: Shown) {
        let known = self.programs.iter().position(|known| *known == program);
        if let Some(at) = known {
            self.programs.remove(at);
        }
        match shown {
            Shown::Proven if program.service.len() <= MOST_NAME => {
                if self.programs.len() >= MOST_PROGRAMS {
                    self.programs.remove(0);
                }
                self.programs.push(program);
            }
            _ if known.is_none() => return,
            _ => {}
        }
        self.is_new = true;
    }

    /// Hands what is new to the thread, if it takes it.
    pub(super) fn write(&mut self) {
        let Some(writer) = self.writer.as_ref().filter(|_| self.is_new) else { return };
        match writer.try_send(bytes_of(&self.programs)) {
            Ok(()) => self.is_new = false,
            Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => self.writer = None,
        }
    }

    /// Nothing more comes: waits until all is written, until `deadline` at the latest.
    pub(super) fn finish(mut self, deadline: Instant) {
        const STEP: Duration = Duration::from_millis(2);
        self.write();
        while self.is_new && self.writer.is_some() && Instant::now() < deadline {
            std::thread::sleep(STEP);
            self.write();
        }
        self.writer = None;
        let left = deadline.saturating_duration_since(Instant::now());
        if self.ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "what was learned last is not written down: the disk does not answer (state_directory)"
            );
        }
    }
}

fn parsed(bytes: &[u8]) -> Result<Vec<RememberedProgram>, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let problem = |error: serde_json::Error| format!("it is damaged: {error}");
    let Version { version } = serde_json::from_slice(bytes).map_err(problem)?;
    if version != VERSION {
        return Err(format!("it is of version {version}, and this is version {VERSION}"));
    }
    let Contents { threads, .. } = serde_json::from_slice(bytes).map_err(problem)?;
    if threads.len() > MOST_PROGRAMS {
        return Err(format!("it has more than {MOST_PROGRAMS} programs"));
    }
    Ok(threads)
}

fn bytes_of(programs: &[RememberedProgram]) -> Vec<u8> {
    let contents = Contents { version: VERSION, threads: programs.to_vec() };
    // Numbers and text always become JSON.
    serde_json::to_vec(&contents).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    /// A directory of a test's own, removed with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tracer-state-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("created");
            Self(path)
        }

        fn start(&self) -> Remembered {
            Remembered::start(self.0.clone()).expect("can be written")
        }

        fn file(&self) -> PathBuf {
            self.0.join(FILE)
        }

        /// What the next agent finds, and what this one leaves in the directory.
        fn after(&self, change: impl FnOnce(&mut Remembered)) -> Vec<u64> {
            let mut remembered = self.start();
            change(&mut remembered);
            remembered.finish(Instant::now() + Duration::from_secs(10));
            let names = fs::read_dir(&self.0).expect("there").map(|entry| entry.expect("there").file_name());
            assert_eq!(names.collect::<Vec<_>>(), [FILE]);
            digests(&self.start())
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn digests(remembered: &Remembered) -> Vec<u64> {
        remembered.programs().iter().map(|it| it.program).collect()
    }

    fn shop(program: u64) -> RememberedProgram {
        RememberedProgram { program, service: "shop".to_owned() }
    }

    #[test]
    fn the_next_agent_knows_what_was_proven_and_not_contradicted() {
        let directory = Directory::new("next");
        let learned = directory.after(|remembered| {
            for program in [1, 2, 3, 2] {
                remembered.shown(shop(program), Shown::Proven);
            }
            remembered.shown(shop(1), Shown::Doubted);
            remembered.shown(shop(9), Shown::Doubted);
        });
        assert_eq!(learned, [3, 2], "what was confirmed last is last");
        let mode = fs::metadata(directory.file()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // One contrary sign, one run later.
        assert_eq!(directory.after(|remembered| remembered.shown(shop(3), Shown::Doubted)), [2]);
        assert_eq!(directory.after(|_| {}), [2]);
    }

    #[test]
    fn the_file_is_bounded() {
        let directory = Directory::new("bounded");
        let learned = directory.after(|remembered| {
            for program in 0..MOST_PROGRAMS as u64 + 10 {
                let service = "\u{1}".repeat(MOST_NAME);
                remembered.shown(RememberedProgram { program, service }, Shown::Proven);
            }
            let service = "x".repeat(MOST_NAME + 1);
            remembered.shown(RememberedProgram { program: 5, service }, Shown::Proven);
        });
        assert_eq!((learned.len(), learned[0]), (MOST_PROGRAMS, 10));
        assert!(fs::metadata(directory.file()).expect("there").len() <= MOST_BYTES);
    }

    #[test]
    fn what_is_no_file_of_ours_is_ignored_and_replaced() {
        let directory = Directory::new("foreign");
        let outside = directory.0.with_extension("outside");
        let is_replaced = |put: &dyn Fn(&Path)| {
            let _ = fs::remove_file(directory.file());
            put(&directory.file());
            let found = digests(&directory.start());
            let now = fs::symlink_metadata(directory.file()).expect("there");
            found.is_empty() && now.is_file() && parsed(&fs::read(directory.file()).expect("ours")).is_ok()
        };
        let whole = bytes_of(&[shop(1)]);
        for cut in 0..whole.len() {
            assert!(is_replaced(&|path| fs::write(path, &whole[..cut]).expect("written")), "cut at {cut}");
        }
        let text = String::from_utf8(whole.clone()).expect("JSON");
        assert!(is_replaced(&|path| fs::write(path, text.replace(":1,", ":2,")).expect("written")));
        assert!(is_replaced(&|path| fs::write(path, vec![b' '; MOST_BYTES as usize + 1]).expect("written")));
        fs::write(&outside, &whole).expect("written");
        assert!(is_replaced(&|path| std::os::unix::fs::symlink(&outside, path).expect("linked")));
        assert_eq!(fs::read(&outside).expect("there"), whole, "nobody else's file is written");
        fs::remove_file(outside).expect("ours");
    }

    #[test]
    fn without_a_place_nothing_is_remembered() {
        let directory = Directory::new("none");
        assert!(Remembered::start(directory.0.join("not/there")).is_none());
        fs::create_dir(directory.file()).expect("created");
        assert!(Remembered::start(directory.0.clone()).is_none(), "a directory stands there");
    }
}
