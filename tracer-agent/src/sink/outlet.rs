//! Bytes on their way to a file, a pipe or a terminal, which a thread of its own writes.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Instant,
};

use super::queue::{self, Progress, Queue, Weight};

/// Why nothing is written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The reader has gone away.
    ReaderGone,
    /// Writing has failed: a full disk, for example.
    Failed,
}

/// The way to a thread that writes. Whoever holds it never waits.
#[derive(Clone)]
pub struct Outlet {
    queue: Arc<Queue<Vec<u8>>>,
    ended: Arc<AtomicU8>,
}

const READER_GONE: u8 = 1;
const FAILED: u8 = 2;

impl Outlet {
    /// Starts the thread. Its queue holds at most so many bytes. The first error ends the writing: it is
    /// told to `failed`, unless the reader has only gone away.
    ///
    /// # Errors
    /// There is no thread to have.
    pub fn start(
        name: &str,
        max_bytes: usize,
        mut out: Box<dyn Write + Send>,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let ended = Arc::new(AtomicU8::new(0));
        let seen = Arc::clone(&ended);
        let queue = queue::start(name, max_bytes, move |queue: &Queue<Vec<u8>>| {
            // Opens what is opened late.
            let mut result = out.flush();
            while result.is_ok()
                && let Some((bytes, weight)) = queue.next()
            {
                result = out.write_all(&bytes).and_then(|()| out.flush());
                match &result {
                    Ok(()) => queue.delivered(weight),
                    Err(error) => {
                        // Before anybody sees that nothing waits any more.
                        seen.store(why(error), Ordering::Release);
                        queue.lost(weight);
                    }
                }
            }
            let Err(error) = result else { return };
            seen.store(why(&error), Ordering::Release);
            if why(&error) == FAILED {
                failed(error);
            }
        })?;
        Ok(Self { queue, ended })
    }

    /// Hands over bytes that hold so many items. Returns whether they will be written; they are counted
    /// as dropped otherwise.
    pub fn push(&self, bytes: Vec<u8>, items: u64) -> bool {
        let weight = Weight { bytes: bytes.len(), items };
        self.queue.push(bytes, weight)
    }

    /// Counts items that were left out.
    pub fn count_dropped(&self, items: u64) {
        self.queue.count_dropped(items);
    }

    /// What became of the items so far.
    pub fn progress(&self) -> Progress {
        self.queue.progress()
    }

    /// Why nothing is written any more, if nothing is.
    pub fn ended(&self) -> Option<Ended> {
        match self.ended.load(Ordering::Acquire) {
            READER_GONE => Some(Ended::ReaderGone),
            FAILED => Some(Ended::Failed),
            _ => None,
        }
    }

    /// Nothing more comes.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Waits until all is written, until the deadline at most; what is left then is counted as dropped.
    pub fn finish(&self, deadline: Instant) -> Progress {
        self.close();
        if !self.queue.wait_until_empty(deadline) {
            self.queue.end();
        }
        self.progress()
    }

    /// Whether all that was handed over is written.
    pub fn is_delivered(&self) -> bool {
        self.ended().is_none() && self.queue.is_delivered()
    }

    /// Waits until what was handed over so far is written, until the deadline at most.
    pub fn flush(&self, deadline: Instant) {
        // Whoever waits can do nothing about it.
        let _ = self.queue.wait_until_empty(deadline);
    }
}

fn why(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::BrokenPipe { READER_GONE } else { FAILED }
}

/// An [`Outlet`] as something to write to. A write that finds no room in the queue is an error.
pub struct OutletWriter(pub Outlet);

impl Write for OutletWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.push(bytes.to_vec(), 0) {
            return Ok(bytes.len());
        }
        Err(match self.0.ended() {
            Some(Ended::ReaderGone) => io::ErrorKind::BrokenPipe.into(),
            Some(Ended::Failed) => io::Error::other("an earlier write has failed"),
            None => io::Error::other("it takes less than there is to write"),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Creates a file, or empties it. A FIFO is opened by the first flush or write, since that waits for its
/// reader.
///
/// # Errors
/// The file cannot be created.
pub fn create(path: &Path, mode: u32) -> io::Result<Box<dyn Write + Send>> {
    let is_fifo = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    if is_fifo {
        return Ok(Box::new(Fifo { path: path.to_owned(), file: None }));
    }
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    Ok(Box::new(file))
}

/// A FIFO that is opened when it must be.
struct Fifo {
    path: PathBuf,
    file: Option<File>,
}

impl Fifo {
    fn file(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(OpenOptions::new().write(true).open(&self.path)?)),
        }
    }
}

