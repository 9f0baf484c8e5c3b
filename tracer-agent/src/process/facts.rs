//! What `/proc` tells of a process, read once when it is selected or executes a program.

#![forbid(unsafe_code)]

mod sockets;

#[cfg(test)]
use std::sync::{Arc, Mutex};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tracer_common::{JavaPlan, TaskPlan};

use super::{
    build::{self, Program, ProgramBuild},
    digest::digest,
    executable, go,
    java::{self, JavaError},
    memory::ProcessMemory,
    named_file::{self, Credentials},
    python,
    runtime::{Runtime, file_name, runtime},
    tasks::TaskProgram,
};
use crate::task_runtime::TaskRuntime;

/// Bytes read of a command line or an environment: both may be megabytes.
const MAX_READ: u64 = 256 * 1024;

/// Bytes read of the mappings of a process that may run Python.
const MAX_MAPS: u64 = 4 << 20;

/// Longest value of a variable that is kept, bytes: a longer one is no name.
const MAX_VALUE: usize = 4096;
/// Bytes read of a `package.json`.
const MAX_PACKAGE: u64 = 64 * 1024;

/// Variables of a target's environment that identity needs. No others are kept.
const VARIABLES: [&str; 2] = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"];

/// What names of OpenTelemetry's agents contain.
const SDK: &str = "opentelemetry";

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessFacts {
    /// Process id, in the initial namespace.
    pub pid: u32,
    /// Parent.
    pub parent: u32,
    /// When it started, clock ticks since boot: with `pid` it names a process for ever.
    pub start_ticks: u64,
    /// Resolved path of the executable.
    pub exe: String,
    /// The executable's file has been removed or replaced since.
    pub exe_deleted: bool,
    /// Arguments, the first included.
    pub command_line: Vec<String>,
    /// Current directory.
    pub directory: String,
    /// Name in the directory's `package.json`, for JavaScript programs.
    pub package: Option<String>,
    /// The executable is a 32-bit one.
    pub is_32_bit: bool,
    /// Those of the target's variables that identity needs.
    pub environment: BTreeMap<String, String>,
    /// Container that it runs in.
    pub container: Option<String>,
    /// systemd unit that it belongs to.
    pub unit: Option<String>,
    /// Digest of its executable (its build id, or which file it is) and its command line.
    pub program: Option<u64>,
    /// What tells its build from others of the same program.
    pub build: Option<ProgramBuild>,
    /// What it runs, if that has tasks of its own.
    pub tasks: Option<TaskProgram>,
    /// OpenTelemetry's SDK is in it: in a Go program's modules, or as an agent that its command line or its environment
    /// loads.
    pub has_sdk: bool,
}

impl ProcessFacts {
    /// What tells its program from others: [`Self::program`], else the path of its executable and its command line, if
    /// that path is still the executable's.
    pub fn digest_of_program(&self) -> Option<u64> {
        let parts = || std::iter::once(&self.exe).chain(&self.command_line).map(String::as_bytes);
        self.program.or_else(|| (!self.exe_deleted).then(|| digest(parts())))
    }
}

/// The variables of an environment, each with its value; one that is cut is left out.
fn variables(environment: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    environment
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry.strip_suffix(b"\0")?).ok()?.split_once('='))
}

/// The variables that identity needs.
fn named_variables(environment: &[u8]) -> BTreeMap<String, String> {
    variables(environment)
        .filter(|(name, value)| VARIABLES.contains(name) && value.len() <= MAX_VALUE)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Whether a variable makes a runtime load OpenTelemetry's agent.
fn loads_sdk(environment: &[u8]) -> bool {
    /// Of Java, Node.js and Python.
    const LOADERS: [&str; 3] = ["JAVA_TOOL_OPTIONS", "NODE_OPTIONS", "PYTHONPATH"];
    variables(environment).any(|(name, value)| LOADERS.contains(&name) && value.contains(SDK))
}

/// A proc file system.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
    /// By network namespace, as its link says.
    listeners: RefCell<BTreeMap<PathBuf, Listeners>>,
    /// The paths that were looked at, in tests.
    #[cfg(test)]
    pub(crate) looked_at: Arc<Mutex<Vec<String>>>,
}

