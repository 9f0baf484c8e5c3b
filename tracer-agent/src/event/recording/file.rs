//! The file of a recording: readable by the agent's user only, and never another file than the one that was named.

use std::{
    fs::{File, FileType, OpenOptions, Permissions},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::RecordingError;

/// Readable and writable by its owner.
const MODE: u32 = 0o600;

/// Makes the file, or empties the one that is there. Whatever was there before, the file then belongs to this
/// process's user and has mode 0600.
///
/// # Errors
/// A symbolic link, a directory, a device or a FIFO is there, or the file cannot be made.
pub fn create(path: &Path) -> Result<File, RecordingError> {
    let failed = |source| RecordingError::Io { path: path.to_owned(), source };
    let refused = |found| RecordingError::Target { path: path.to_owned(), found };
    // Without O_NONBLOCK the call would wait for the reader of a FIFO.
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(source) => {
            let there = std::fs::symlink_metadata(path).ok().and_then(|metadata| other(metadata.file_type()));
            return Err(there.map_or_else(|| failed(source), refused));
        }
    };
    let metadata = file.metadata().map_err(failed)?;
    if let Some(found) = other(metadata.file_type()) {
        return Err(refused(found));
    }
    // The owner first: with the file's old owner the new mode would be undone at any time.
    let own = std::fs::metadata("/proc/self").map_err(failed)?.uid();
    if metadata.uid() != own {
        std::os::unix::fs::fchown(&file, Some(own), None).map_err(failed)?;
    }
    file.set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
    file.set_len(0).map_err(failed)?;
    Ok(file)
}

/// What is no regular file, in words.
fn other(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("a symbolic link")
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a FIFO")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}
