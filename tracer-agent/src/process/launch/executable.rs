//! The file that a program is executed from, and whether that can work: nothing is started for one that cannot.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{self, PipeWriter, Read},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use super::{error::LaunchError, user::User};

/// Scripts whose interpreter is a script (`exec_binprm`, `fs/exec.c`).
const MOST_SCRIPTS: usize = 5;
/// Bytes of a script that the kernel looks at (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;

/// A text as system calls take it.
///
/// # Errors
/// It has a zero in it.
pub(super) fn terminated(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(io::Error::other)
}

/// The file that a shell would execute, which `user` may execute.
///
/// # Errors
/// There is none, it is no program, its interpreter is missing, or `user` may not execute one of them.
pub(super) fn find(program: &OsStr, user: Option<&User>) -> Result<PathBuf, LaunchError> {
    let shown = program.to_string_lossy();
    let path = if shown.contains('/') { PathBuf::from(program) } else { in_path(program, &shown)? };
    let refused = |found: String, source| {
        Err(LaunchError::NotExecutable { program: shown.clone().into_owned(), found, source })
    };
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LaunchError::NotFound(shown.into_owned()));
        }
        Ok(found) if found.is_dir() => {
            let error = io::Error::from_raw_os_error(libc::EISDIR);
            return refused(described(path.as_os_str(), user), error);
        }
        // Who may not look may be told so below.
        _ => {}
    }
    if let Err(error) = may_execute(&path, user) {
        return refused(described(path.as_os_str(), user), error);
    }
    let mut script = path.clone();
    for _ in 0..MOST_SCRIPTS {
        let Some(interpreter) = interpreter(&script) else { break };
        if let Err(error) = may_execute(&interpreter, user) {
            let file = described(path.as_os_str(), user);
            return refused(format!("{file}; its interpreter {:?}", interpreter.to_string_lossy()), error);
        }
        script = interpreter;
    }
    Ok(path)
}

/// The first file of this name in `PATH` that we may execute; else the first one, for an error.
fn in_path(program: &OsStr, shown: &str) -> Result<PathBuf, LaunchError> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let files: Vec<PathBuf> = std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .filter(|path| path.is_file())
        .collect();
    let found = files.iter().find(|path| may_execute(path, None).is_ok()).or(files.first());
    found.cloned().ok_or_else(|| LaunchError::NotFound(shown.to_owned()))
}

/// Whether a user may execute a file; we, if none is named.
fn may_execute(path: &Path, user: Option<&User>) -> io::Result<()> {
    let path = terminated(path.as_os_str())?;
    match user.filter(|user| user.is_another()) {
        Some(user) => as_user(user, &path),
        None => accessible(&path),
    }
}

fn accessible(path: &CStr) -> io::Result<()> {
    // SAFETY: a terminated string.
    if unsafe { libc::access(path.as_ptr(), libc::X_OK) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks in a process of that user: groups, capabilities and security modules have their say.
fn as_user(user: &User, path: &CStr) -> io::Result<()> {
    let (mut answer, told) = io::pipe()?;
    // SAFETY: the child makes only async-signal-safe calls, on memory made before.
    let pid = unsafe { libc::fork() };
    match pid {
        ..0 => return Err(io::Error::last_os_error()),
        // SAFETY: as above; this never returns.
        0 => unsafe { ask(user, path, &told) },
        _ => drop(told),
    }
    let mut number = [0; size_of::<libc::c_int>()];
    let read = answer.read_exact(&mut number);
    let mut status = 0;
    // SAFETY: our own child; that there is none to reap is no error if our caller ignores children.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    read?;
    match libc::c_int::from_ne_bytes(number) {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

/// In the child: writes the number of the error, or 0.
///
/// # Safety
/// Nothing else runs in this process.
unsafe fn ask(user: &User, path: &CStr, told: &PipeWriter) -> ! {
    // SAFETY: async-signal-safe calls on what the caller has.
    unsafe {
        let may = user.become_it() && libc::access(path.as_ptr(), libc::X_OK) == 0;
        let number = if may { 0 } else { *libc::__errno_location() }.to_ne_bytes();
        libc::write(told.as_raw_fd(), number.as_ptr().cast(), number.len());
        libc::_exit(0)
    }
}

/// What a script is executed by, if it is one that we can read (`load_script`, `fs/binfmt_script.c`).
fn interpreter(path: &Path) -> Option<PathBuf> {
    // Not a pipe, which nobody may ever write.
    if !path.is_file() {
        return None;
    }
    let mut line = Vec::new();
    File::open(path).ok()?.take(FIRST_LINE).read_to_end(&mut line).ok()?;
    let line = line.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n' || *byte == 0).next()?;
    let name = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(Path::new(OsStr::from_bytes(name)).to_owned())
}

/// The file of a program, and the user that it runs as, for an error.
pub(super) fn described(path: &OsStr, user: Option<&User>) -> String {
    let path = format!("{:?}", path.to_string_lossy());
    match user {
        Some(user) => format!("{path}, as user {:?}", user.name.to_string_lossy()),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::CString, fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn nobody() -> User {
        let name = CString::from(c"nobody");
        User { name, uid: 65_534, gid: 65_534, groups: vec![65_534], home: "/".into() }
    }

    /// A file with this text and mode.
    fn file(name: &str, text: &str, mode: u32) -> PathBuf {
        let file = std::env::temp_dir().join(format!("tracer-{name}-{}", std::process::id()));
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("allowed");
        file
    }

    fn said(path: &Path, user: Option<&User>) -> String {
        let error = find(path.as_os_str(), user).expect_err("it cannot run");
        assert_eq!(error.exit_code(), 126);
        error.to_string().replace(&path.to_string_lossy().into_owned(), "FILE")
    }

    #[test]
    fn a_directory_and_a_script_without_its_interpreter_are_no_programs() {
        let folder = std::env::temp_dir();
        assert_eq!(said(&folder, None), "cannot run \"FILE\" (\"FILE\"): Is a directory (os error 21)");
        let script = file("no-interpreter", "#! /no/such/interpreter -x\n", 0o755);
        let missing = "cannot run \"FILE\" (\"FILE\"; its interpreter \"/no/such/interpreter\"): No such file or \
                       directory (os error 2)";
        assert_eq!(said(&script, None), missing);
        let outer = file("outer-script", &format!("#!{} a b", script.display()), 0o755);
        assert!(said(&outer, None).contains("its interpreter \"/no/such/interpreter\""));
        // Its own interpreter: the kernel says what it thinks of that.
        fs::write(&script, format!("#!{}\n", script.display())).expect("written");
        assert_eq!(find(script.as_os_str(), None).expect("it may be executed"), script);
        for script in [script, outer] {
            fs::remove_file(script).expect("removed");
        }
    }

    #[test]
    fn what_the_user_may_not_execute_is_refused_though_we_may() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let nobody = nobody();
        let private = file("private-program", "#!/bin/sh\n", 0o700);
        assert!(find(private.as_os_str(), None).is_ok());
        let expected = "cannot run \"FILE\" (\"FILE\", as user \"nobody\"): Permission denied (os error 13)";
        assert_eq!(said(&private, Some(&nobody)), expected);
        let script = file("private-interpreter", &format!("#!{}\n", private.display()), 0o755);
        assert!(said(&script, Some(&nobody)).ends_with("\"): Permission denied (os error 13)"));
        fs::set_permissions(&private, fs::Permissions::from_mode(0o711)).expect("allowed");
        assert!(find(script.as_os_str(), Some(&nobody)).is_ok());
        for file in [private, script] {
            fs::remove_file(file).expect("removed");
        }
    }
}
