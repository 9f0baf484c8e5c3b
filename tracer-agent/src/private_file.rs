//! A file that only the agent's user can read, and never another file than the one that was named: whoever can write to
//! the folder could have put something else there.

#![forbid(unsafe_code)]

use std::{
    fs::{File, FileType, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Readable and writable by its owner.
const MODE: u32 = 0o600;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// It cannot be made.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something else is there: this.
    #[error("it is {0}; a regular file of its own is needed")]
    Found(&'static str),
    /// The file that is there is another user's, who may have it open.
    #[error("it belongs to another user, who may have it open")]
    Foreign,
}

/// Makes the file, or empties the one that is there. Whatever was there before, the file then belongs to this
/// process's user and has mode 0600. A new file takes the place of another user's: that one may be open elsewhere.
///
/// # Errors
/// A symbolic link, a directory, a device, a FIFO or a file with a second name is there, or the file cannot be made.
pub fn create(path: &Path) -> Result<File, CreateError> {
    let file = match open(path, OpenOptions::new().write(true).create(true)) {
        Err(CreateError::Foreign) => {
            std::fs::remove_file(path)?;
            open(path, OpenOptions::new().write(true).create_new(true))?
        }
        opened => opened?,
    };
    file.set_len(0)?;
    Ok(file)
}

/// As [`create`], but what the file holds stays, and is written after.
///
/// # Errors
/// As for [`create`], and the file that is there is another user's.
pub fn append(path: &Path) -> Result<File, CreateError> {
    open(path, OpenOptions::new().append(true).create(true))
}

/// What a private file holds: at most `most` bytes.
///
/// # Errors
/// The file is not there, is not what [`create`] makes, is another user's, or is longer.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, CreateError> {
    let file = open(path, OpenOptions::new().read(true))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")).into());
    }
    Ok(bytes)
}

/// Puts a file with these bytes in the place of what is there, if anything: a reader sees the one or the other, whole.
///
/// # Errors
/// The file cannot be made or written, or a directory is there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    // One that was left behind.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

fn open(path: &Path, how: &mut OpenOptions) -> Result<File, CreateError> {
    // Without O_NONBLOCK the call would wait for the reader of a FIFO.
    let opened = how.mode(MODE).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            let there = std::fs::symlink_metadata(path).ok().and_then(|metadata| other(metadata.file_type()));
            return Err(there.map_or(CreateError::Io(error), CreateError::Found));
        }
    };
    let metadata = file.metadata()?;
    if let Some(found) = other(metadata.file_type()) {
        return Err(CreateError::Found(found));
    }
    if metadata.nlink() > 1 {
        return Err(CreateError::Found("a file with more than one name (hard links)"));
    }
    if metadata.uid() != std::fs::metadata("/proc/self")?.uid() {
        return Err(CreateError::Foreign);
    }
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

/// What is no regular file, in words.
pub fn other(kind: FileType) -> Option<&'static str> {
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
