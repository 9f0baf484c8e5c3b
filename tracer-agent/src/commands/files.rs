//! Saved traces: files of OTLP or Jaeger JSON, and our recordings.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io::{Read, Seek},
    path::Path,
};

use tracer_model::file;
use tracer_store::Store;

use crate::{agent::replay_into, event::recording, log::EVERY_LINE, sink::store::Direct};

/// Puts the spans of a file into the store. Returns how many there are.
pub(super) fn take(path: &Path, store: &Store) -> Result<u64, String> {
    let told = |error: &dyn std::fmt::Display| format!("cannot open {}: {error}", path.display());
    let mut opened = File::open(path).map_err(|error| told(&error))?;
    let mut begin = [0; recording::MAGIC.len()];
    if opened.read_exact(&mut begin).is_ok() && begin == *recording::MAGIC {
        let before = store.status().received_spans;
        replay_into(path, &mut Direct::new(store))?;
        return Ok(store.status().received_spans - before);
    }
    opened.rewind().map_err(|error| told(&error))?;
    let mut not_kept = 0;
    let read = file::read_file(opened, file::MAX_BYTES, &mut |spans| not_kept += store.insert(spans).refused)
        .map_err(|error| told(&error))?;
    for note in &read.notes {
        tracing::warn!(target: EVERY_LINE, "{}: {note}", path.display());
    }
    for (reason, count) in &read.refused {
        tracing::warn!(target: EVERY_LINE, "{}: {count} spans are left out: {reason}", path.display());
    }
    if not_kept > 0 {
        tracing::warn!(target: EVERY_LINE, "{}: the store refused {not_kept} spans", path.display());
    }
    Ok(read.spans)
}
