//! What the running agent says of itself, on a Unix socket: one JSON request on a line, one JSON answer.

#![forbid(unsafe_code)]

mod count;
mod links;

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use rustix::{fs::Mode, net::sockopt::socket_peercred, process::umask};
use serde::{Deserialize, Serialize};

pub use self::{count::Count, links::LinksStatus};
use crate::{
    outside::{OutsideText, escaped},
    sink::otlp::ExportStatistics,
};

/// Where the agent answers unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tracer.sock";

/// Where a running agent is asked: what `TRACER_SOCKET` says, as the agent reads it.
pub fn usual_socket() -> PathBuf {
    let named = std::env::var_os("TRACER_SOCKET").filter(|name| !name.is_empty());
    named.map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from)
}

/// Longest request or answer.
const MAX_MESSAGE: u64 = 16 << 20;
/// Longest request.
const MAX_REQUEST: usize = 4096;
/// Clients that are answered at once.
const MAX_CLIENTS: usize = 8;
/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the agent says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct StatusReport {
    /// Version of the agent.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether sends are seen before their bytes leave.
    pub sees_sends_before: bool,
    /// Selected processes that live.
    pub processes_alive: usize,
    /// Connections that are followed.
    pub connections: usize,
    /// Service instances.
    pub services: Vec<ServiceStatus>,
    /// Sums over all of them, and what belongs to none.
    pub totals: Vec<Count>,
    /// The exporter's account; none if nothing is exported.
    pub export: Option<ExportStatistics>,
}

/// A service instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct ServiceStatus {
    /// First process of it.
    pub pid: u32,
    /// `service.name`.
    pub name: OutsideText,
    /// Executable.
    pub executable: OutsideText,
    /// Its processes that live, workers included.
    pub processes: usize,
    /// How they work for requests, each way once.
    pub profiles: Vec<ProfileStatus>,
    /// Which of its calls have a parent.
    pub links: LinksStatus,
    /// Its part of the ledger.
    pub counts: Vec<Count>,
}

/// How processes work for requests: what decides which of their calls are linked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct ProfileStatus {
    /// `threads`, `proxy` or `unknown`.
    pub profile: String,
    /// What it is known from, or why it is not.
    pub why: String,
    /// Processes that work so.
    pub processes: usize,
}

