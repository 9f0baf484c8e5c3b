//! The user that a program runs as.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

/// Whom a program runs as.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: CString,
    pub(super) uid: libc::uid_t,
    pub(super) gid: libc::gid_t,
    pub(super) groups: Vec<libc::gid_t>,
    pub(super) home: OsString,
}

impl User {
    /// Whether it is not the user of this process.
    pub(super) fn is_another(&self) -> bool {
        self.uid != rustix::process::geteuid().as_raw()
    }

    /// In a child: makes the process one of this user. Returns whether it is; `errno` tells why not.
    ///
    /// # Safety
    /// Nothing else runs in this process. The calls are async-signal-safe.
    pub(super) unsafe fn become_it(&self) -> bool {
        // SAFETY: the list lives through the call.
        unsafe {
            libc::setgroups(self.groups.len(), self.groups.as_ptr()) == 0
                && libc::setgid(self.gid) == 0
                && libc::setuid(self.uid) == 0
        }
    }
}

/// The user that was asked for (`USER` or `USER:GROUP`), or the one who called sudo.
///
/// # Errors
/// There is no such user or group.
pub(super) fn run_as(user: Option<&str>) -> Result<Option<User>, String> {
    match user {
        Some(user) => look_up(user).map(Some),
        None if !rustix::process::geteuid().is_root() => Ok(None),
        None => match std::env::var("SUDO_UID") {
            Ok(uid) if uid != "0" => look_up(&uid).map(Some),
            _ => Ok(None),
        },
    }
}

/// `USER` or `USER:GROUP`, each by name or number. A number is an id, whatever is called so.
fn look_up(wanted: &str) -> Result<User, String> {
    let (user, group) = wanted.split_once(':').map_or((wanted, None), |(user, group)| (user, Some(group)));
    let group = group.map(|group| group_id(group).ok_or_else(|| format!("there is no group {group:?}")));
    let group = group.transpose()?;
    let mut found = match (number(user), group) {
        (Some(uid), group) => match (entry(|| by_id(uid)), group) {
            (Some(found), _) => found,
            (None, Some(gid)) => User {
                name: CString::new(user).unwrap_or_default(),
                uid,
                gid,
                groups: vec![gid],
                home: "/".into(),
            },
            (None, None) => {
                return Err(format!("user {user} has no name and so no group: use --user {user}:GROUP"));
            }
        },
        (None, _) => entry(|| by_name(user)).ok_or_else(|| format!("there is no user {user:?}"))?,
    };
    if let Some(gid) = group {
        // As `docker run --user` and `setpriv --clear-groups`: the group that was named is the only one.
        found.gid = gid;
        found.groups = vec![gid];
    }
    Ok(found)
}

/// An id in digits. The greatest is none: in system calls it means no change.
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| is_number && *id != u32::MAX)
}

fn by_name(name: &str) -> *const libc::passwd {
    // SAFETY: a terminated string.
    CString::new(name).map_or(std::ptr::null(), |name| unsafe { libc::getpwnam(name.as_ptr()) })
}

fn by_id(uid: libc::uid_t) -> *const libc::passwd {
    // SAFETY: no pointers.
    unsafe { libc::getpwuid(uid) }
}

/// Copies the entry that a look-up has found, with all of its groups.
fn entry(look_up: impl Fn() -> *const libc::passwd) -> Option<User> {
    // SAFETY: the entry is null, or static memory of the C library that is copied before the next look-up;
    // nothing else in the agent asks for users.
    let (name, uid, gid, home) = unsafe {
        let entry = look_up().as_ref()?;
        let home = OsStr::from_bytes(CStr::from_ptr(entry.pw_dir).to_bytes()).to_owned();
        (CStr::from_ptr(entry.pw_name).to_owned(), entry.pw_uid, entry.pw_gid, home)
    };
    let groups = groups(&name, gid);
    Some(User { name, uid, gid, groups, home })
}

/// All groups of a user.
fn groups(name: &CStr, gid: libc::gid_t) -> Vec<libc::gid_t> {
    /// Groups of a process (`include/uapi/linux/limits.h`, `NGROUPS_MAX`).
    const MOST: usize = 65_536;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the buffer has `count` elements, and the name is terminated.
        let is_whole =
            unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) } >= 0;
        if is_whole || groups.len() >= MOST {
            groups.truncate(count.unsigned_abs() as usize);
            return groups;
        }
        groups.resize((groups.len() * 2).min(MOST), 0);
    }
}

fn group_id(group: &str) -> Option<libc::gid_t> {
    number(group).or_else(|| {
        let name = CString::new(group).ok()?;
        // SAFETY: a terminated string; the static entry is read before the next look-up.
        unsafe { libc::getgrnam(name.as_ptr()).as_ref().map(|entry| entry.gr_gid) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_an_id_and_a_group_can_be_named() {
        let root = look_up("root").expect("everyone has root");
        assert_eq!((root.uid, root.gid, root.groups.contains(&0)), (0, 0, true));
        assert_eq!(look_up("0"), Ok(root));
        let named = look_up("nobody:daemon").expect("Debian has both");
        assert_eq!((named.uid, named.gid, &*named.groups), (65_534, 1, &[1][..]));
        let numbers = look_up("54321:4242").expect("no entry is needed");
        assert_eq!((numbers.uid, numbers.gid, &*numbers.groups), (54_321, 4_242, &[4_242][..]));
        assert_eq!(numbers.home, "/");
    }

    #[test]
    fn who_does_not_exist_is_told() {
        for (wanted, error) in [
            ("54321", "user 54321 has no name and so no group: use --user 54321:GROUP"),
            ("no-such-user", "there is no user \"no-such-user\""),
            ("4294967295", "there is no user \"4294967295\""),
            ("", "there is no user \"\""),
            ("root:no-such-group", "there is no group \"no-such-group\""),
        ] {
            assert_eq!(look_up(wanted), Err(error.to_owned()));
        }
    }
}
