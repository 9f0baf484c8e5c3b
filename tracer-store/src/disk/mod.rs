//! The store in a directory: what is in memory is written beside it, and read again at the next start.
//!
//! - `store.json`: version of the form. It is what makes a directory a store.
//! - `lock`: held by the process that uses the store.
//! - `spans-NUMBER.jsonl.zst`: spans of one segment of memory, OTLP JSON lines as the Collector's file exporter writes
//!   them. Each line is a Zstandard frame of its own, so that `zstdcat FILE` gives the lines, and a frame that was not
//!   written to its end is known by its checksum.
//! - `kept-NUMBER.jsonl.zst`: the same for spans that outlast the segment in which they came.
//! - `*.gone`: ids of traces of such a file that were let go before the file.
//!
//! A thread writes four times a second what is new. A file is deleted when its segment goes, after what is kept of it
//! was written elsewhere. A slow disk holds nobody up: spans that memory lets go before they were written are counted.

mod directory;
mod frames;
mod load;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use self::{
    directory::{Directory, Opened},
    writer::{Request, Writer},
};
use crate::{engine::Engine, store::StoreError};

/// What the thread that writes tells others.
#[derive(Default)]
pub(crate) struct Told {
    problem: Mutex<Option<String>>,
}

impl Told {
    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The files of a store, and the thread that writes them.
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    /// Bytes that were cut off when the store was opened.
    pub(crate) cut_bytes: u64,
    told: Arc<Told>,
    /// None if the store cannot be written.
    thread: Option<(SyncSender<Request>, JoinHandle<()>)>,
}

impl Disk {
    /// Reads what is in a directory, and writes there from now on.
    pub(crate) fn open(path: &Path, engine: &Arc<RwLock<Engine>>) -> Result<Self, StoreError> {
        let told = Arc::new(Told::default());
        let mut disk = Self { path: path.to_owned(), cut_bytes: 0, told: Arc::clone(&told), thread: None };
        let directory = match Directory::open(path)? {
            Opened::Here(directory) => directory,
            Opened::Newer(problem) => {
                told.set_problem(Some(problem));
                return Ok(disk);
            }
        };
        let loaded = load::load(&directory, engine)?;
        disk.cut_bytes = loaded.cut_bytes;
        let (requests, receiver) = sync_channel(16);
        let writer = Writer::new(directory, Arc::clone(engine), loaded.files, told);
        let thread =
            std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run(&receiver));
        let thread =
            thread.map_err(|error| StoreError::Directory(format!("cannot start a thread: {error}")))?;
        disk.thread = Some((requests, thread));
        Ok(disk)
    }

    /// Whether spans are written.
    pub(crate) fn is_written(&self) -> bool {
        self.thread.is_some()
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.told.problem()
    }

    /// Waits until all is written and the disk has it.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let Some((requests, _)) = &self.thread else {
            return Err(StoreError::Directory(self.problem().unwrap_or_default()));
        };
        let (sender, receiver) = sync_channel(1);
        let is_sent = requests.send(Request::Flush(sender)).is_ok();
        let answer = if is_sent { receiver.recv().ok() } else { None };
        answer
            .unwrap_or_else(|| Err("the thread that writes the store has ended".to_owned()))
            .map_err(StoreError::Directory)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some((requests, thread)) = self.thread.take() {
            // Without anybody to ask it, the thread writes what is left and ends. If it panicked, that was told then.
            drop(requests);
            let _ = thread.join();
        }
    }
}
