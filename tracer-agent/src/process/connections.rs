//! Connections that a process holds.

#![forbid(unsafe_code)]

use std::io;

use rustc_hash::FxHashSet;

use super::{facts::Proc, socket_diag::SocketDiag};

/// Whether a process holds a TCP connection that was made to one of these ports. The process may turn out not to be
/// selected: the inodes of its sockets are compared with those of the kernel's connections, and no socket is touched.
pub fn holds_connection_to(proc: &Proc, pid: u32, ports: &[u16]) -> bool {
    if ports.is_empty() {
        return false;
    }
    let sockets: FxHashSet<u64> =
        proc.sockets(pid).unwrap_or_default().into_iter().map(|(_, inode)| inode).collect();
    if sockets.is_empty() {
        return false;
    }
    let is_own = |inode| sockets.contains(&inode);
    by_netlink(proc, pid, ports, is_own).unwrap_or_else(|error| {
        // The kernel was built without it, or the namespace may not be entered.
        tracing::debug!(pid, %error, "connections are read from the table of their namespace");
        proc.connections(pid, ports).into_iter().any(is_own)
    })
}

fn by_netlink(proc: &Proc, pid: u32, ports: &[u16], is_own: impl Fn(u64) -> bool + Copy) -> io::Result<bool> {
    let diag = SocketDiag::of_namespace(&proc.namespace(pid))?;
    for port in ports {
        if diag.has_connection(*port, is_own)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{TcpListener, TcpStream},
        os::unix::fs::symlink,
        path::{Path, PathBuf},
    };

    use super::*;

    /// A proc file system with one process, which no system call can find by its number: its files are this process's.
    fn unreachable(name: &str, files: &[&str]) -> (PathBuf, Proc) {
        let root = std::env::temp_dir().join(format!("tracer-{name}-{}", std::process::id()));
        let process = root.join(UNREACHABLE.to_string());
        fs::create_dir_all(&process).expect("a folder");
        for file in files {
            let own = Path::new("/proc").join(std::process::id().to_string()).join(file);
            symlink(own, process.join(file)).expect("a link");
        }
        let proc = Proc::at(&root);
        (root, proc)
    }

    /// More than `PID_MAX_LIMIT`.
    const UNREACHABLE: u32 = 1 << 23;

    fn is_found_while_it_is_there(proc: &Proc) {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(address).expect("a free port");
            let port = listener.local_addr().expect("bound").port();
            let holds = || holds_connection_to(proc, UNREACHABLE, &[1, port]);
            assert!(!holds(), "a listener is no connection");
            let host = if address == "[::1]:0" { "::1" } else { "127.0.0.1" };
            // More than one message of the kernel can hold.
            let mut clients = Vec::new();
            for _ in 0..120 {
                clients.push(TcpStream::connect((host, port)).expect("connected"));
            }
            assert!(!holds(), "the client's end is on another port");
            let accepted: Vec<_> = (0..120).map(|_| listener.accept().expect("a client")).collect();
            assert!(holds(), "{address}");
            drop(clients);
            assert!(holds(), "{address}, though the other end was closed");
            drop(accepted);
            assert!(!holds(), "{address}");
        }
    }

    #[test]
    fn a_connection_is_found_by_the_port_that_it_was_made_to_and_its_process_is_left_alone() {
        let (root, proc) = unreachable("holds", &["fd", "ns"]);
        is_found_while_it_is_there(&proc);
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn without_netlink_the_table_of_the_namespace_tells_it() {
        let (root, proc) = unreachable("holds-table", &["fd", "net"]);
        is_found_while_it_is_there(&proc);
        fs::remove_dir_all(root).expect("removed");
    }
}