impl std::fmt::Display for StatusReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "tracer {} (process {}), up {} s, Linux {}",
            self.version, self.pid, self.uptime_seconds, self.kernel
        )?;
        // Services whose processes have ended are told below, for their counts. Several instances are one service.
        let alive = self.services.iter().filter(|service| service.processes > 0);
        let services = alive.map(|service| &service.name).collect::<HashSet<_>>().len();
        writeln!(
            f,
            "{}, {}, {}",
            counted(self.processes_alive as u64, "process", "processes"),
            counted(services as u64, "service", "services"),
            counted(self.connections as u64, "connection", "connections")
        )?;
        // Shell scripts leave many behind that have done nothing.
        let is_shown = |service: &&ServiceStatus| service.processes > 0 || !service.counts.is_empty();
        for service in self.services.iter().filter(is_shown) {
            writeln!(
                f,
                "\n{} (process {}, {}; {} alive)",
                service.name, service.pid, service.executable, service.processes
            )?;
            for ProfileStatus { profile, why, processes } in &service.profiles {
                let of = if service.processes > 1 { format!(", {processes} of them") } else { String::new() };
                match profile.as_str() {
                    "unknown" => writeln!(f, "  profile: unknown: {why}{of}")?,
                    _ => writeln!(f, "  profile: {profile} ({why}){of}")?,
                }
            }
            write!(f, "{}", service.links)?;
            for count in service.counts.iter().filter(|count| !LinksStatus::tells(count)) {
                writeln!(f, "{count}")?;
            }
        }
        writeln!(f, "\nAll together")?;
        for count in &self.totals {
            writeln!(f, "{count}")?;
        }
        match &self.export {
            None => writeln!(
                f,
                "\nNothing is exported: no OTLP endpoint is configured, or the export is turned off."
            ),
            Some(export) => {
                writeln!(
                    f,
                    "\nExport: {} queued, {} sent, {} rejected, {} dropped, {} waiting, {}",
                    counted(export.queued, "span", "spans"),
                    export.sent,
                    export.rejected,
                    export.dropped(),
                    export.in_queue,
                    counted(export.failures, "failed request", "failed requests"),
                )?;
                match &export.last_error {
                    Some(error) => writeln!(f, "  last error: {}", escaped(error)),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A number, and what it is of.
fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// The status, as the pipeline's thread keeps it.
pub type Shared = Arc<Mutex<StatusReport>>;

/// What knows the status.
pub trait StatusSource: Send + Sync + 'static {
    /// The status of now.
    fn status(&self) -> StatusReport;
}

impl StatusSource for Mutex<StatusReport> {
    fn status(&self) -> StatusReport {
        self.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers on the socket until the process ends.
pub struct Server {
    path: PathBuf,
}

impl Server {
    /// Begins to answer, on a thread of its own.
    ///
    /// # Errors
    /// Another agent answers there, or the socket cannot be made.
    pub fn start(path: &Path, status: Arc<dyn StatusSource>) -> io::Result<Self> {
        check_place(path)?;
        remove_stale(path)?;
        // Bound beside its place and moved there: whoever finds it is answered.
        let mut beside = path.to_owned().into_os_string();
        beside.push("~");
        let beside = PathBuf::from(beside);
        remove_stale(&beside)?;
        // The mask of this process, for the moment in which the socket is made: nobody else may connect before
        // its mode is set.
        let mask = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&beside);
        umask(mask);
        let listener = listener?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&beside, path)?;
        std::thread::Builder::new()
            .name("tracer-status".to_owned())
            .spawn(move || serve(&listener, &status))?;
        Ok(Self { path: path.to_owned() })
    }
}

/// Whether a server can be started there.
///
/// # Errors
/// Another process answers on the socket, or its folder does not exist.
pub fn check_place(path: &Path) -> io::Result<()> {
    if let Ok(other) = UnixStream::connect(path) {
        let process = socket_peercred(&other).map(|peer| peer.pid.as_raw_nonzero());
        let process = process.map_or_else(|_| "a process".to_owned(), |pid| format!("process {pid}"));
        let message = format!("{process} answers there already; is another tracer running?");
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            let message = format!("the folder {} does not exist", folder.display());
            Err(io::Error::new(io::ErrorKind::NotFound, message))
        }
        _ => Ok(()),
    }
}

/// Answers clients, each on a thread of its own. Those beyond [`MAX_CLIENTS`] wait until another one has been served,
/// which takes at most twice [`PATIENCE`].
fn serve(listener: &UnixListener, status: &Arc<dyn StatusSource>) {
    /// How long to wait when the process has no descriptor or no memory to have.
    const PAUSE: Duration = Duration::from_millis(200);
    let (give_back, free) = mpsc::channel();
    for _ in 0..MAX_CLIENTS {
        // The receiver is there.
        let _ = give_back.send(());
    }
    loop {
        // This thread keeps a sender, so that there is always one.
        if free.recv().is_err() {
            return;
        }
        let client = loop {
            match listener.accept() {
                Ok((client, _)) => break client,
                Err(error) => {
                    tracing::warn!(%error, "cannot answer on the status socket");
                    std::thread::sleep(PAUSE);
                }
            }
        };
        let (status, place) = (Arc::clone(status), Place(give_back.clone()));
        // A client that fails is its own problem; without a thread it is hung up on.
        let _ = std::thread::Builder::new().name("tracer-client".to_owned()).spawn(move || {
            let _ = answer(&client, &*status);
            drop(place);
        });
    }
}

/// The place of a client that is served; given back when the client's thread ends, or cannot be started.
struct Place(mpsc::Sender<()>);

impl Drop for Place {
    fn drop(&mut self) {
        // The server lives as long as the process.
        let _ = self.0.send(());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been removed by hand.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A request.
#[derive(Serialize, Deserialize)]
struct StatusRequest {
    get: String,
}

/// Removes the socket that an agent left behind which was killed. Nothing else is removed.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there")),
    }
}

/// Reads up to the end of a line, for at most [`PATIENCE`] in all.
fn read_request(mut client: &UnixStream) -> io::Result<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let mut request = Vec::new();
    let mut buffer = [0; 256];
    while request.len() < MAX_REQUEST && !request.contains(&b'\n') {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_read_timeout(Some(left))?;
        match client.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => request.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(request)
}

fn answer(client: &UnixStream, status: &dyn StatusSource) -> io::Result<()> {
    let answer = match serde_json::from_slice::<StatusRequest>(&read_request(client)?) {
        Ok(request) if request.get == "status" => serde_json::to_value(status.status()).unwrap_or_default(),
        Ok(request) => {
            serde_json::json!({ "error": format!("there is no {:?}; ask for \"status\"", request.get) })
        }
        Err(error) => serde_json::json!({ "error": format!("not a request: {error}") }),
    };
    write_answer(client, format!("{answer}\n").as_bytes())
}

/// Writes for at most [`PATIENCE`] in all: a client that reads little by little keeps its place no longer.
fn write_answer(mut client: &UnixStream, mut answer: &[u8]) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !answer.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_write_timeout(Some(left))?;
        match client.write(answer) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => answer = answer.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks the running agent.
///
/// # Errors
/// None runs there, or it does not answer.
pub fn ask(path: &Path) -> io::Result<StatusReport> {
    // As long as those before it may take.
    const TURN: Duration = Duration::from_secs(3 * PATIENCE.as_secs());
    let mut client = UnixStream::connect(path)?;
    client.set_read_timeout(Some(TURN))?;
    client.write_all(b"{\"get\":\"status\"}\n")?;
    let mut answer = Vec::new();
    client.take(MAX_MESSAGE).read_to_end(&mut answer)?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Counter;

    #[test]
    fn the_agent_answers_its_owner_only_and_refuses_a_second_one() {
        let path = std::env::temp_dir().join(format!("tracer-status-{}.sock", std::process::id()));
        drop(UnixListener::bind(&path).expect("a socket that nobody answers on"));
        let status = Shared::default();
        status.lock().expect("free").version = "test".to_owned();
        let source = Arc::clone(&status);
        let server = Server::start(&path, source).expect("a free path");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(ask(&path).expect("an answer").version, "test");
        let mut client = UnixStream::connect(&path).expect("connected");
        client.write_all(b"nonsense\n").expect("written");
        let mut text = String::new();
        client.read_to_string(&mut text).expect("an answer");
        assert!(text.contains("not a request"), "{text}");
        let error = Server::start(&path, status).err().expect("refused").to_string();
        assert!(
            error.starts_with(&format!("process {} answers there already", std::process::id())),
            "{error}"
        );
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn each_client_gets_the_status_of_now() {
        struct Asked(std::sync::atomic::AtomicU64);
        impl StatusSource for Asked {
            fn status(&self) -> StatusReport {
                let uptime_seconds = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                StatusReport { uptime_seconds, ..StatusReport::default() }
            }
        }
        let path = std::env::temp_dir().join(format!("tracer-status-now-{}.sock", std::process::id()));
        let _server = Server::start(&path, Arc::new(Asked(5.into()))).expect("a free path");
        let told = [(); 2].map(|()| ask(&path).expect("an answer").uptime_seconds);
        assert_eq!(told, [5, 6]);
    }

    #[test]
    fn who_finds_the_socket_is_answered() {
        let path = std::env::temp_dir().join(format!("tracer-found-{}.sock", std::process::id()));
        for _ in 0..100 {
            let found = std::thread::spawn({
                let path = path.clone();
                move || {
                    while !path.exists() {
                        std::hint::spin_loop();
                    }
                    UnixStream::connect(&path).map(drop)
                }
            });
            let server = Server::start(&path, Shared::default()).expect("a free path");
            found.join().expect("no panic").expect("somebody listens");
            drop(server);
        }
    }

    #[test]
    fn each_service_shows_its_profiles_and_why() {
        let profile = |profile: &str, why: &str, processes| ProfileStatus {
            profile: profile.to_owned(),
            why: why.to_owned(),
            processes,
        };
        let links = LinksStatus { calls: 4, linked: 3, unlinked: vec![Count::of(Counter::LinksSeveral, 1)] };
        let counts = vec![Count::of(Counter::LinksSeveral, 1), Count::of(Counter::LinksMade, 3)];
        let service = |processes, profiles| ServiceStatus {
            processes,
            profiles,
            links: links.clone(),
            counts: counts.clone(),
            ..ServiceStatus::default()
        };
        let status = StatusReport {
            services: vec![
                service(1, vec![profile("threads", "212 overlapping exchanges", 1)]),
                service(3, vec![profile("unknown", "7 of 32 overlapping exchanges", 2)]),
                // It has ended, and did nothing.
                ServiceStatus { name: "sleep".into(), ..ServiceStatus::default() },
            ],
            ..StatusReport::default()
        };
        let text = status.to_string();
        assert!(text.contains("\n  profile: threads (212 overlapping exchanges)\n"), "{text}");
        assert!(text.contains("\n  profile: unknown: 7 of 32 overlapping exchanges, 2 of them\n"), "{text}");
        assert!(!text.contains("sleep"), "{text}");
        assert_eq!(text.matches("  links: 3 of 4 calls have a parent (75 %)\n").count(), 2, "{text}");
        assert_eq!(
            text.matches("1  call without a parent: several requests were in flight").count(),
            2,
            "once for each service: {text}"
        );
    }

    #[test]
    fn names_and_errors_from_outside_forge_no_lines() {
        let hostile = "x\n\nAll together\u{1b}[2J\u{9b}1m";
        let service = ServiceStatus {
            name: hostile.into(),
            executable: hostile.into(),
            processes: 1,
            ..ServiceStatus::default()
        };
        let export = ExportStatistics { last_error: Some(hostile.to_owned()), ..ExportStatistics::default() };
        let status =
            StatusReport { services: vec![service], export: Some(export), ..StatusReport::default() };
        let text = status.to_string();
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{text:?}");
        assert_eq!(text.lines().filter(|line| line.starts_with("All together")).count(), 1, "{text}");
        assert!(text.contains(r"x\u{a}\u{a}All together\u{1b}[2J\u{9b}1m (process 0, x\u{a}"), "{text}");
    }

    #[test]
    fn services_that_have_ended_are_not_counted() {
        let service = |processes| ServiceStatus { processes, ..ServiceStatus::default() };
        let services = vec![service(2), service(0), service(0)];
        let status = StatusReport { processes_alive: 2, services, ..StatusReport::default() };
        assert!(status.to_string().contains("\n2 processes, 1 service, 0 connections\n"), "{status}");
    }

    #[test]
    fn instances_of_one_name_are_one_service() {
        let service =
            |name: &str| ServiceStatus { name: name.into(), processes: 1, ..ServiceStatus::default() };
        let services = vec![service("nginx"), service("shop"), service("nginx")];
        let status = StatusReport { processes_alive: 3, services, ..StatusReport::default() };
        assert!(status.to_string().contains("\n3 processes, 2 services, 0 connections\n"), "{status}");
    }

    #[test]
    fn the_export_of_one_span_is_told_in_the_singular() {
        let text = |queued, failures| {
            let export = ExportStatistics { queued, failures, ..ExportStatistics::default() };
            StatusReport { export: Some(export), ..StatusReport::default() }.to_string()
        };
        let one = "\nExport: 1 span queued, 0 sent, 0 rejected, 0 dropped, 0 waiting, 1 failed request\n";
        assert!(text(1, 1).contains(one), "{}", text(1, 1));
        assert!(
            text(2, 0).contains("Export: 2 spans queued, ") && text(2, 0).contains(", 0 failed requests\n")
        );
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_removed() {
        let path = std::env::temp_dir().join(format!("tracer-status-{}.txt", std::process::id()));
        std::fs::write(&path, "precious").expect("written");
        assert!(Server::start(&path, Shared::default()).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn clients_that_read_nothing_or_little_are_hung_up_on_and_keep_nobody_waiting() {
        let path = std::env::temp_dir().join(format!("tracer-status-full-{}.sock", std::process::id()));
        let status = Shared::default();
        // More than a socket holds.
        status.lock().expect("free").version = "x".repeat(4 << 20);
        let source = Arc::clone(&status);
        let _server = Server::start(&path, source).expect("a free path");
        let mut stuck: Vec<UnixStream> = (0..MAX_CLIENTS)
            .map(|_| {
                let mut client = UnixStream::connect(&path).expect("connected");
                client.write_all(b"{\"get\":\"status\"}\n").expect("written");
                client
            })
            .collect();
        let begin = Instant::now();
        // The pipeline's thread takes this lock.
        drop(status.lock().expect("free"));
        assert!(begin.elapsed() < PATIENCE / 2);
        // One of them reads a little now and then, and is no better off.
        let mut slow = stuck.pop().expect("one of them");
        let mut byte = [0; 512];
        while begin.elapsed() < 2 * PATIENCE && slow.read(&mut byte).is_ok_and(|length| length > 0) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let answered = std::iter::repeat_with(|| ask(&path)).find(|answer| {
            assert!(begin.elapsed() < 4 * PATIENCE, "{answer:?}");
            answer.is_ok()
        });
        assert!(answered.is_some());
        drop(stuck);
    }

    #[test]
    fn clients_beyond_the_bound_wait_for_their_turn() {
        let path = std::env::temp_dir().join(format!("tracer-status-turn-{}.sock", std::process::id()));
        let _server = Server::start(&path, Shared::default()).expect("a free path");
        let idle: Vec<UnixStream> =
            (0..MAX_CLIENTS).map(|_| UnixStream::connect(&path).expect("connected")).collect();
        let begin = Instant::now();
        let ninth = std::thread::spawn({
            let path = path.clone();
            move || ask(&path)
        });
        assert_eq!(ninth.join().expect("no panic").expect("an answer"), StatusReport::default());
        assert!(begin.elapsed() < 2 * PATIENCE, "{:?}", begin.elapsed());
        drop(idle);
    }

    #[test]
    fn no_folder_is_made_for_the_socket() {
        let folder = std::env::temp_dir().join(format!("tracer-status-none-{}", std::process::id()));
        let error =
            Server::start(&folder.join("a").join("socket"), Shared::default()).err().expect("refused");
        assert!(error.to_string().ends_with("a does not exist"), "{error}");
        assert!(!folder.exists());
    }

    #[test]
    fn a_client_that_says_nothing_keeps_no_other_waiting() {
        let path = std::env::temp_dir().join(format!("tracer-status-idle-{}.sock", std::process::id()));
        let _server = Server::start(&path, Shared::default()).expect("a free path");
        let idle = UnixStream::connect(&path).expect("connected");
        let begin = Instant::now();
        assert_eq!(ask(&path).expect("an answer"), StatusReport::default());
        assert!(begin.elapsed() < PATIENCE / 2);
        drop(idle);
        let mut long = UnixStream::connect(&path).expect("connected");
        long.write_all(&[b'a'; MAX_REQUEST]).expect("written");
        let mut text = String::new();
        long.read_to_string(&mut text).expect("an answer before the line ends");
        assert!(text.contains("not a request"), "{text}");
    }
}
