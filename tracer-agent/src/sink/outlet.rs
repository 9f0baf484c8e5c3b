//! Bytes on their way to a file, a pipe or a terminal, which a thread of its own writes.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use super::queue::{self, Progress, Queue, Weight};
use crate::private_file::{self, CreateError};

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
    /// The error that ended the writing.
    error: Arc<OnceLock<io::Error>>,
    /// Where the thread is to go on writing.
    next: Arc<Mutex<Option<Box<dyn Write + Send>>>>,
}

impl Outlet {
    /// Starts the thread. Its queue holds at most so many bytes. The first error ends the writing: it is
    /// told to `failed`, unless the reader has only gone away, and kept.
    ///
    /// # Errors
    /// There is no thread to have.
    pub fn start(
        name: &str,
        max_bytes: usize,
        mut out: Box<dyn Write + Send>,
        failed: impl FnOnce(&io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let error = Arc::new(OnceLock::new());
        let seen = Arc::clone(&error);
        let next: Arc<Mutex<Option<Box<dyn Write + Send>>>> = Arc::default();
        let replacement = Arc::clone(&next);
        let queue = queue::start(name, max_bytes, move |queue: &Queue<Vec<u8>>| {
            // Opens what is opened late.
            let mut result = out.flush();
            let mut lost = Weight::default();
            while result.is_ok()
                && let Some((bytes, weight)) = queue.next()
            {
                if let Some(next) = replacement.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    out = next;
                }
                result = out.write_all(&bytes).and_then(|()| out.flush());
                match &result {
                    Ok(()) => queue.delivered(weight),
                    Err(_) => lost = weight,
                }
            }
            let Err(error) = result else { return };
            // Before anybody sees that nothing waits any more.
            let error = seen.get_or_init(|| error);
            queue.lost(lost);
            if why(error) == Ended::Failed {
                failed(error);
            }
        })?;
        Ok(Self { queue, error, next })
    }

    /// The thread goes on writing to `out`, and closes what it wrote to before, even if nothing more comes. Entries
    /// stay whole. Returns false if the writing has ended.
    pub fn replace(&self, out: Box<dyn Write + Send>) -> bool {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(out);
        // Wakes the thread. A queue that is full has woken it.
        self.push(Vec::new(), 0) || (self.ended().is_none() && self.queue.is_open())
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
        self.error.get().map(why)
    }

