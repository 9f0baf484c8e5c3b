//! Reads a store into memory.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io,
    sync::{PoisonError, RwLock},
};

use tracer_model::span::TraceId;

use super::{
    directory::{Directory, FileId},
    frames::{next_frame, read_frame},
};
use crate::{engine::Engine, store::StoreError};

/// What was read.
pub(super) struct Loaded {
    /// Files that are there.
    pub(super) files: Vec<FileId>,
    /// Bytes that were no whole frame: those at the end of a file were cut off, others were passed over.
    pub(super) cut_bytes: u64,
}

pub(super) fn load(directory: &Directory, engine: &RwLock<Engine>) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded { files: Vec::new(), cut_bytes: 0 };
    // A span that was kept stands in two files if the process ended before it could delete the first: it is one span that
    // came twice.
    let files = directory
        .files()
        .map_err(|error| StoreError::Directory(format!("cannot list the store: {error}")))?;
    for id in files {
        loaded.cut_bytes += load_file(directory, engine, id).map_err(|error| {
            let path = directory.path_of(id);
            StoreError::Directory(format!(
                "cannot read {}: {error}; if it stays so, move it away",
                path.display()
            ))
        })?;
        loaded.files.push(id);
    }
    engine.write().unwrap_or_else(PoisonError::into_inner).end_load();
    Ok(loaded)
}

fn load_file(directory: &Directory, engine: &RwLock<Engine>, id: FileId) -> io::Result<u64> {
    let path = directory.path_of(id);
    if !fs::symlink_metadata(&path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file"));
    }
    let gone = gone_traces(directory, id)?;
    let bytes = fs::read(&path)?;
    let mut rest = bytes.as_slice();
    let mut load = engine.write().unwrap_or_else(PoisonError::into_inner).begin_load(id.number, id.is_main);
    let mut skipped = 0;
    while !rest.is_empty() {
        let Some((mut spans, after)) = read_frame(rest) else {
            // Damage in the middle takes one frame with it, and not those behind it.
            let Some(next) = next_frame(rest) else { break };
            skipped += rest.len() - next.len();
            rest = next;
            continue;
        };
        spans.retain(|span| !gone.contains(&span.trace_id));
        engine.write().unwrap_or_else(PoisonError::into_inner).load(&mut load, &spans);
        rest = after;
    }
    engine.write().unwrap_or_else(PoisonError::into_inner).end_segment(&load);
    if !rest.is_empty() {
        let length = bytes.len() - rest.len();
        OpenOptions::new().write(true).open(&path)?.set_len(length as u64)?;
    }
    Ok((skipped + rest.len()) as u64)
}

fn gone_traces(directory: &Directory, id: FileId) -> io::Result<HashSet<TraceId>> {
    match fs::read_to_string(directory.path_of_gone(id)) {
        // A line that was cut short is no id of 32 digits.
        Ok(lines) => Ok(lines.lines().filter(|line| line.len() == 32).filter_map(TraceId::parse).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}
