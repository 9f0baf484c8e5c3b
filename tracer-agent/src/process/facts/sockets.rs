//! Sockets of a process, and where it listens, as `/proc` tells.

#![forbid(unsafe_code)]

use std::{fs, io, path::PathBuf, time::Instant};

use super::{Listeners, Proc};

impl Proc {
    /// TCP ports that the process listens on.
    ///
    /// # Errors
    /// The process is gone, or may not be looked at.
    pub fn listening_ports(&self, pid: u32) -> io::Result<Vec<u16>> {
        let mut ports: Vec<u16> = self.listening(pid)?.into_iter().map(|(port, _)| port).collect();
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }

    /// Ports and inodes of the TCP sockets that the process listens on.
    ///
    /// # Errors
    /// As [`Self::listening_ports`].
    pub fn listening(&self, pid: u32) -> io::Result<Vec<(u16, u64)>> {
        let sockets = self.socket_inodes(pid)?;
        if sockets.is_empty() {
            return Ok(Vec::new());
        }
        // A namespace that is not told is the process's own.
        let namespace = fs::read_link(self.namespace(pid)).unwrap_or_else(|_| pid.to_string().into());
        let mut known = self.listeners.borrow_mut();
        let begin = Instant::now();
        known.retain(|_, listeners| begin < listeners.until);
        let listeners = known.entry(namespace).or_insert_with(|| {
            let listeners = self.listeners_of(pid);
            // The tables hold every connection of the namespace: with many of them, reading takes long,
            // and may take a twentieth of the time at most.
            Listeners { until: Instant::now() + begin.elapsed() * 20, listeners }
        });
        let own = listeners.listeners.iter().filter(|(_, inode)| sockets.contains(inode));
        Ok(own.copied().collect())
    }

    /// Ports and inodes of all listeners in the process's network namespace.
    fn listeners_of(&self, pid: u32) -> Vec<(u16, u64)> {
        self.in_tables(pid, |state, _| state == LISTEN)
    }

    /// Inodes of the TCP connections in the process's network namespace whose own port is one of these.
    pub(in crate::process) fn connections(&self, pid: u32, ports: &[u16]) -> Vec<u64> {
        let found = self.in_tables(pid, |state, port| state != LISTEN && ports.contains(&port));
        found.into_iter().map(|(_, inode)| inode).collect()
    }

    /// Own ports and inodes of those sockets in the process's network namespace that are wanted.
    fn in_tables(&self, pid: u32, is_wanted: impl Fn(&str, u16) -> bool) -> Vec<(u16, u64)> {
        ["net/tcp", "net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(self.path(pid, table)).ok())
            .flat_map(|text| {
                let sockets = text.lines().skip(1).filter_map(socket);
                let wanted = sockets.filter(|(state, port, _)| is_wanted(state, *port));
                wanted.map(|(_, port, inode)| (port, inode)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The link that tells its network namespace.
    pub(in crate::process) fn namespace(&self, pid: u32) -> PathBuf {
        self.path(pid, "ns/net")
    }

    fn socket_inodes(&self, pid: u32) -> io::Result<Vec<u64>> {
        Ok(self.sockets(pid)?.into_iter().map(|(_, inode)| inode).collect())
    }

    /// Descriptors of a process that are sockets, with their inodes.
    ///
    /// # Errors
    /// As [`Self::listening_ports`].
    pub fn sockets(&self, pid: u32) -> io::Result<Vec<(i32, u64)>> {
        let mut sockets = Vec::new();
        for entry in fs::read_dir(self.path(pid, "fd"))?.flatten() {
            match fs::read_link(entry.path()) {
                Ok(link) => {
                    let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
                    sockets.extend(number.zip(link.to_str().and_then(socket_inode)));
                }
                // Who may list the descriptors need not be one who may read them.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                // It was closed by now.
                Err(_) => {}
            }
        }
        Ok(sockets)
    }
}

/// The inode in the link of a descriptor that is a socket.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// State of a listener in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// State, own port and inode of a line of `/proc/net/tcp`.
fn socket(line: &str) -> Option<(&str, u16, u64)> {
    let mut fields = line.split_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    Some((state, u16::from_str_radix(port, 16).ok()?, fields.nth(5)?.parse().ok()?))
}