/// Who listens in a network namespace.
#[derive(Clone, Debug)]
struct Listeners {
    /// When it must be read again.
    until: Instant,
    /// Ports and inodes of the sockets.
    listeners: Vec<(u16, u64)>,
}

/// What `stat` tells of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStat {
    /// Parent.
    pub parent: u32,
    /// When it started, clock ticks since boot.
    pub start_ticks: u64,
    /// Where code begins and ends, and the stack begins. A fork keeps these addresses, an exec draws new ones
    /// (address space layout randomization). Zeros if they may not be read.
    pub layout: [u64; 3],
    /// It has executed no program since it was forked.
    pub is_forked: bool,
}

impl Default for Proc {
    fn default() -> Self {
        Self::at(Path::new("/proc"))
    }
}

impl Proc {
    /// Another root, for tests.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            listeners: RefCell::default(),
            #[cfg(test)]
            looked_at: Arc::default(),
        }
    }

    pub(super) fn path(&self, pid: u32, name: &str) -> PathBuf {
        #[cfg(test)]
        self.looked_at.lock().expect("no panic before").push(format!("{pid}/{name}"));
        self.root.join(pid.to_string()).join(name)
    }

    /// The memory of a process.
    ///
    /// # Errors
    /// The process is gone, or may not be looked at.
    pub(super) fn memory(&self, pid: u32) -> io::Result<ProcessMemory> {
        Ok(ProcessMemory::new(File::open(self.path(pid, "mem"))?, File::open(self.path(pid, "pagemap"))?))
    }

    /// All processes.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.root)?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// What the kernel knows of a process by itself: of the files that the process names, none is opened.
    ///
    /// # Errors
    /// The process is gone, or may not be looked at.
    pub fn facts(&self, pid: u32) -> io::Result<ProcessFacts> {
        let ProcessStat { parent, start_ticks, .. } = self.stat(pid)?;
        let (exe, exe_deleted) = self.exe(pid)?;
        Ok(ProcessFacts {
            pid,
            parent,
            start_ticks,
            exe,
            exe_deleted,
            command_line: self.command_line(pid)?,
            is_32_bit: self.is_32_bit(pid),
            ..ProcessFacts::default()
        })
    }

    /// Adds what names the service of a selected process, from its part of the proc file system.
    pub fn describe(&self, facts: &mut ProcessFacts) {
        let pid = facts.pid;
        let cgroups = bounded(&self.path(pid, "cgroup")).unwrap_or_default();
        let cgroups = String::from_utf8_lossy(&cgroups);
        // The unit around a container is its runtime's, not the service's.
        facts.container = cgroups.lines().find_map(container_of);
        facts.unit = facts.container.is_none().then(|| cgroups.lines().find_map(unit_of)).flatten();
        facts.directory = self.directory(pid);
        let environment = bounded(&self.path(pid, "environ")).unwrap_or_default();
        facts.environment = named_variables(&environment);
        facts.has_sdk = loads_sdk(&environment) || facts.command_line.iter().any(|it| it.contains(SDK));
    }

    /// The current directory; empty if it cannot be told.
    pub(super) fn directory(&self, pid: u32) -> String {
        let path = fs::read_link(self.path(pid, "cwd"));
        path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Adds what names the service and tells the program of a selected process, from files that the process or its
    /// owner chose. This can take any time: a file system may not answer.
    pub fn describe_by_files(&self, facts: &mut ProcessFacts) {
        let arguments = facts.command_line.iter().map(String::as_bytes);
        let executable = executable::identity(&self.path(facts.pid, "exe")).ok();
        facts.program =
            executable.map(|executable| digest(std::iter::once(&executable[..]).chain(arguments)));
        let proc = self.path(facts.pid, "exe");
        let reader = self.credentials(facts.pid);
        facts.build = proc.parent().and_then(|proc| {
            let ProcessFacts { exe, command_line, directory, .. } = &*facts;
            build::read(proc, Program { exe, command_line, directory }, reader.as_ref())
        });
        facts.tasks = self.task_program(facts.pid, &facts.exe);
        facts.has_sdk |= facts.tasks.as_ref().is_some_and(|tasks| tasks.has_sdk);
        if matches!(runtime(file_name(&facts.exe)), Runtime::Node | Runtime::Deno) {
            facts.package = self.package(facts.pid);
        }
    }

    /// What a process runs, if that has tasks of its own; `exe` is the path of its executable.
    pub fn task_program(&self, pid: u32, exe: &str) -> Option<TaskProgram> {
        if matches!(file_name(exe), "nginx" | "angie") {
            return Some(TaskProgram::new(TaskRuntime::Nginx, String::new(), Some(TaskPlan::Nginx)));
        }
        // Its plan takes a search.
        if runtime(file_name(exe)) == Runtime::Node {
            return Some(TaskProgram::new(TaskRuntime::Node, String::new(), None));
        }
        if file_name(exe) == "java" {
            return Some(TaskProgram::new(TaskRuntime::Java, String::new(), None));
        }
        let file = File::open(self.path(pid, "exe")).ok();
        let go = file.and_then(|file| go::read(&file, || self.base(pid)).ok().flatten());
        // A process that has just executed Python may show nothing of it yet.
        let awaited = || {
            let program = TaskProgram::new(TaskRuntime::Python, String::new(), None);
            python::is_named(exe).then_some(TaskProgram { is_awaited: true, ..program })
        };
        go.or_else(|| self.python(pid, exe, 0)).or_else(awaited)
    }

    /// What a process runs, if that is CPython. `thread` serves; 0 if none is known to.
    pub(super) fn python(&self, pid: u32, exe: &str, thread: u32) -> Option<TaskProgram> {
        let maps = self.maps(pid)?;
        if !python::may_run(exe, &maps) {
            return None;
        }
        let open = |mapping: &python::Mapping<'_>| self.open_mapped(pid, exe, mapping);
        let memory = self.memory(pid).ok()?;
        let thread = if thread == 0 { 0 } else { self.own_number(pid, thread).unwrap_or_default() };
        python::find(&python::Process { maps: &maps, open: &open, memory: &memory, executable: exe, thread })
    }

    /// What a process runs, if that is Java and its virtual threads can be read.
    pub(super) fn java(&self, pid: u32, exe: &str) -> Result<JavaPlan, JavaError> {
        let maps = self.maps(pid).ok_or(JavaError::NoMachine)?;
        let open = |mapping: &python::Mapping<'_>| self.open_mapped(pid, exe, mapping);
        let memory = self.memory(pid).map_err(|_| JavaError::NoMachine)?;
        java::plan(&java::Process { maps: &maps, open: &open, memory: &memory })
    }

    /// What is mapped where in its memory (proc_pid_maps(5)).
    fn maps(&self, pid: u32) -> Option<String> {
        let mut maps = Vec::new();
        File::open(self.path(pid, "maps")).ok()?.take(MAX_MAPS).read_to_end(&mut maps).ok()?;
        Some(String::from_utf8_lossy(&maps).into_owned())
    }

    /// Opens a file that a process has mapped.
    fn open_mapped(&self, pid: u32, exe: &str, mapping: &python::Mapping<'_>) -> io::Result<File> {
        let path = match mapping.path == exe {
            true => self.path(pid, "exe"),
            false => self.path(pid, "map_files").join(mapping.range),
        };
        // To open anything else may wait, or do something.
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        File::open(path)
    }

    /// The number of a thread in its own PID namespace.
    fn own_number(&self, pid: u32, thread: u32) -> Option<u32> {
        let status = bounded(&self.path(pid, "task").join(thread.to_string()).join("status")).ok()?;
        let status = String::from_utf8_lossy(&status);
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        numbers.split_whitespace().last()?.parse().ok()
    }

    /// Where the beginning of the executable's file is in the process's memory.
    fn base(&self, pid: u32) -> Option<u64> {
        let exe = fs::read_link(self.path(pid, "exe")).ok()?;
        let maps = bounded(&self.path(pid, "maps")).ok()?;
        let maps = String::from_utf8_lossy(&maps);
        // Addresses, access, offset, device, inode, path (proc_pid_maps(5)).
        let line = maps.lines().find(|line| {
            line.split_whitespace().nth(2) == Some("00000000") && line.ends_with(&*exe.to_string_lossy())
        })?;
        u64::from_str_radix(line.split_once('-')?.0, 16).ok()
    }

    /// Path of the executable, and whether its file has been removed or replaced since.
    pub fn exe(&self, pid: u32) -> io::Result<(String, bool)> {
        let exe = fs::read_link(self.path(pid, "exe"))?;
        let exe = exe.to_string_lossy();
        Ok(match exe.strip_suffix(" (deleted)") {
            Some(exe) => (exe.to_owned(), true),
            None => (exe.into_owned(), false),
        })
    }

    /// Some fields of `stat`, which stand behind the name in parentheses. The name may hold anything.
    pub fn stat(&self, pid: u32) -> io::Result<ProcessStat> {
        /// Set by `fork`, cleared by `exec` (`include/linux/sched.h`).
        const PF_FORKNOEXEC: u64 = 0x40;
        let text = bounded(&self.path(pid, "stat"))?;
        let text = String::from_utf8_lossy(&text);
        let fields: Vec<&str> =
            text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // Numbered from 1 with the pid, as in proc_pid_stat(5); the list begins with the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let parent = fields.get(1).and_then(|field| field.parse().ok());
        parent
            .zip(field(22))
            .map(|(parent, start_ticks)| ProcessStat {
                parent,
                start_ticks,
                layout: [26, 27, 28].map(|number| field(number).unwrap_or_default()),
                is_forked: field(9).unwrap_or_default() & PF_FORKNOEXEC != 0,
            })
            .ok_or_else(|| io::Error::other(format!("cannot understand the stat file of process {pid}")))
    }

    /// Whether the process that had this pid is gone: there is none, or the one that is there `is_another` by its start.
    /// One that cannot be looked at, for want of a descriptor for one, is not gone.
    pub fn is_gone(&self, pid: u32, is_another: impl FnOnce(u64) -> bool) -> bool {
        match self.stat(pid) {
            Ok(stat) => is_another(stat.start_ticks),
            Err(error) => {
                error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
            }
        }
    }

    /// Parent of a process.
    pub fn parent(&self, pid: u32) -> Option<u32> {
        self.stat(pid).ok().map(|stat| stat.parent)
    }

    /// The command line. A program that has written a title over it may have filled the rest with
    /// zeros; they are no arguments.
    pub fn command_line(&self, pid: u32) -> io::Result<Vec<String>> {
        let bytes = bounded(&self.path(pid, "cmdline"))?;
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = bytes.get(..end).unwrap_or_default();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect())
    }

    /// Those variables that identity needs. An entry without its end was cut by the limit, and left out.
    /// Name of the package in the process's directory.
    fn package(&self, pid: u32) -> Option<String> {
        #[derive(Deserialize)]
        struct Package {
            name: String,
        }
        let reader = self.credentials(pid)?;
        let bytes = named_file::read(&self.path(pid, "cwd"), "package.json", &reader, MAX_PACKAGE)?;
        let package: Package = serde_json::from_slice(&bytes).ok()?;
        (package.name.len() <= MAX_VALUE).then_some(package.name)
    }

    /// Whom the process acts for when it opens a file.
    fn credentials(&self, pid: u32) -> Option<Credentials> {
        let status = bounded(&self.path(pid, "status")).ok()?;
        let status = String::from_utf8_lossy(&status);
        let numbers = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().filter_map(|number| number.parse().ok()).collect::<Vec<u32>>())
        };
        // Real, effective, saved, and of the file system.
        let mut groups = numbers("Groups:").unwrap_or_default();
        groups.push(*numbers("Gid:")?.get(3)?);
        let map = bounded(&self.path(pid, "uid_map")).unwrap_or_default();
        let root = String::from_utf8_lossy(&map).lines().find_map(mapped_root).unwrap_or_default();
        Some(Credentials { user: *numbers("Uid:")?.get(3)?, groups, root })
    }

    /// Whether the program is a 32-bit one. The auxiliary vector shows it: the kernel has made it, and it consists of
    /// pairs of words of the program's width. In the first pair neither number is 0, and the first is small.
    fn is_32_bit(&self, pid: u32) -> bool {
        let mut pair = [0; 8];
        let read = File::open(self.path(pid, "auxv")).and_then(|mut file| file.read_exact(&mut pair));
        read.is_ok() && u64::from_ne_bytes(pair) >> 32 != 0
    }
}

