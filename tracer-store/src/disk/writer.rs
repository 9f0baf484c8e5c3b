//! The thread that writes the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{
        Arc, RwLock,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use super::{
    Told,
    directory::{Directory, FileId},
    frames::{MAX_FRAME_SPANS, frame},
};
use crate::{engine::Engine, line::Shared, search::read};

/// How often is written what is new: four times before a second is over.
const EVERY: Duration = Duration::from_millis(250);

/// Bytes of memory of the spans of a frame, above which it ends.
const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// What the thread is asked for.
pub(super) enum Request {
    /// To write all, and to make sure that the disk has it.
    Flush(SyncSender<Result<(), String>>),
}

/// What was written of a segment.
#[derive(Default)]
struct Written {
    file: Option<File>,
    length: u64,
    gone: usize,
    /// All rows are on disk, and there will be no more.
    is_done: bool,
}

pub(super) struct Writer {
    directory: Directory,
    engine: Arc<RwLock<Engine>>,
    written: BTreeMap<FileId, Written>,
    told: Arc<Told>,
}

impl Writer {
    pub(super) fn new(
        directory: Directory,
        engine: Arc<RwLock<Engine>>,
        files: Vec<FileId>,
        told: Arc<Told>,
    ) -> Self {
        let done = |id| (id, Written { is_done: true, ..Written::default() });
        Self { directory, engine, written: files.into_iter().map(done).collect(), told }
    }

    /// Writes until nobody can ask for anything any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            match requests.recv_timeout(EVERY) {
                Ok(Request::Flush(answer)) => {
                    let result = self.write(true);
                    // Who asked may have gone.
                    let _ = answer.send(result);
                }
                Err(RecvTimeoutError::Timeout) => {
                    // What went wrong is told in the status, and tried again the next time.
                    let _ = self.write(false);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.write(true);
                    return;
                }
            }
        }
    }

    fn write(&mut self, is_synced: bool) -> Result<(), String> {
        let result = self.write_new(is_synced);
        self.told.set_problem(result.as_ref().err().cloned());
        result
    }

    /// Writes what is new, and then deletes what is no more: kept spans are in their new place before the old one goes.
    fn write_new(&mut self, is_synced: bool) -> Result<(), String> {
        let segments = read(&self.engine).lines();
        let mut there = BTreeSet::new();
        for (is_main, shared) in &segments {
            let id = FileId { is_main: *is_main, number: shared.number };
            there.insert(id);
            let path = self.directory.path_of(id);
            self.write_segment(id, shared, &path, is_synced).map_err(|error| {
                format!(
                    "cannot write {}: {error}; spans stay in memory, and are written when that can be",
                    path.display()
                )
            })?;
        }
        let gone: Vec<FileId> = self.written.keys().filter(|id| !there.contains(id)).copied().collect();
        for id in gone {
            self.directory.remove(id).map_err(|error| {
                format!("cannot delete {}: {error}", self.directory.path_of(id).display())
            })?;
            self.written.remove(&id);
        }
        if is_synced {
            self.directory.sync().map_err(|error| format!("cannot sync the store: {error}"))?;
        }
        Ok(())
    }

    fn write_segment(&mut self, id: FileId, shared: &Shared, path: &Path, is_synced: bool) -> io::Result<()> {
        let written = self.written.entry(id).or_default();
        while !written.is_done {
            let first = shared.written();
            let (spans, is_open) = {
                let segment = shared.read();
                let mut spans = Vec::new();
                let mut bytes = 0;
                for row in first..segment.rows().min(first + MAX_FRAME_SPANS) {
                    let span = segment.span(row);
                    bytes += crate::segment::values::span_bytes(&span);
                    spans.push(span);
                    if bytes > MAX_FRAME_BYTES {
                        break;
                    }
                }
                (spans, segment.is_open())
            };
            if spans.is_empty() {
                if !is_open {
                    written.is_done = true;
                    if let Some(file) = written.file.take() {
                        file.sync_data()?;
                    }
                }
                break;
            }
            written.append(path, &frame(&spans)?)?;
            shared.set_written(first + spans.len());
        }
        if let (true, Some(file)) = (is_synced, &written.file) {
            file.sync_data()?;
        }
        let gone: Vec<String> = {
            let segment = shared.read();
            let gone = segment.gone_traces().skip(written.gone);
            gone.map(|trace| format!("{}\n", segment.traces[usize::from(trace)].hex())).collect()
        };
        if !gone.is_empty() {
            Directory::append_to(&self.directory.path_of_gone(id))?.write_all(gone.concat().as_bytes())?;
            written.gone += gone.len();
        }
        Ok(())
    }
}

impl Written {
    /// Appends a frame as a whole or not at all.
    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let file = Directory::append_to(path)?;
            self.length = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let result = file.write_all(bytes);
        if result.is_ok() {
            self.length += bytes.len() as u64;
        } else {
            // If that fails too, the next start cuts the file.
            let _ = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(self.length));
            self.file = None;
        }
        result
    }
}