impl Write for Fifo {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        os::fd::OwnedFd,
        sync::{Mutex, mpsc},
        time::Duration,
    };

    use super::*;

    /// A pipe that nobody reads, and its reading end, which must be kept.
    pub(crate) fn unread_pipe() -> (Box<dyn Write + Send>, OwnedFd) {
        let (reader, writer) = io::pipe().expect("a pipe");
        (Box::new(writer), reader.into())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_pipe_that_nobody_reads_keeps_nobody_waiting_and_its_losses_are_counted() {
        let (out, reader) = unread_pipe();
        let outlet = Outlet::start("tracer-test", 1 << 20, out, |_| {}).expect("a thread");
        let begin = Instant::now();
        let pushed = (0..100).filter(|_| outlet.push(vec![b'x'; 1 << 16], 10)).count() as u64;
        assert!((16..100).contains(&pushed), "{pushed}");
        let progress = outlet.finish(Instant::now() + Duration::from_millis(50));
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert_eq!((progress.taken, progress.waiting), (1000, 0));
        assert_eq!(progress.delivered + progress.dropped, 1000);
        assert!(progress.delivered <= 20, "a pipe takes 64 KiB: {progress:?}");
        drop(reader);
    }

    #[test]
    fn a_reader_that_has_gone_ends_it_without_a_word_and_a_full_disk_with_one() {
        let (out, reader) = unread_pipe();
        drop(reader);
        let outlet = Outlet::start("tracer-test", 1 << 20, out, |_| panic!("not a word")).expect("a thread");
        outlet.push(b"text".to_vec(), 1);
        assert_eq!(outlet.finish(soon()).dropped, 1);
        assert_eq!(outlet.ended(), Some(Ended::ReaderGone));

        let (sender, receiver) = mpsc::channel();
        let out = create(Path::new("/dev/full"), 0o600).expect("it is there");
        let failed = move |error: io::Error| sender.send(error.kind()).expect("somebody listens");
        let outlet = Outlet::start("tracer-test", 1 << 20, out, failed).expect("a thread");
        outlet.push(b"text".to_vec(), 1);
        assert_eq!(outlet.finish(soon()).dropped, 1);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(io::ErrorKind::StorageFull));
        assert!(!outlet.push(b"text".to_vec(), 1));
        assert_eq!(outlet.progress().dropped, 2);
        assert_eq!(outlet.ended(), Some(Ended::Failed));
    }

    #[test]
    fn a_fifo_waits_for_its_reader_on_the_thread_only() {
        let path = std::env::temp_dir().join(format!("tracer-fifo-{}", std::process::id()));
        let status = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(status.success());
        let out = create(&path, 0o600).expect("it is not opened");
        let outlet = Outlet::start("tracer-test", 1 << 20, out, |_| {}).expect("a thread");
        assert!(outlet.push(b"text".to_vec(), 1));
        assert_eq!(outlet.progress().waiting, 1);
        let reader = std::thread::spawn({
            let path = path.clone();
            move || std::fs::read_to_string(path).expect("read")
        });
        assert_eq!(outlet.finish(soon()).delivered, 1);
        assert_eq!(reader.join().expect("no panic"), "text");
        std::fs::remove_file(path).expect("removed");
    }

    /// Bytes that were written, for whoever looks at them later.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(pub(crate) Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("free").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_are_written_in_their_order() {
        let kept = Kept::default();
        let outlet = Outlet::start("tracer-test", 1 << 20, Box::new(kept.clone()), |_| {}).expect("a thread");
        for n in 0..1000 {
            assert!(outlet.push(format!("{n}\n").into_bytes(), 1));
        }
        assert_eq!(outlet.finish(soon()).delivered, 1000);
        let expected: String = (0..1000).map(|n| format!("{n}\n")).collect();
        assert_eq!(*kept.0.lock().expect("free"), expected.into_bytes());
    }
}