/// Root of a user namespace as the reader sees it, if this line of `uid_map` tells it.
fn mapped_root(line: &str) -> Option<u32> {
    let mut fields = line.split_whitespace();
    (fields.next()? == "0").then(|| fields.next()?.parse().ok())?
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The container id in a line of `/proc/PID/cgroup`: 64 hexadecimal digits, whatever the runtime puts
/// around them (docker, containerd, cri-o, podman; cgroup v1 and v2), or the task's id and a number
/// (`/ecs/TASK/TASK-NUMBER`, Amazon ECS). A container's monitor is not in it.
fn container_of(line: &str) -> Option<String> {
    let path = line.splitn(3, ':').nth(2)?;
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let (runtime, id) = part.rsplit_once(['-', ':']).unwrap_or(("", part));
        if is_hex(id, 64) && !runtime.ends_with("conmon") {
            return Some(id.to_owned());
        }
        let is_task = is_hex(runtime, 32) && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        is_task.then(|| part.to_owned())
    })
}

/// The service unit in a line of `/proc/PID/cgroup`, without its suffix.
fn unit_of(line: &str) -> Option<String> {
    let path = line.splitn(3, ':').nth(2)?;
    let unit = path.rsplit('/').find_map(|part| part.strip_suffix(".service"))?;
    (!unit.starts_with("user@")).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn this_process_is_read() {
        let pid = std::process::id();
        let facts = Proc::default().facts(pid).expect("our own");
        assert_eq!(facts.pid, pid);
        assert!(facts.start_ticks > 0);
        assert_eq!(facts.exe, std::env::current_exe().expect("known").to_string_lossy());
        assert_eq!(facts.command_line.len(), std::env::args().count());
        assert!(!facts.is_32_bit);
        assert!(Proc::default().facts(u32::MAX).is_err());
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        assert!(Proc::default().listening_ports(std::process::id()).expect("our own").contains(&port));
    }

    #[test]
    fn containers_and_units_are_told_from_cgroups() {
        let id = "0123456789abcdef".repeat(4);
        for line in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!("12:pids:/docker/{id}"),
            format!("0::/kubepods.slice/kubepods-besteffort.slice/pod1/cri-containerd-{id}.scope"),
            format!("0::/kubepods/burstable/pod1/crio-{id}"),
            format!("0::/machine.slice/libpod-{id}.scope/container"),
            format!("0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"),
        ] {
            assert_eq!(container_of(&line).as_deref(), Some(id.as_str()), "{line}");
        }
        let task = "0123456789abcdef0123456789abcdef";
        let line = format!("9:memory:/ecs/{task}/{task}-1234567890");
        assert_eq!(container_of(&line), Some(format!("{task}-1234567890")));
        assert_eq!(container_of(&format!("0::/machine.slice/libpod-conmon-{id}.scope")), None);
        assert_eq!(container_of("0::/user.slice/user-0.slice/session-1.scope"), None);
        assert_eq!(unit_of("0::/system.slice/nginx.service").as_deref(), Some("nginx"));
        assert_eq!(unit_of("0::/user.slice/user@1000.service"), None);
    }

    /// A process in a proc file system of its own, removed with it.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("tracer-proc-{}-{name}", std::process::id()));
            let fake = Self(root);
            fs::create_dir_all(fake.0.join("7")).expect("created");
            fake.write("stat", b"7 (a) b) c) S 3 7 7 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 99 0");
            fake.write("cmdline", b"x\0");
            fake
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.0.join("7").join(name), bytes).expect("written");
        }

        fn link(&self, name: &str, target: &Path) {
            std::os::unix::fs::symlink(target, self.0.join("7").join(name)).expect("linked");
        }

        fn facts(&self) -> ProcessFacts {
            let proc = Proc::at(&self.0);
            let mut facts = proc.facts(7).expect("readable");
            proc.describe(&mut facts);
            proc.describe_by_files(&mut facts);
            facts
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn hostile_proc_files_are_bounded() {
        let fake = Fake::new("hostile");
        fake.link("exe", Path::new("/bin/x (deleted)"));
        fake.write("cmdline", &vec![b'a'; 3 << 20]);
        let mut environment = b"OTEL_RESOURCE_ATTRIBUTES=a=b\0SECRET=x\0BIG=".to_vec();
        environment.resize(MAX_READ as usize - 22, b'x');
        environment.extend(b"\0OTEL_SERVICE_NAME=checkout\0");
        fake.write("environ", &environment);
        let facts = fake.facts();
        assert_eq!((facts.parent, facts.start_ticks), (3, 99));
        assert_eq!((facts.exe.as_str(), facts.exe_deleted), ("/bin/x", true));
        assert_eq!(facts.command_line[0].len() as u64, MAX_READ);
        let kept: Vec<_> = facts.environment.into_iter().collect();
        assert_eq!(
            kept,
            [("OTEL_RESOURCE_ATTRIBUTES".to_owned(), "a=b".to_owned())],
            "no secret, no cut name"
        );
    }

    #[test]
    fn zeros_behind_a_title_are_no_arguments() {
        let fake = Fake::new("title");
        fake.link("exe", Path::new("/usr/bin/python3"));
        fake.write("cmdline", b"gunicorn: master [shop:app]\0\0\0\0");
        assert_eq!(fake.facts().command_line, ["gunicorn: master [shop:app]"]);
        fake.write("cmdline", b"a\0\0b\0");
        assert_eq!(fake.facts().command_line, ["a", "", "b"]);
        fake.write("cmdline", b"");
        assert!(fake.facts().command_line.is_empty());
    }

    #[test]
    fn a_container_hides_the_unit_of_its_runtime() {
        let fake = Fake::new("cgroup");
        fake.link("exe", Path::new("/bin/x"));
        let id = "0123456789abcdef".repeat(4);
        fake.write("cgroup", format!("0::/system.slice/docker.service/docker/{id}\n").as_bytes());
        assert_eq!((fake.facts().container, fake.facts().unit), (Some(id), None));
        fake.write("cgroup", b"1:name=systemd:/system.slice/orders.service\n0::/\n");
        assert_eq!((fake.facts().container, fake.facts().unit.as_deref()), (None, Some("orders")));
    }

    #[test]
    fn the_package_of_a_javascript_program_is_read_but_no_device() {
        let fake = Fake::new("package");
        let home = fake.0.join("home");
        fs::create_dir(&home).expect("created");
        fake.link("exe", Path::new("/usr/bin/node"));
        fake.link("cwd", &home);
        fake.write("status", b"Name:\tnode\nUid:\t1\t1\t1\t12345\nGid:\t1\t1\t1\t12345\nGroups:\t7 8 \n");
        let package = home.join("package.json");
        fs::write(&package, r#"{"name": "@acme/shop", "version": "1"}"#).expect("written");
        fs::set_permissions(&package, PermissionsExt::from_mode(0o604)).expect("ours");
        let is_ours_or_roots = rustix::process::getuid().is_root();
        assert_eq!(fake.facts().package.as_deref(), is_ours_or_roots.then_some("@acme/shop"));
        fs::set_permissions(&package, PermissionsExt::from_mode(0o600)).expect("ours");
        assert_eq!(fake.facts().package, None, "the process may not read it");
        let own = rustix::process::getuid().as_raw();
        fake.write("status", format!("Uid:\t1\t1\t1\t{own}\nGid:\t1\t1\t1\t1\n").as_bytes());
        assert_eq!(fake.facts().package.as_deref(), Some("@acme/shop"));
        fs::remove_file(&package).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", &package).expect("linked");
        assert_eq!(fake.facts().package, None);
    }

    #[test]
    fn facts_open_no_file_that_the_process_names() {
        let fake = Fake::new("basics");
        fake.link("exe", Path::new("/usr/bin/node"));
        let proc = Proc::at(&fake.0);
        proc.facts(7).expect("readable");
        let looked_at = proc.looked_at.lock().expect("free").clone();
        assert_eq!(looked_at, ["7/stat", "7/exe", "7/cmdline", "7/auxv"]);
    }

    #[test]
    fn the_auxiliary_vector_tells_the_width_of_a_program() {
        let fake = Fake::new("width");
        fake.link("exe", Path::new("/bin/x"));
        fake.write("auxv", &[33, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0xff, 0xf7, 0xff, 0x7f, 0, 0]);
        assert!(!fake.facts().is_32_bit);
        fake.write("auxv", &[32, 0, 0, 0, 0x10, 0x55, 0xff, 0xf7, 33, 0, 0, 0, 0, 0x50, 0xff, 0xf7]);
        assert!(fake.facts().is_32_bit);
    }
}
