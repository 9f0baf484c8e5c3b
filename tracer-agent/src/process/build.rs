//! What tells one build of a program from another, so that a release is seen that nobody tells.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    digest::digest,
    executable,
    named_file::{self, Credentials},
    runtime::{Runtime, file_name, runtime},
};

/// Files that are looked at, and bytes of each and of all.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 1 << 20;
const MOST_BYTES_OF_ALL: u64 = 8 << 20;

/// Entries of the folder that are looked at.
const MOST_ENTRIES: usize = 2000;

/// Arguments that are looked at for the program's file.
const MOST_ARGUMENTS: usize = 16;

/// Bytes of an executable without a build id that are looked at, at its begin and at its end.
const EDGE: usize = 64 * 1024;

/// Endings of files that are code.
const CODE: [&str; 14] =
    ["py", "js", "mjs", "cjs", "ts", "rb", "ru", "php", "pl", "psgi", "jar", "war", "dll", "deps.json"];

/// Files that say which packages a program has.
const MANIFESTS: [&str; 12] = [
    "package.json",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "deno.lock",
    "requirements.txt",
    "pyproject.toml",
    "poetry.lock",
    "uv.lock",
    "Pipfile.lock",
    "Gemfile.lock",
    "composer.lock",
];

/// What tells one build of a program from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramBuild {
    /// The build id that a linker wrote into the executable, in hexadecimal digits.
    Gnu(String),
    /// A digest of the program's files: of its executable, or of its scripts and lists of packages.
    Digest(String),
}

/// What a process runs.
#[derive(Clone, Copy)]
pub(super) struct Program<'a> {
    /// Path of the executable.
    pub(super) exe: &'a str,
    /// Arguments, the first included.
    pub(super) command_line: &'a [String],
    /// Current directory.
    pub(super) directory: &'a str,
}

/// The build of a process's program: of a compiled one that of its executable, of another one that of its files. None if there
/// are none. `proc` is its part of the proc file system.
pub(super) fn read(proc: &Path, program: Program<'_>, reader: Option<&Credentials>) -> Option<ProgramBuild> {
    match runtime(file_name(program.exe)) {
        Runtime::Other => of_executable(&proc.join("exe")),
        Runtime::Shell | Runtime::Erlang => None,
        _ => of_files(proc, program, reader?).map(|digest| ProgramBuild::Digest(format!("{digest:016x}"))),
    }
}

fn of_executable(link: &Path) -> Option<ProgramBuild> {
    let file = File::open(link).ok()?;
    if let Some(id) = executable::build_id(&file) {
        return Some(ProgramBuild::Gnu(id.iter().map(|byte| format!("{byte:02x}")).collect()));
    }
    let length = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
    let edge = |from: u64| {
        let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(EDGE).min(EDGE)];
        file.read_exact_at(&mut bytes, from).ok().map(|()| bytes)
    };
    let (begin, end) = (edge(0)?, edge(length.saturating_sub(EDGE as u64))?);
    let digest = digest([&begin[..], &end[..], &length.to_le_bytes()[..]]);
    Some(ProgramBuild::Digest(format!("{digest:016x}")))
}

/// A digest of the scripts that the command line names, and of the code and the lists of packages in the working directory.
fn of_files(proc: &Path, program: Program<'_>, reader: &Credentials) -> Option<u64> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut left = MOST_BYTES_OF_ALL;
    let mut add = |folder: &str, name: &str| {
        let most = MOST_BYTES.min(left);
        if let Some((size, bytes)) = named_file::read_sized(&proc.join(folder), name, reader, most) {
            left -= bytes.len() as u64;
            parts.extend([name.as_bytes().to_vec(), size.to_le_bytes().to_vec(), bytes]);
        }
    };
    let mut names: BTreeSet<String> = in_folder(&proc.join("cwd"), program.directory);
    let named = program.command_line.iter().skip(1).take(MOST_ARGUMENTS);
    for argument in named.filter(|argument| !argument.starts_with('-') && is_code(argument)) {
        match argument.strip_prefix('/') {
            // The same file in the working directory has one name.
            Some(path) => {
                match argument.strip_prefix(program.directory).and_then(|rest| rest.strip_prefix('/')) {
                    Some(rest) => drop(names.insert(rest.to_owned())),
                    None => add("root", path),
                }
            }
            None => drop(names.insert(argument.trim_start_matches("./").to_owned())),
        }
    }
    names.iter().take(MOST_FILES).for_each(|name| add("cwd", name));
    (!parts.is_empty()).then(|| digest(parts.iter().map(Vec::as_slice)))
}

