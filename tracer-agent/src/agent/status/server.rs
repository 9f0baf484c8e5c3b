//! The socket on which the agent answers: its file. `tracer_viewer` serves the connections.

#![forbid(unsafe_code)]

use std::{
    io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use axum::Router;
use rustix::{fs::Mode, net::sockopt::socket_peercred, process::umask};
use tracer_viewer::RunningSocket;

/// Answers on the socket until it is dropped.
pub struct Server {
    path: PathBuf,
    /// It ends with this.
    _running: RunningSocket,
}

impl Server {
    /// Begins to answer, on a thread of its own.
    ///
    /// # Errors
    /// Another agent answers there, or the socket cannot be made.
    pub fn start(path: &Path, routes: Router) -> io::Result<Self> {
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
        let running = RunningSocket::start(listener, routes).inspect_err(|_| {
            // Nobody would answer there.
            let _ = std::fs::remove_file(path);
        })?;
        Ok(Self { path: path.to_owned(), _running: running })
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
    use std::{
        io::{Read, Write},
        sync::Arc,
        time::{Duration, Instant},
    };

    use super::{
        super::{PATH, Shared, StatusReport, StatusSource, routes},
        *,
    };
    use crate::client::{Client, ClientError};

    /// Time that a client has for its request, and to take some of its answer.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Connections that are served at once.
    const CONNECTIONS: usize = 32;
    const REQUEST: &[u8] = b"GET /api/tracer/status HTTP/1.1\r\nhost: localhost\r\n\r\n";

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("tracer-{name}-{}.sock", std::process::id()))
    }

    fn start(path: &Path, status: Arc<dyn StatusSource>) -> io::Result<Server> {
        Server::start(path, routes(status, None))
    }

    fn ask(path: &Path) -> Result<StatusReport, ClientError> {
        Client::of_agent(path)?.get(PATH, &[])
    }

    fn connect(path: &Path) -> UnixStream {
        UnixStream::connect(path).expect("connected")
    }

    #[test]
    fn the_agent_answers_its_owner_only_and_refuses_a_second_one() {
        let path = place("status");
        drop(UnixListener::bind(&path).expect("a socket that nobody answers on"));
        let status = Shared::default();
        status.lock().expect("free").version = "test".to_owned();
        let server = start(&path, status.clone()).expect("a free path");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(ask(&path).expect("an answer").version, "test");
        let error = start(&path, status).err().expect("refused").to_string();
        assert!(
            error.starts_with(&format!("process {} answers there already", std::process::id())),
            "{error}"
        );
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn who_sends_no_request_gets_none_answered_and_disturbs_nobody() {
        let path = place("garbage");
        let _server = start(&path, Shared::default()).expect("a free path");
        for garbage in [
            b"nonsense\n\n".to_vec(),
            b"{\"get\":\"status\"}\n".to_vec(),
            [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 100_000]].concat(),
            vec![0xff; 4096],
        ] {
            let mut client = connect(&path);
            // It may be refused before all of it was taken.
            let _ = client.write_all(&garbage);
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer);
            let is_refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
            assert!(is_refused, "{:?}", String::from_utf8_lossy(&answer));
        }
        assert_eq!(ask(&path).expect("an answer"), StatusReport::default());
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
        let path = place("status-now");
        let _server = start(&path, Arc::new(Asked(5.into()))).expect("a free path");
        let told = [(); 2].map(|()| ask(&path).expect("an answer").uptime_seconds);
        assert_eq!(told, [5, 6]);
    }

    #[test]
    fn who_finds_the_socket_is_answered() {
        let path = place("found");
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
            let server = start(&path, Shared::default()).expect("a free path");
            found.join().expect("no panic").expect("somebody listens");
            drop(server);
        }
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_removed() {
        let path = std::env::temp_dir().join(format!("tracer-status-{}.txt", std::process::id()));
        std::fs::write(&path, "precious").expect("written");
        assert!(start(&path, Shared::default()).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn clients_that_read_nothing_or_little_give_way_and_keep_nobody_waiting() {
        let path = place("status-full");
        let status = Shared::default();
        // More than a socket holds.
        status.lock().expect("free").version = "x".repeat(4 << 20);
        let _server = start(&path, status.clone()).expect("a free path");
        let mut stuck: Vec<UnixStream> = (0..2 * CONNECTIONS)
            .map(|_| {
                let mut client = connect(&path);
                // It may have given way by now.
                let _ = client.write_all(REQUEST);
                client
            })
            .collect();
        // The pipeline's thread takes this lock.
        drop(status.lock().expect("free"));
        // One of them reads a little.
        let mut byte = [0; 512];
        let _ = stuck.last_mut().map(|slow| slow.read(&mut byte));
        let begin = Instant::now();
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
        let path = place("status-silent");
        let _server = start(&path, Arc::new(Slow)).expect("a free path");
        let begin = Instant::now();
        let mut asked = connect(&path);
        asked
            .write_all(b"GET /api/tracer/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .expect("written");
        let mut half: Vec<UnixStream> = (0..60).map(|_| connect(&path)).collect();
        for client in &mut half[..30] {
            // It may have given way by now.
            let _ = client.write_all(b"GET");
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
        let error = start(&folder.join("a").join("socket"), Shared::default()).err().expect("refused");
        assert!(error.to_string().ends_with("a does not exist"), "{error}");
        assert!(!folder.exists());
    }

    #[test]
    fn a_client_that_says_nothing_keeps_no_other_waiting() {
        let path = place("status-idle");
        let _server = start(&path, Shared::default()).expect("a free path");
        let idle = connect(&path);
        let begin = Instant::now();
        assert_eq!(ask(&path).expect("an answer"), StatusReport::default());
        assert!(begin.elapsed() < PATIENCE / 2);
        drop(idle);
    }
}
