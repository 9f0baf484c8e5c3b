//! The directory of a store: who may use it, and what lies in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// Version of the form of the files. A store of a later one is left alone.
const VERSION: u32 = 1;

/// Highest number of a file that is read: new segments need higher ones.
const MAX_NUMBER: u32 = u32::MAX / 2;

const MANIFEST: &str = "store.json";

#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    form: String,
}

/// A file of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileId {
    /// Files of kept spans come first: others may have the same spans.
    pub(super) is_main: bool,
    pub(super) number: u32,
}

pub(super) struct Directory {
    path: PathBuf,
    /// The lock goes with it.
    _lock: File,
}

pub(super) enum Opened {
    Here(Directory),
    /// It belongs to a newer version: what to tell.
    Newer(String),
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
        let wrong = |what: &str, error: io::Error| {
            StoreError::Directory(format!(
                "cannot {what} {}: {error}; choose another directory",
                path.display()
            ))
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|error| wrong("create the store", error))?;
        let lock = options().append(true).create(true).open(path.join("lock"));
        let lock = lock.map_err(|error| wrong("lock the store", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Directory(format!(
                    "the store {} is in use by another process; end that one, or choose another directory",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(wrong("lock the store", error)),
        }
        let directory = Self { path: path.to_owned(), _lock: lock };
        match fs::read(path.join(MANIFEST)) {
            Ok(manifest) => {
                let version =
                    serde_json::from_slice(&manifest).map(|manifest: Manifest| manifest.version).ok();
                match version {
                    Some(VERSION) => Ok(Opened::Here(directory)),
                    Some(version) => Ok(Opened::Newer(format!(
                        "the store {} has version {version}, and this program reads version {VERSION}: it is left as it \
                         is, and spans are in memory only; use a newer program, or another directory",
                        path.display()
                    ))),
                    None => Err(StoreError::Directory(format!(
                        "{} cannot be read: if it was a store, move the spans-* and kept-* files aside and remove it",
                        path.join(MANIFEST).display()
                    ))),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                directory.write_manifest().map_err(|error| wrong("write to the store", error))?;
                Ok(Opened::Here(directory))
            }
            Err(error) => Err(wrong("read the store", error)),
        }
    }

    /// Written elsewhere and moved: there is a whole one, or none.
    fn write_manifest(&self) -> io::Result<()> {
        let manifest =
            Manifest { version: VERSION, form: "OTLP JSON lines, each a Zstandard frame".to_owned() };
        let new = self.path.join("store.json.new");
        let mut file = options().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(&serde_json::to_vec(&manifest)?)?;
        file.sync_all()?;
        fs::rename(new, self.path.join(MANIFEST))
    }

    pub(super) fn path_of(&self, id: FileId) -> PathBuf {
        let kind = if id.is_main { "spans" } else { "kept" };
        self.path.join(format!("{kind}-{:010}.jsonl.zst", id.number))
    }

    /// The file with the traces of a file that were let go.
    pub(super) fn path_of_gone(&self, id: FileId) -> PathBuf {
        let kind = if id.is_main { "spans" } else { "kept" };
        self.path.join(format!("{kind}-{:010}.gone", id.number))
    }

    /// Files of spans, the kept ones first, each kind by number.
    pub(super) fn files(&self) -> io::Result<Vec<FileId>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some((kind, number)) =
                name.to_str().and_then(|name| name.strip_suffix(".jsonl.zst")?.split_once('-'))
            else {
                continue;
            };
            let number = number.parse().ok().filter(|number| *number <= MAX_NUMBER);
            if let (true, Some(number)) = (matches!(kind, "spans" | "kept"), number) {
                files.push(FileId { is_main: kind == "spans", number });
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    pub(super) fn append_to(path: &Path) -> io::Result<File> {
        options().append(true).create(true).open(path)
    }

    pub(super) fn remove(&self, id: FileId) -> io::Result<()> {
        for path in [self.path_of(id), self.path_of_gone(id)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes sure that names of files outlast a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Spans are nobody else's business.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