/// Code and lists of packages right in the working directory. The root of the file system is nobody's program.
fn in_folder(folder: &Path, directory: &str) -> BTreeSet<String> {
    if matches!(directory, "" | "/") {
        return BTreeSet::new();
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_ENTRIES);
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_code(name) || MANIFESTS.contains(&name.as_str()))
        .collect()
}

fn is_code(name: &str) -> bool {
    CODE.iter().any(|ending| name.strip_suffix(ending).is_some_and(|stem| stem.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, path::PathBuf};

    use super::*;

    /// A part of the proc file system whose working directory and root are folders of the test's.
    struct Process {
        folder: PathBuf,
        exe: String,
        command_line: Vec<String>,
        directory: String,
    }

    impl Process {
        fn new(name: &str, exe: &str, command: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("tracer-build-{}-{name}", std::process::id()));
            fs::create_dir_all(folder.join("root/srv/app/lib")).expect("created");
            symlink(folder.join("root/srv/app"), folder.join("cwd")).expect("linked");
            symlink("/proc/self/exe", folder.join("exe")).expect("linked");
            Self {
                folder,
                exe: exe.to_owned(),
                command_line: command.split(' ').map(str::to_owned).collect(),
                directory: "/srv/app".to_owned(),
            }
        }

        fn write(&self, name: &str, content: &str) {
            fs::write(self.folder.join("root/srv").join(name), content).expect("written");
        }

        fn build(&self) -> Option<ProgramBuild> {
            let user = rustix::process::getuid().as_raw();
            let Self { exe, command_line, directory, .. } = self;
            read(
                &self.folder,
                Program { exe, command_line, directory },
                Some(&Credentials { user, groups: Vec::new(), root: 0 }),
            )
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn a_compiled_program_is_told_by_its_build_id() {
        let process = Process::new("compiled", "/usr/bin/shop", "shop");
        let Some(ProgramBuild::Gnu(id)) = process.build() else { panic!("{:?}", process.build()) };
        assert!(id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        fs::remove_file(process.folder.join("exe")).expect("removed");
        assert_eq!(process.build(), None);
        fs::write(process.folder.join("exe"), "no program").expect("written");
        let Some(ProgramBuild::Digest(one)) = process.build() else { panic!("no digest") };
        fs::write(process.folder.join("exe"), "no progran").expect("written");
        assert_ne!(process.build(), Some(ProgramBuild::Digest(one)));
    }

    #[test]
    fn a_script_is_told_by_its_code_and_its_packages_wherever_it_stands() {
        let process = Process::new("script", "/usr/bin/python3.11", "python3 -u main.py 8080");
        assert_eq!(process.build(), None, "there is nothing");
        process.write("app/main.py", "one");
        let first = process.build();
        assert!(matches!(first, Some(ProgramBuild::Digest(_))), "{first:?}");
        let elsewhere = Process::new("elsewhere", "/usr/bin/python3.11", "python3 /srv/app/main.py");
        elsewhere.write("app/main.py", "one");
        assert_eq!(elsewhere.build(), first);
        process.write("app/notes.txt", "no code");
        assert_eq!(process.build(), first);
        let mut seen = vec![first];
        for (name, content) in
            [("app/main.py", "two"), ("app/requirements.txt", "flask==3"), ("app/other.py", "")]
        {
            process.write(name, content);
            let build = process.build();
            assert!(build.is_some() && !seen.contains(&build), "{name}");
            seen.push(build);
        }
    }

    #[test]
    fn a_script_in_another_folder_is_told_too_and_links_are_not_followed() {
        let process = Process::new("named", "/usr/bin/node", "node lib/server.js");
        process.write("app/lib/server.js", "one");
        let first = process.build();
        assert!(first.is_some());
        process.write("app/lib/server.js", "two");
        assert_ne!(process.build(), first);
        let process = Process::new("linked", "/usr/bin/node", "node server.js /srv/outside.js");
        process.write("secret.js", "secret");
        symlink("../secret.js", process.folder.join("root/srv/app/server.js")).expect("linked");
        assert_eq!(process.build(), None);
        process.write("outside.js", "one");
        assert!(process.build().is_some());
    }

    #[test]
    fn no_folder_is_searched_that_is_no_program() {
        let mut process = Process::new("root", "/usr/bin/python3.11", "python3 -m http.server");
        process.write("app/main.py", "one");
        process.directory = "/".to_owned();
        assert_eq!(process.build(), None);
        process.directory = "/srv/app".to_owned();
        process.exe = "/bin/bash".to_owned();
        assert_eq!(process.build(), None);
    }
}
