//! What `/proc` tells of a process, read once when it is selected or executes a program.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Bytes read of a command line or an environment: both may be megabytes.
const MAX_READ: u64 = 256 * 1024;

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
    /// Arguments, the first included.
    pub command_line: Vec<String>,
    /// Current directory.
    pub directory: String,
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
}

impl Default for Proc {
    fn default() -> Self {
        Self { root: PathBuf::from("/proc") }
    }
}

impl Proc {
    /// Another root, for tests.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
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
        let environment = self.strings(pid, "environ").unwrap_or_default();
        let cgroups = bounded(&self.path(pid, "cgroup")).unwrap_or_default();
        let cgroups = String::from_utf8_lossy(&cgroups);
        Ok(ProcessFacts {
            pid,
            parent,
            start_ticks,
            exe: exe.strip_suffix(" (deleted)").unwrap_or(&exe).to_owned(),
            command_line: self.strings(pid, "cmdline")?,
            directory: fs::read_link(self.path(pid, "cwd"))
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
            is_32_bit: self.is_32_bit(pid),
            environment: environment
                .iter()
                .filter_map(|entry| entry.split_once('='))
                .filter(|(name, _)| VARIABLES.contains(name))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            container: cgroups.lines().find_map(container_of),
            unit: cgroups.lines().find_map(unit_of),
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

    fn strings(&self, pid: u32, name: &str) -> io::Result<Vec<String>> {
        let bytes = bounded(&self.path(pid, name))?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect())
    }

    fn is_32_bit(&self, pid: u32) -> bool {
        let mut ident = [0; 5];
        let read = File::open(self.path(pid, "exe")).and_then(|mut file| file.read_exact(&mut ident));
        read.is_ok() && ident == *b"\x7fELF\x01"
    }

    /// TCP ports that the process listens on.
    pub fn listening_ports(&self, pid: u32) -> Vec<u16> {
        let mut ports: Vec<u16> = Vec::new();
        let mut sockets = None;
        for table in ["net/tcp", "net/tcp6"] {
            let Ok(text) = fs::read_to_string(self.path(pid, table)) else { continue };
            for line in text.lines().skip(1) {
                let Some((port, inode)) = listener(line) else { continue };
                let sockets = sockets.get_or_insert_with(|| self.socket_inodes(pid));
                if sockets.contains(&inode) && !ports.contains(&port) {
                    ports.push(port);
                }
            }
        }
        ports.sort_unstable();
        ports
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
/// around them (docker, containerd, cri-o, podman; cgroup v1 and v2).
fn container_of(line: &str) -> Option<String> {
    let path = line.splitn(3, ':').nth(2)?;
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next()?;
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
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
        ] {
            assert_eq!(container_of(&line).as_deref(), Some(id.as_str()), "{line}");
        }
        assert_eq!(container_of("0::/user.slice/user-0.slice/session-1.scope"), None);
        assert_eq!(unit_of("0::/system.slice/nginx.service").as_deref(), Some("nginx"));
        assert_eq!(unit_of("0::/user.slice/user@1000.service"), None);
    }

    #[test]
    fn hostile_proc_files_are_bounded() {
        let root = std::env::temp_dir().join(format!("tracer-proc-{}", std::process::id()));
        let dir = root.join("7");
        fs::create_dir_all(&dir).expect("created");
        fs::write(dir.join("stat"), "7 (a) b) c) S 3 7 7 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 99 0")
            .expect("written");
        fs::write(dir.join("cmdline"), vec![b'a'; 3 << 20]).expect("written");
        std::os::unix::fs::symlink("/bin/x (deleted)", dir.join("exe")).expect("linked");
        let facts = Proc::at(&root).facts(7).expect("readable");
        assert_eq!((facts.parent, facts.start_ticks, facts.exe.as_str()), (3, 99, "/bin/x"));
        assert_eq!(facts.command_line[0].len() as u64, MAX_READ);
        fs::remove_dir_all(root).expect("removed");
    }
}
