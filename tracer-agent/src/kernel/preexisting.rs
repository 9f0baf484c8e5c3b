//! Sockets that were open before the agent. One is found by its addresses, borrowed from its process for as
//! long as it takes to look at it, and put into the map of sockets whose messages may get trace headers.
//!
//! The kernel's tables hold every connection of a namespace, and a process can have many descriptors: the search has a
//! thread of its own.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{SocketAddr, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tracer_common::ISCSI_PORT;

use super::socket_table::{Socket, addresses, same, tables};

/// A connection whose socket is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) pid: u32,
    /// Network namespace, as an inode number.
    pub(super) netns: u32,
    /// Number of the connection.
    pub(super) connection: u64,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// Descriptors of a process that are looked at.
const MOST_DESCRIPTORS: usize = 65_536;

/// What the descriptor of a ring of io_uring leads to.
const RING: &str = "anon_inode:[io_uring]";

/// Whether a process has a descriptor of a ring of io_uring.
pub(super) fn has_a_ring(pid: u32) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut links =
        entries.flatten().take(MOST_DESCRIPTORS).filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| link.as_os_str() == RING)
}

/// The search for sockets, one at a time.
pub(super) struct Search {
    /// What the thread has found; none if there is no thread.
    answer: Option<mpsc::Receiver<Entered>>,
    begin: Instant,
    /// No search before.
    next: Instant,
}

/// A socket that has entered the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entered {
    pub(super) connection: u64,
    /// Of the socket, in the map.
    pub(super) key: u64,
}

impl Search {
    /// A search takes a twentieth of the time at most.
    const SHARE: u32 = 20;

    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { answer: None, begin: now, next: now }
    }

    /// Whether another one may begin.
    pub(super) fn is_due(&self) -> bool {
        self.answer.is_none() && Instant::now() >= self.next
    }

    /// No search for a while.
    pub(super) fn rest(&mut self, time: Duration) {
        self.next = Instant::now() + time;
    }

    /// Begins to look for sockets, if a search [is due](Self::is_due). `enter` puts one into the map, and returns its
    /// key there.
    pub(super) fn begin(
        &mut self,
        proc: &Path,
        wanted: Vec<Wanted>,
        enter: impl Fn(&Wanted, &OwnedFd) -> Option<u64> + Send + 'static,
    ) {
        let proc = proc.to_owned();
        let (told, answer) = mpsc::channel();
        let search = move || {
            find(&proc, &wanted, |wanted, socket| {
                if let Some(key) = enter(wanted, &socket) {
                    // The agent may have ended.
                    let _ = told.send(Entered { connection: wanted.connection, key });
                }
            });
        };
        self.begin = Instant::now();
        match std::thread::Builder::new().name("tracer-borrow".to_owned()).spawn(search) {
            Ok(_) => self.answer = Some(answer),
            Err(error) => {
                tracing::warn!(%error, "cannot look for sockets that are older than the agent");
                self.rest(Duration::from_secs(1));
            }
        }
    }

    /// Sockets that have entered the map since this was asked last.
    pub(super) fn entered(&mut self) -> Vec<Entered> {
        let Some(answer) = &self.answer else { return Vec::new() };
        let mut entered = Vec::new();
        loop {
            match answer.try_recv() {
                Ok(socket) => entered.push(socket),
                Err(mpsc::TryRecvError::Empty) => return entered,
                Err(mpsc::TryRecvError::Disconnected) => break,
            }
        }
        self.answer = None;
        self.rest(self.begin.elapsed() * Self::SHARE);
        entered
    }
}

