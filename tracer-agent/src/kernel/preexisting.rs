//! Sockets that were open before the agent. One is found by its addresses, borrowed from its process for as
//! long as it takes to look at it, and put into the map of sockets whose messages may get trace headers.

use std::{
    fs,
    io::{self, Read},
    net::{SocketAddr, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use super::socket_table::{MOST_BYTES, Socket, same};

/// A connection whose socket is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) pid: u32,
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

/// Hands over those of a process's sockets that are wanted and may enter the map, each for a moment: what
/// its process closes meanwhile stays open as long.
pub(super) fn borrow(pid: u32, wanted: &[Wanted], mut enter: impl FnMut(Wanted, OwnedFd)) -> io::Result<()> {
    let mut inodes = Vec::new();
    for table in ["tcp", "tcp6"] {
        // Without IPv6 there is no such file.
        let Ok(file) = fs::File::open(format!("/proc/{pid}/net/{table}")) else { continue };
        let mut text = String::new();
        if file.take(MOST_BYTES).read_to_string(&mut text).is_err() {
            continue;
        }
        inodes.extend(text.lines().skip(1).filter_map(Socket::of).filter(Socket::is_established).filter_map(
            |socket| {
                let is_it =
                    |wanted: &&Wanted| same(wanted.local, socket.local) && same(wanted.remote, socket.remote);
                let wanted = wanted.iter().find(is_it)?;
                Some((format!("socket:[{}]", socket.inode), *wanted))
            },
        ));
    }
    if inodes.is_empty() {
        return Ok(());
    }
    let process = open_process(pid)?;
    let mut links = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten().take(MOST_DESCRIPTORS) {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        // In a sockmap a socket loses zero-copy sends of io_uring for its whole life.
        if link.as_os_str() == RING {
            return Ok(());
        }
        links.push((entry, link));
    }
    for (entry, link) in links {
        let Some(at) = inodes.iter().position(|(inode, _)| link.as_os_str() == inode.as_str()) else {
            continue;
        };
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(socket) = descriptor(&process, number) else { continue };
        let (_, wanted) = inodes.swap_remove(at);
        if let Some(socket) = may_enter(socket, &wanted) {
            enter(wanted, socket);
        }
        if inodes.is_empty() {
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

/// A socket that does not wait in its calls, and on which nothing stands above plain TCP.
fn may_enter(socket: OwnedFd, wanted: &Wanted) -> Option<OwnedFd> {
    // SAFETY: a query of flags.
    let flags = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) };
    let is_plain = option(&socket, libc::SOL_SOCKET, libc::SO_PROTOCOL) == Some(libc::IPPROTO_TCP as u32)
        && option(&socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY) == Some(0);
    if flags < 0 || flags & libc::O_NONBLOCK == 0 || !is_plain {
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
    use std::net::TcpListener;

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

    #[test]
    fn a_socket_is_found_by_its_addresses_and_only_if_it_does_not_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let wanted = Wanted {
            pid: std::process::id(),
            connection: 1,
            local: client.local_addr().expect("an address"),
            remote: client.peer_addr().expect("an address"),
        };
        let found = || {
            let mut cookies: Vec<u64> = Vec::new();
            borrow(wanted.pid, &[wanted], |_, socket| cookies.extend(cookie(&socket)))
                .expect("it is allowed");
            cookies
        };
        assert!(found().is_empty());
        client.set_nonblocking(true).expect("an option");
        assert_eq!(found(), [cookie(&client.try_clone().expect("a copy").into()).expect("a socket has one")]);
        drop(client);
        assert!(found().is_empty());
    }
}
