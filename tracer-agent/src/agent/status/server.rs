//! The socket on which the agent answers, and its clients.

#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Mode,
    net::sockopt::socket_peercred,
    process::umask,
};
use serde::{Deserialize, Serialize};

use super::{PATIENCE, StatusSource};

/// Longest request.
const MAX_REQUEST: usize = 4096;
/// Clients that are answered at once.
const MAX_CLIENTS: usize = 8;
/// Clients whose request has not come; when there are more, the one that came first is hung up on.
const MAX_SILENT: usize = 32;

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
        listener.set_nonblocking(true)?;
        std::fs::rename(&beside, path)?;
        std::thread::Builder::new()
            .name("tracer-status".to_owned())
            .spawn(move || serve(&listener, &status))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been removed by hand.
        let _ = std::fs::remove_file(&self.path);
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

/// Waits for clients and their requests. Each that has sent its request is answered on a thread of its own; those beyond
/// [`MAX_CLIENTS`] wait until another one has been answered, which takes at most [`PATIENCE`].
fn serve(listener: &UnixListener, status: &Arc<dyn StatusSource>) {
    /// How long to wait when the process has no descriptor or no memory to have.
    const PAUSE: Duration = Duration::from_millis(200);
    let (give_back, free) = mpsc::channel();
    for _ in 0..MAX_CLIENTS {
        // The receiver is there.
        let _ = give_back.send(());
    }
    let mut silent: VecDeque<SilentClient> = VecDeque::new();
    loop {
        let is_called = wait(listener, &mut silent);
        for _ in 0..silent.len() {
            let Some(mut client) = silent.pop_front() else { break };
            match client.read() {
                // It fails, or has taken too long: that is its own problem.
                Err(_) => {}
                Ok(false) => silent.push_back(client),
                Ok(true) => {
                    // This thread keeps a sender, so that there is always one.
                    if free.recv().is_err() {
                        return;
                    }
                    let (status, place) = (Arc::clone(status), Place(give_back.clone()));
                    // Without a thread it is hung up on.
                    let _ = std::thread::Builder::new().name("tracer-client".to_owned()).spawn(move || {
                        let _ = client.answer(&*status);
                        drop(place);
                    });
                }
            }
        }
        if !is_called {
            continue;
        }
        // One at a time: who has sent its request meanwhile is no longer silent.
        match listener.accept().and_then(|(client, _)| SilentClient::new(client)) {
            Ok(client) => {
                if silent.len() >= MAX_SILENT {
                    silent.pop_front();
                }
                silent.push_back(client);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(%error, "cannot answer on the status socket");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Waits for a client, for what one sends, or until one has taken too long. Returns whether there is a new one.
fn wait(listener: &UnixListener, silent: &mut VecDeque<SilentClient>) -> bool {
    let now = Instant::now();
    let left = silent.iter().map(|client| client.until.saturating_duration_since(now)).min();
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    let mut files = vec![PollFd::new(listener, PollFlags::IN)];
    files.extend(silent.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)));
    // A signal ends the wait.
    let _ = poll(&mut files, left.as_ref());
    !files[0].revents().is_empty()
}

/// A client that has not sent its whole request.
struct SilentClient {
    stream: UnixStream,
    request: Vec<u8>,
    until: Instant,
}

impl SilentClient {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, request: Vec::new(), until: Instant::now() + PATIENCE })
    }

    /// Reads what has come. Returns whether the request is complete: up to the end of a line, or of what it sends.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 256];
        while self.request.len() < MAX_REQUEST && !self.request.contains(&b'\n') {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.request.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if Instant::now() < self.until { Ok(false) } else { Err(error) };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn answer(&self, status: &dyn StatusSource) -> io::Result<()> {
        let answer = match serde_json::from_slice::<StatusRequest>(&self.request) {
            Ok(request) if request.get == "status" => {
                serde_json::to_value(status.status()).unwrap_or_default()
            }
            Ok(request) => {
                serde_json::json!({ "error": format!("there is no {:?}; ask for \"status\"", request.get) })
            }
            Err(error) => serde_json::json!({ "error": format!("not a request: {error}") }),
        };
        self.stream.set_nonblocking(false)?;
        write_answer(&self.stream, format!("{answer}\n").as_bytes())
    }
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

/// The place of a client that is served; given back when the client's thread ends, or cannot be started.
struct Place(mpsc::Sender<()>);

impl Drop for Place {
    fn drop(&mut self) {
        // The server lives as long as the process.
        let _ = self.0.send(());
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

#[cfg(test)]
mod tests {
    use super::{
        super::{Shared, StatusReport, ask},
        *,
    };

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
    fn silent_clients_give_way_and_one_that_has_asked_does_not() {
        struct Slow;
        impl StatusSource for Slow {
            fn status(&self) -> StatusReport {
                std::thread::sleep(PATIENCE / 2);
                StatusReport::default()
            }
        }
        let path = std::env::temp_dir().join(format!("tracer-status-silent-{}.sock", std::process::id()));
        let _server = Server::start(&path, Arc::new(Slow)).expect("a free path");
        let begin = Instant::now();
        let mut asked = UnixStream::connect(&path).expect("connected");
        asked.write_all(b"{\"get\":\"status\"}\n").expect("written");
        let mut half: Vec<UnixStream> =
            (0..60).map(|_| UnixStream::connect(&path).expect("connected")).collect();
        for client in &mut half[..30] {
            // It may have given way by now.
            let _ = client.write_all(b"{");
        }
        assert_eq!(ask(&path).expect("an answer"), StatusReport::default());
        assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
        let mut answer = String::new();
        asked.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains("uptime_seconds"), "{answer}");
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