/// Hands over those sockets that are wanted and may enter the map, each for a moment: what its process closes meanwhile
/// stays open as long. The tables of a namespace are read once.
fn find(proc: &Path, wanted: &[Wanted], mut enter: impl FnMut(&Wanted, OwnedFd)) {
    let mut namespaces: BTreeMap<u32, BTreeMap<u32, Vec<Wanted>>> = BTreeMap::new();
    for wanted in wanted {
        namespaces.entry(wanted.netns).or_default().entry(wanted.pid).or_default().push(*wanted);
    }
    for (netns, processes) in namespaces {
        let pids: Vec<u32> = processes.keys().copied().collect();
        let Some(tables) = tables(proc, netns, &pids) else { continue };
        let mut by_addresses: FxHashMap<_, Vec<Wanted>> = FxHashMap::default();
        for wanted in processes.into_values().flatten() {
            by_addresses.entry(addresses(wanted.local, wanted.remote)).or_default().push(wanted);
        }
        let mut found: BTreeMap<u32, Vec<(String, Wanted)>> = BTreeMap::new();
        for table in tables.flatten() {
            for socket in table.lines().skip(1).filter_map(Socket::of).filter(Socket::is_established) {
                for wanted in by_addresses.get(&addresses(socket.local, socket.remote)).into_iter().flatten()
                {
                    let link = format!("socket:[{}]", socket.inode);
                    found.entry(wanted.pid).or_default().push((link, *wanted));
                }
            }
        }
        for (pid, sockets) in found {
            if let Err(error) = borrow(proc, pid, sockets, &mut enter) {
                tracing::debug!(pid, %error, "open sockets cannot be looked at");
            }
        }
    }
}

/// Those sockets of a process that have one of these links.
fn borrow(
    proc: &Path,
    pid: u32,
    mut sockets: Vec<(String, Wanted)>,
    enter: &mut impl FnMut(&Wanted, OwnedFd),
) -> io::Result<()> {
    let process = open_process(pid)?;
    let mut links = Vec::new();
    for entry in fs::read_dir(proc.join(pid.to_string()).join("fd"))?.flatten().take(MOST_DESCRIPTORS) {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        // In a sockmap a socket loses zero-copy sends of io_uring for its whole life.
        if link.as_os_str() == RING {
            return Ok(());
        }
        links.push((entry, link));
    }
    for (entry, link) in links {
        let Some(at) = sockets.iter().position(|(socket, _)| link.as_os_str() == socket.as_str()) else {
            continue;
        };
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(socket) = descriptor(&process, number) else { continue };
        let (_, wanted) = sockets.swap_remove(at);
        if let Some(socket) = may_enter(socket, &wanted) {
            enter(&wanted, socket);
        }
        if sockets.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Whether TCP as a whole is short of memory (`tcp_mem`).
pub(super) fn is_short_of_memory() -> bool {
    fs::read_to_string("/proc/net/protocols").is_ok_and(|table| is_pressed(&table))
}

/// The column `press` of TCP.
fn is_pressed(table: &str) -> bool {
    let line = table.lines().find(|line| line.starts_with("TCP "));
    line.and_then(|line| line.split_ascii_whitespace().nth(4)) == Some("yes")
}

fn checked(result: libc::c_long) -> io::Result<RawFd> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

fn open_process(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor that is returned is new and ours.
    unsafe { Ok(OwnedFd::from_raw_fd(checked(libc::syscall(libc::SYS_pidfd_open, pid, 0))?)) }
}

/// The open file that a process knows by this number.
fn descriptor(process: &OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: as above.
    unsafe {
        let copied = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        Ok(OwnedFd::from_raw_fd(checked(copied)?))
    }
}

/// A socket that does not wait in its calls, and on which nothing stands above plain TCP, now or later.
fn may_enter(socket: OwnedFd, wanted: &Wanted) -> Option<OwnedFd> {
    // SAFETY: a query of flags.
    let flags = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) };
    let is_plain = option(&socket, libc::SOL_SOCKET, libc::SO_PROTOCOL) == Some(libc::IPPROTO_TCP as u32)
        && option(&socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY) == Some(0);
    if flags < 0 || flags & libc::O_NONBLOCK == 0 || !is_plain || wanted.remote.port() == ISCSI_PORT {
        return None;
    }
    let stream = TcpStream::from(socket);
    let (local, remote) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
    (same(local, wanted.local) && same(remote, wanted.remote)).then(|| stream.into())
}

fn option<T: Default>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int) -> Option<T> {
    let mut value = T::default();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: room for a value of that length.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
    };
    (result == 0 && length as usize == size_of::<T>()).then_some(value)
}

