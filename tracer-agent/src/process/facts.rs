//! What `/proc` tells of a process, read once when it is selected or executes a program.

#![forbid(unsafe_code)]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use super::runtime::{Runtime, file_name, runtime};

/// Bytes read of a command line or an environment: both may be megabytes.
const MAX_READ: u64 = 256 * 1024;

/// Longest value of a variable that is kept, bytes: a longer one is no name.
const MAX_VALUE: usize = 4096;
/// Bytes read of a `package.json`.
const MAX_PACKAGE: u64 = 64 * 1024;

/// Variables of a target's environment that identity needs. No others are kept.
const VARIABLES: [&str; 2] = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"];

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
}

/// A proc file system.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
    /// By network namespace, as its link says.
    listeners: RefCell<BTreeMap<PathBuf, Listeners>>,
}

/// Who listens in a network namespace.
#[derive(Clone, Debug)]
struct Listeners {
    /// When it must be read again.
    until: Instant,
    /// Ports and inodes of the sockets.
    listeners: Vec<(u16, u64)>,
}

impl Default for Proc {
    fn default() -> Self {
        Self::at(Path::new("/proc"))
    }
}

impl Proc {
    /// Another root, for tests.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), listeners: RefCell::default() }
    }

    fn path(&self, pid: u32, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }

    /// All processes.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.root)?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// Everything about one process.
    ///
    /// # Errors
    /// The process is gone, or may not be looked at.
    pub fn facts(&self, pid: u32) -> io::Result<ProcessFacts> {
        let (parent, start_ticks) = self.status(pid)?;
        let exe = fs::read_link(self.path(pid, "exe"))?;
        let exe = exe.to_string_lossy();
        let (exe, exe_deleted) = match exe.strip_suffix(" (deleted)") {
            Some(exe) => (exe, true),
            None => (&*exe, false),
        };
        let cgroups = bounded(&self.path(pid, "cgroup")).unwrap_or_default();
        let cgroups = String::from_utf8_lossy(&cgroups);
        // The unit around a container is its runtime's, not the service's.
        let container = cgroups.lines().find_map(container_of);
        Ok(ProcessFacts {
            pid,
            parent,
            start_ticks,
            exe: exe.to_owned(),
            exe_deleted,
            command_line: self.command_line(pid)?,
            directory: fs::read_link(self.path(pid, "cwd"))
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
            package: matches!(runtime(file_name(exe)), Runtime::Node | Runtime::Deno)
                .then(|| self.package(pid))
                .flatten(),
            is_32_bit: self.is_32_bit(pid),
            environment: self.environment(pid),
            unit: container.is_none().then(|| cgroups.lines().find_map(unit_of)).flatten(),
            container,
        })
    }

    /// Parent and start time: fields 4 and 22 of `stat`, behind the name in parentheses, which may
    /// hold anything.
    fn status(&self, pid: u32) -> io::Result<(u32, u64)> {
        let text = bounded(&self.path(pid, "stat"))?;
        let text = String::from_utf8_lossy(&text);
        let fields: Vec<&str> =
            text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let parent = fields.get(1).and_then(|field| field.parse().ok());
        let start = fields.get(19).and_then(|field| field.parse().ok());
        parent
            .zip(start)
            .ok_or_else(|| io::Error::other(format!("cannot understand the stat file of process {pid}")))
    }

    /// Parent of a process.
    pub fn parent(&self, pid: u32) -> Option<u32> {
        self.status(pid).ok().map(|(parent, _)| parent)
    }

    /// The command line. A program that has written a title over it may have filled the rest with
    /// zeros; they are no arguments.
    fn command_line(&self, pid: u32) -> io::Result<Vec<String>> {
        let bytes = bounded(&self.path(pid, "cmdline"))?;
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = bytes.get(..end).unwrap_or_default();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect())
    }

    /// Those variables that identity needs. An entry without its end was cut by the limit, and left out.
    fn environment(&self, pid: u32) -> BTreeMap<String, String> {
        let bytes = bounded(&self.path(pid, "environ")).unwrap_or_default();
        bytes
            .split_inclusive(|byte| *byte == 0)
            .filter_map(|entry| std::str::from_utf8(entry.strip_suffix(b"\0")?).ok()?.split_once('='))
            .filter(|(name, value)| VARIABLES.contains(name) && value.len() <= MAX_VALUE)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Name of the package in the process's directory, as the process sees it.
    fn package(&self, pid: u32) -> Option<String> {
        #[derive(Deserialize)]
        struct Package {
            name: String,
        }
        let path = self.path(pid, "cwd").join("package.json");
        // Without O_NONBLOCK a pipe of that name would hold the agent for ever.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(MAX_PACKAGE).read_to_end(&mut bytes).ok()?;
        let package: Package = serde_json::from_slice(&bytes).ok()?;
        (package.name.len() <= MAX_VALUE).then_some(package.name)
    }

    fn is_32_bit(&self, pid: u32) -> bool {
        let mut ident = [0; 5];
        let read = File::open(self.path(pid, "exe")).and_then(|mut file| file.read_exact(&mut ident));
        read.is_ok() && ident == *b"\x7fELF\x01"
    }

    /// TCP ports that the process listens on.
    pub fn listening_ports(&self, pid: u32) -> Vec<u16> {
        let sockets = self.socket_inodes(pid);
        if sockets.is_empty() {
            return Vec::new();
        }
        // A namespace that is not told is the process's own.
        let namespace = fs::read_link(self.path(pid, "ns/net")).unwrap_or_else(|_| pid.to_string().into());
        let mut known = self.listeners.borrow_mut();
        let begin = Instant::now();
        known.retain(|_, listeners| begin < listeners.until);
        let listeners = known.entry(namespace).or_insert_with(|| {
            let listeners = self.listeners_of(pid);
            // The tables hold every connection of the namespace: with many of them, reading takes long,
            // and may take a twentieth of the time at most.
            Listeners { until: Instant::now() + begin.elapsed() * 20, listeners }
        });
        let mut ports: Vec<u16> = listeners
            .listeners
            .iter()
            .filter(|(_, inode)| sockets.contains(inode))
            .map(|(port, _)| *port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Ports and inodes of all listeners in the process's network namespace.
    fn listeners_of(&self, pid: u32) -> Vec<(u16, u64)> {
        ["net/tcp", "net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(self.path(pid, table)).ok())
            .flat_map(|text| text.lines().skip(1).filter_map(listener).collect::<Vec<_>>())
            .collect()
    }

    fn socket_inodes(&self, pid: u32) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(self.path(pid, "fd")) else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| {
                let link = fs::read_link(entry.path()).ok()?;
                link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
            })
            .collect()
    }
}

/// Port and inode of a line of `/proc/net/tcp` that is a listener (state 0A).
fn listener(line: &str) -> Option<(u16, u64)> {
    let mut fields = line.split_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    Some((u16::from_str_radix(port, 16).ok()?, fields.nth(5)?.parse().ok()?))
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
        assert!(Proc::default().listening_ports(std::process::id()).contains(&port));
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
            Proc::at(&self.0).facts(7).expect("readable")
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
        fs::write(home.join("package.json"), r#"{"name": "@acme/shop", "version": "1"}"#).expect("written");
        assert_eq!(fake.facts().package.as_deref(), Some("@acme/shop"));
        fs::remove_file(home.join("package.json")).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", home.join("package.json")).expect("linked");
        assert_eq!(fake.facts().package, None);
    }
}