    /// The error that ended the writing, if one has.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.get()
    }

    /// Bytes that are not written yet.
    pub fn bytes_waiting(&self) -> usize {
        self.queue.bytes_waiting()
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

fn why(error: &io::Error) -> Ended {
    if error.kind() == io::ErrorKind::BrokenPipe { Ended::ReaderGone } else { Ended::Failed }
}

/// An [`Outlet`] as something to write to. A write that finds no room in the queue is an error.
pub struct OutletWriter(pub Outlet);

impl Write for OutletWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.push(bytes.to_vec(), 0) {
            return Ok(bytes.len());
        }
        Err(match self.0.error() {
            Some(error) => io::Error::new(error.kind(), error.to_string()),
            None => io::Error::other("it takes less than there is to write"),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what a person has named for the output. A file is made, or emptied, as [`private_file::create`] says; a link
/// to one is refused. A FIFO is opened by the first flush or write, since that waits for its reader. A device, and what
/// `/dev/stdout` and its like lead to, is written to as it is.
///
/// # Errors
/// It cannot be opened or made.
pub fn create(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    let found = std::fs::symlink_metadata(path).map(|metadata| metadata.file_type()).ok();
    if is_stream(path) || found.is_some_and(|kind| kind.is_char_device()) {
        return Ok(Box::new(OpenOptions::new().append(true).open(path)?));
    }
    if found.is_some_and(|kind| kind.is_fifo()) {
        return Ok(Box::new(Fifo { path: path.to_owned(), file: None }));
    }
    Ok(Box::new(private_file::create(path).map_err(io_error)?))
}

/// Opens a file again that [`create`] has opened, and that may have been renamed or removed since. The file is made, or
/// written to at its end. Returns none for what is no regular file: there is nothing to open again.
///
/// # Errors
/// It cannot be opened or made.
pub fn open_again(path: &Path) -> io::Result<Option<Box<dyn Write + Send>>> {
    let is_other = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    if is_stream(path) || is_other {
        return Ok(None);
    }
    Ok(Some(Box::new(private_file::append(path).map_err(io_error)?)))
}

/// Whether the path is another name of a file that is open in this process.
fn is_stream(path: &Path) -> bool {
    ["/dev/stdout", "/dev/stderr"].iter().any(|stream| path == Path::new(stream))
        || ["/dev/fd", "/proc/self/fd"].iter().any(|folder| path.parent() == Some(Path::new(folder)))
}

fn io_error(error: CreateError) -> io::Error {
    match error {
        CreateError::Io(error) => error,
        error @ (CreateError::Found(_) | CreateError::Foreign) => {
            io::Error::new(io::ErrorKind::AlreadyExists, error)
        }
    }
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
            none => {
                let open = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(&self.path)?;
                Ok(none.insert(open))
            }
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
        let out = create(Path::new("/dev/full")).expect("it is there");
        let failed = move |error: &io::Error| sender.send(error.kind()).expect("somebody listens");
        let outlet = Outlet::start("tracer-test", 1 << 20, out, failed).expect("a thread");
        outlet.push(b"text".to_vec(), 1);
        assert_eq!(outlet.finish(soon()).dropped, 1);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(io::ErrorKind::StorageFull));
        assert!(!outlet.push(b"text".to_vec(), 1));
        assert_eq!(outlet.progress().dropped, 2);
        assert_eq!(outlet.ended(), Some(Ended::Failed));
    }

    #[test]
    fn an_output_file_is_private_and_no_link_is_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = std::env::temp_dir().join(format!("tracer-outlet-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("created");
        let (file, link, second) = (folder.join("file"), folder.join("link"), folder.join("second"));
        std::fs::write(&file, "what was there").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("set");
        symlink(&file, &link).expect("linked");
        let error = create(&link).err().expect("refused").to_string();
        assert!(error.contains("a symbolic link"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "what was there");
        create(&file).expect("a file").write_all(b"new").expect("written");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "new");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        std::fs::hard_link(&file, &second).expect("linked");
        let error = create(&file).err().expect("refused").to_string();
        assert!(error.contains("hard links"), "{error}");
        assert!(create(Path::new("/dev/stdout")).is_ok() && create(Path::new("/dev/null")).is_ok());
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_fifo_waits_for_its_reader_on_the_thread_only() {
        let path = std::env::temp_dir().join(format!("tracer-fifo-{}", std::process::id()));
        let status = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(status.success());
        let out = create(&path).expect("it is not opened");
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

    #[test]
    fn a_file_that_was_renamed_is_opened_again_and_no_line_is_lost_or_cut() {
        let folder = std::env::temp_dir().join(format!("tracer-rotate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("created");
        let (file, old) = (folder.join("out"), folder.join("out.1"));
        let out = create(&file).expect("a file");
        let outlet = Outlet::start("tracer-test", 1 << 20, out, |_| {}).expect("a thread");
        assert!(outlet.push(b"one\n".to_vec(), 1));
        outlet.flush(soon());
        std::fs::rename(&file, &old).expect("renamed");
        assert!(outlet.push(b"two\n".to_vec(), 1));
        outlet.flush(soon());
        assert!(outlet.replace(open_again(&file).expect("made").expect("a regular file")));
        assert!(outlet.push(b"three\n".to_vec(), 1));
        outlet.flush(soon());
        // Nothing was renamed: what is there stays.
        assert!(outlet.replace(open_again(&file).expect("opened").expect("a regular file")));
        assert!(outlet.push(b"four\n".to_vec(), 1));
        assert_eq!(outlet.finish(soon()).delivered, 4);
        let read = |path: &Path| std::fs::read_to_string(path).expect("there");
        assert_eq!((read(&old).as_str(), read(&file).as_str()), ("one\ntwo\n", "three\nfour\n"));
        assert!(!outlet.replace(Box::new(io::sink())), "it is closed");
        for other in ["/dev/null", "/dev/stdout", "/proc/self/fd/1"] {
            assert!(open_again(Path::new(other)).expect("no error").is_none(), "{other}");
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_writer_that_is_replaced_is_dropped_though_nothing_more_comes() {
        struct Told(mpsc::Sender<()>);
        impl Write for Told {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (sender, receiver) = mpsc::channel();
        let outlet = Outlet::start("tracer-test", 1 << 20, Box::new(Told(sender)), |_| {}).expect("a thread");
        assert!(outlet.replace(Box::new(io::sink())));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(()));
        outlet.close();
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