/// The number by which the kernel tells a socket from all others.
pub(super) fn cookie(socket: &OwnedFd) -> Option<u64> {
    option(socket, libc::SOL_SOCKET, libc::SO_COOKIE)
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::{linux::fs::MetadataExt, unix::fs::symlink},
    };

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn pressure_is_read_from_the_kernels_table() {
        let table = |word: &str| {
            format!(
                "protocol  size sockets  memory press maxhdr  slab module     cl co di\n\
                 TCPv6     2600      7     3   yes    320   yes  kernel      y  y  y\n\
                 TCP       2408     12     5   {word}     320   yes  kernel      y  y  y\n"
            )
        };
        assert!(is_pressed(&table("yes")));
        assert!(!is_pressed(&table("no")));
        assert!(!is_pressed(""));
    }

    /// A connection of this process, as it is looked for.
    fn connection(listener: &TcpListener) -> (Wanted, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let wanted = Wanted {
            pid: std::process::id(),
            netns: fs::metadata("/proc/self/ns/net").expect("a namespace").st_ino() as u32,
            connection: 1,
            local: client.local_addr().expect("an address"),
            remote: client.peer_addr().expect("an address"),
        };
        (wanted, client)
    }

    fn key(client: &TcpStream) -> u64 {
        cookie(&client.try_clone().expect("a copy").into()).expect("a socket has one")
    }

    #[test]
    fn a_socket_is_found_by_its_addresses_and_only_if_it_does_not_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (wanted, client) = connection(&listener);
        let found = || {
            let mut cookies: Vec<u64> = Vec::new();
            find(Path::new("/proc"), &[wanted], |_, socket| cookies.extend(cookie(&socket)));
            cookies
        };
        assert!(found().is_empty());
        client.set_nonblocking(true).expect("an option");
        assert_eq!(found(), [key(&client)]);
        drop(client);
        assert!(found().is_empty());
    }

    #[test]
    fn a_socket_that_the_kernel_may_take_over_for_iscsi_is_not_handed_over() {
        // An address of its own: the port may be taken.
        let listener = TcpListener::bind(("127.32.60.2", ISCSI_PORT)).expect("a port");
        let (wanted, client) = connection(&listener);
        client.set_nonblocking(true).expect("an option");
        find(Path::new("/proc"), &[wanted], |_, _| panic!("it is handed over"));
    }

    /// Tables that are pipes: who reads one waits until somebody writes it, and who reads it again waits for ever.
    #[test]
    fn nobody_waits_for_a_search_and_it_reads_the_tables_of_a_namespace_once() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (first, client) = connection(&listener);
        client.set_nonblocking(true).expect("an option");
        let mut other = std::process::Command::new("sleep").arg("100").spawn().expect("it starts");
        let second = Wanted { pid: other.id(), connection: 2, ..first };
        let proc = std::env::temp_dir().join(format!("tracer-tables-{}", std::process::id()));
        fs::create_dir_all(proc.join("self/net")).expect("a folder");
        symlink("/proc/self/ns", proc.join("self/ns")).expect("a link");
        symlink(format!("/proc/{}", first.pid), proc.join(first.pid.to_string())).expect("a link");
        symlink(format!("/proc/{}", second.pid), proc.join(second.pid.to_string())).expect("a link");
        let table = proc.join("self/net/tcp");
        mknodat(CWD, &table, FileType::Fifo, Mode::RWXU, 0).expect("a pipe");

        let mut search = Search::new();
        assert!(search.is_due());
        search.begin(&proc, vec![first, second], |_, socket| cookie(socket));
        assert!(!search.is_due() && search.entered().is_empty());
        fs::write(&table, fs::read("/proc/self/net/tcp").expect("a table")).expect("it is read");
        let limit = Instant::now() + Duration::from_secs(20);
        let mut entered = Vec::new();
        while search.answer.is_some() {
            assert!(Instant::now() < limit, "it reads on");
            entered.extend(search.entered());
            std::thread::yield_now();
        }
        assert_eq!(entered, [Entered { connection: 1, key: key(&client) }]);
        assert!(!search.is_due(), "it has taken its share of the time");
        // Another test may reap it.
        let _ = other.kill().and_then(|()| other.wait());
        fs::remove_dir_all(proc).expect("removed");
    }
}
