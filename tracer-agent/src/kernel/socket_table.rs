//! The TCP sockets of a network namespace, as `/proc` lists them.

#![forbid(unsafe_code)]

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::linux::fs::MetadataExt,
    path::Path,
};

/// Bytes of a table that are looked at: a line has 150, so 100,000 sockets of a namespace.
const MOST_BYTES: u64 = 15_000_000;

/// A line of `/proc/net/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket<'a> {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    state: &'a str,
    pub(super) inode: &'a str,
}

impl<'a> Socket<'a> {
    pub(super) fn of(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (local, remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
        Some(Self { local: address(local)?, remote: address(remote)?, state, inode: fields.nth(5)? })
    }

    /// `TCP_ESTABLISHED`.
    pub(super) fn is_established(&self) -> bool {
        self.state == "01"
    }

    /// Not `TCP_TIME_WAIT`: that is what the kernel keeps when the socket is gone.
    fn is_there(&self) -> bool {
        self.state != "06"
    }
}

/// `0100007F:1F90`: words in the machine's own order.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words: [[u8; 4]; 4] = [word(0)?, word(8)?, word(16)?, word(24)?];
            Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Whether two addresses are one, however they are written.
pub(super) fn same(one: SocketAddr, other: SocketAddr) -> bool {
    canonical(one) == canonical(other)
}

/// The addresses of both ends of a connection, however they are written.
pub(super) fn addresses(local: SocketAddr, remote: SocketAddr) -> [(IpAddr, u16); 2] {
    [canonical(local), canonical(remote)]
}

fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// The tables of the namespace with this inode number, which one of these processes may live in; each up to
/// [`MOST_BYTES`], and none if it cannot be read. None if no process lives there.
pub(super) fn tables(
    proc: &Path,
    netns: u32,
    pids: &[u32],
) -> Option<impl Iterator<Item = Option<String>> + use<>> {
    let own = proc.join("self");
    let of_processes = pids.iter().map(|pid| proc.join(pid.to_string()));
    let lives_there = |folder: &std::path::PathBuf| {
        fs::metadata(folder.join("ns/net")).is_ok_and(|found| found.st_ino() == u64::from(netns))
    };
    let folder = std::iter::once(own).chain(of_processes).find(lives_there)?.join("net");
    Some(["tcp", "tcp6"].into_iter().filter_map(move |name| match read(&folder.join(name)) {
        // Without IPv6 there is no such file.
        Err(error) if name == "tcp6" && error.kind() == io::ErrorKind::NotFound => None,
        outcome => Some(outcome.ok()),
    }))
}

fn read(table: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(table)?.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The addresses of the connections of a network namespace.
pub(crate) struct Sockets(HashSet<[(IpAddr, u16); 2]>);

impl Sockets {
    /// Those of the namespace with this inode number, which one of these processes may live in; `proc` is where `/proc`
    /// is mounted. None if none of them does, or the table is too long to be read.
    pub(crate) fn of_namespace(proc: &Path, netns: u32, pids: &[u32]) -> Option<Self> {
        let mut sockets = Self(HashSet::new());
        for table in tables(proc, netns, pids)? {
            sockets.add(&table?)?;
        }
        Some(sockets)
    }

    fn add(&mut self, table: &str) -> Option<()> {
        if table.len() as u64 == MOST_BYTES {
            return None;
        }
        let there = table.lines().skip(1).filter_map(Socket::of).filter(Socket::is_there);
        self.0.extend(there.map(|socket| addresses(socket.local, socket.remote)));
        Some(())
    }

    /// Whether a connection between these addresses is there.
    pub(crate) fn has(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.0.contains(&addresses(local, remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernels_tables_are_read() {
        let line = "   1: 0100007F:1F90 0200000A:C350 01 00000000:00000000 00:00000000 00000000  1000        0 34567 1";
        let socket = Socket::of(line).expect("a connection");
        assert_eq!(socket.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(socket.remote, "10.0.0.2:50000".parse().unwrap());
        assert_eq!((socket.inode, socket.is_established(), socket.is_there()), ("34567", true, true));
        let line = "  0: 0000000000000000FFFF00000100007F:0050 00000000000000000000000001000000:0051 06 0 0 0 0 0 9 1";
        let socket = Socket::of(line).expect("a connection");
        assert!(same(socket.local, "127.0.0.1:80".parse().unwrap()), "{}", socket.local);
        assert_eq!(socket.remote, "[::1]:81".parse().unwrap());
        assert_eq!((socket.is_established(), socket.is_there()), (false, false));
        for line in ["", "a b c d"] {
            assert_eq!(Socket::of(line), None, "{line}");
        }
    }
}
