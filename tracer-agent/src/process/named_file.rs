//! A file that a process names by its place: opened without following what somebody may have put in the way.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, OFlags, RawMode, ResolveFlags, Stat, fstat, open, openat2};

/// Whom a process acts for when it opens a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    /// User, as the agent sees it.
    pub(super) user: u32,
    /// Groups, the supplementary ones included.
    pub(super) groups: Vec<u32>,
    /// Root of its user namespace, who owns what is deployed in a container.
    pub(super) root: u32,
}

impl Credentials {
    /// Whether a file of this owner and mode is the user's own or root's, and open to the user.
    fn may_read(&self, file: &Stat) -> bool {
        let class = match file.st_uid {
            owner if owner == self.user => 0o400,
            owner if owner != 0 && owner != self.root => return false,
            _ if self.groups.contains(&file.st_gid) => 0o040,
            _ => 0o004,
        };
        self.user == 0 || file.st_mode & class != 0
    }
}

/// At most `most` bytes of the file `name` in `folder`, which may be a link of the kernel's (`/proc/PID/cwd`).
///
/// The file is one that the process could name to the agent without deceiving it: a regular file in the folder itself,
/// of the process's owner or of root, which the owner may read. Nothing else is opened: no link is followed, no mount
/// point is crossed, and a device or a pipe is only looked at (`O_PATH`). A file system that does not answer holds the
/// caller.
pub(super) fn read(folder: &Path, name: &str, reader: &Credentials, most: u64) -> Option<Vec<u8>> {
    read_sized(folder, name, reader, most).map(|(_, bytes)| bytes)
}

/// The same, with the size of all of the file.
pub(super) fn read_sized(
    folder: &Path,
    name: &str,
    reader: &Credentials,
    most: u64,
) -> Option<(u64, Vec<u8>)> {
    let folder = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let found = openat2(
        folder.as_fd(),
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV,
    )
    .ok()?;
    let stat = fstat(&found).ok()?;
    let is_regular = FileType::from_raw_mode(RawMode::from(stat.st_mode)) == FileType::RegularFile;
    if !is_regular || !reader.may_read(&stat) {
        return None;
    }
    let mut bytes = Vec::new();
    File::from(reopened(&found)?).take(most).read_to_end(&mut bytes).ok()?;
    Some((u64::try_from(stat.st_size).unwrap_or(0), bytes))
}

/// The same file for reading. `O_NONBLOCK`: a lease of the owner's (`F_SETLEASE`) would hold the open.
fn reopened(found: &OwnedFd) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::PathBuf,
    };

    use rustix::process::getuid;

    use super::*;

    /// A folder that is removed with it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tracer-named-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("inner")).expect("created");
            fs::write(path.join("file"), "content").expect("written");
            fs::set_permissions(path.join("file"), PermissionsExt::from_mode(0o600)).expect("ours");
            Self(path)
        }

        fn read(&self, name: &str) -> Option<Vec<u8>> {
            let own = Credentials { user: getuid().as_raw(), groups: Vec::new(), root: 0 };
            read(&self.0.join("inner"), name, &own, 4)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_regular_file_is_read_up_to_the_bound() {
        let place = Place::new("regular");
        fs::copy(place.0.join("file"), place.0.join("inner/file")).expect("copied");
        assert_eq!(place.read("file").as_deref(), Some(&b"cont"[..]));
        assert_eq!(place.read("other"), None);
    }

    #[test]
    fn links_and_ways_out_are_not_followed() {
        let place = Place::new("links");
        let inner = place.0.join("inner");
        symlink("../file", inner.join("relative")).expect("linked");
        symlink(place.0.join("file"), inner.join("absolute")).expect("linked");
        symlink("/proc/self/fd/0", inner.join("magic")).expect("linked");
        symlink("..", inner.join("parent")).expect("linked");
        for name in ["relative", "absolute", "magic", "parent/file", "../file", "/etc/passwd"] {
            assert_eq!(place.read(name), None, "{name}");
        }
    }

    #[test]
    fn devices_folders_and_pipes_are_not_opened() {
        let place = Place::new("kinds");
        let inner = place.0.join("inner");
        fs::create_dir(inner.join("folder")).expect("created");
        // Opening a pipe for reading would wait for a writer.
        rustix::fs::mknodat(CWD, inner.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o666), 0)
            .expect("a pipe");
        for name in ["folder", "pipe"] {
            assert_eq!(place.read(name), None, "{name}");
        }
        let root = Credentials { user: 0, groups: Vec::new(), root: 0 };
        assert_eq!(read(Path::new("/dev"), "zero", &root, 4), None);
    }

    #[test]
    fn another_mount_is_not_entered() {
        // Of the kernel's own: always a mount of its own.
        let root = Credentials { user: 0, groups: Vec::new(), root: 0 };
        assert_eq!(read(Path::new("/"), "proc/version", &root, 4), None);
        assert!(read(Path::new("/proc"), "version", &root, 4).is_some());
    }

    #[test]
    fn the_file_is_one_that_its_process_may_read() {
        let reader = Credentials { user: 1000, groups: vec![1000, 27], root: 500 };
        let file = |user, group, mode| {
            let mut stat = fstat(File::open("/proc/self/stat").expect("our own")).expect("looked at");
            (stat.st_uid, stat.st_gid, stat.st_mode) = (user, group, mode);
            stat
        };
        let cases = [
            (1000, 1000, 0o600, true),
            (1000, 1000, 0o044, false),
            (0, 0, 0o644, true),
            (0, 0, 0o600, false),
            (0, 27, 0o640, true),
            (0, 28, 0o640, false),
            (0, 27, 0o604, false),
            (500, 500, 0o644, true),
            (1001, 1000, 0o666, false),
        ];
        for (user, group, mode, expected) in cases {
            assert_eq!(reader.may_read(&file(user, group, mode)), expected, "{user}:{group} {mode:o}");
        }
    }
}
