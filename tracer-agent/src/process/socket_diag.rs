//! TCP connections as the kernel lists them by netlink (`NETLINK_SOCK_DIAG`, `include/uapi/linux/inet_diag.h`). It looks at
//! the port itself, so that a list costs far less than the text of `/proc/net/tcp`, and it touches no socket.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    os::linux::fs::MetadataExt,
    path::Path,
    thread,
};

use rustix::{
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto, socket_with},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `inet_diag_req_v2`.
const QUESTION: usize = 56;
/// Place of `idiag_inode` in `inet_diag_msg`, its last field.
const INODE: usize = 68;
/// A socket that somebody can hold and that has another end: `TCP_ESTABLISHED`, `TCP_FIN_WAIT1`, `TCP_FIN_WAIT2`,
/// `TCP_CLOSE_WAIT`, `TCP_LAST_ACK`, `TCP_CLOSING`.
const CONNECTED: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// The kernel fills up to so many bytes at once (`netlink_dump`).
const ANSWER: usize = 32 * 1024;

/// The connections of a network namespace.
pub(super) struct SocketDiag(OwnedFd);

impl SocketDiag {
    /// Those of this namespace: a link `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// It is another one, and may not be entered.
    pub(super) fn of_namespace(link: &Path) -> io::Result<Self> {
        let number = |link: &Path| std::fs::metadata(link).map(|found| found.st_ino());
        if number(link)? == number(Path::new("/proc/thread-self/ns/net"))? {
            return Self::here();
        }
        let namespace = File::open(link)?;
        // A socket belongs to the namespace of the thread that makes it.
        let there = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Self::here()
        };
        let entered = thread::Builder::new().name("tracer-netns".to_owned()).spawn(there)?;
        entered.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }

    fn here() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = AddressFamily::NETLINK;
        Ok(Self(socket_with(family, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?))
    }

    /// Whether one of the connections whose own port is this one has an inode that `is_it`.
    ///
    /// # Errors
    /// This kernel does not tell it, or has no memory.
    pub(super) fn has_connection(&self, port: u16, is_it: impl Fn(u64) -> bool) -> io::Result<bool> {
        let mut found = false;
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            sendto(
                &self.0,
                &question(family, port),
                SendFlags::empty(),
                &netlink::SocketAddrNetlink::new(0, 0),
            )?;
            // All of the answer is read: the next question needs the kernel's attention.
            found |= self.answer(&is_it)?;
        }
        Ok(found)
    }

    fn answer(&self, is_it: impl Fn(u64) -> bool) -> io::Result<bool> {
        let mut buffer = vec![0; ANSWER];
        let mut found = false;
        loop {
            let (_, length) = recv(&self.0, &mut buffer[..], RecvFlags::TRUNC)?;
            let mut rest = buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
            while let Some((kind, payload, behind)) = message(rest) {
                match kind {
                    DONE => return Ok(found),
                    ERROR => {
                        let number = word(payload, 0).unwrap_or_default().cast_signed();
                        return Err(io::Error::from_raw_os_error(number.wrapping_neg()));
                    }
                    BY_FAMILY => found |= word(payload, INODE).is_some_and(|inode| is_it(inode.into())),
                    _ => {}
                }
                rest = behind;
            }
        }
    }
}

/// Asks for the connections with this own port.
fn question(family: AddressFamily, port: u16) -> [u8; HEADER + QUESTION] {
    /// Place of `idiag_sport`, which is in network order, and of `idiag_states`.
    const PORT: usize = HEADER + 8;
    const STATES: usize = HEADER + 4;
    let mut bytes = [0; HEADER + QUESTION];
    let length = (HEADER + QUESTION) as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    bytes[HEADER] = family.as_raw() as u8;
    bytes[HEADER + 1] = libc::IPPROTO_TCP as u8;
    bytes[STATES..STATES + 4].copy_from_slice(&CONNECTED.to_ne_bytes());
    bytes[PORT..PORT + 2].copy_from_slice(&port.to_be_bytes());
    bytes
}

/// The kind and the payload of the first message, and what is behind it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = word(bytes, 0)? as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let payload = bytes.get(HEADER..length)?;
    Some((kind, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
        process::{Command, Stdio},
    };

    use rustix::process::geteuid;

    use super::*;

    #[test]
    fn messages_that_are_cut_or_lie_about_their_length_are_none() {
        let done = [20u32.to_ne_bytes(), [DONE as u8, 0, 0, 0], [0; 4], [0; 4], [7; 4]].concat();
        assert_eq!(message(&done), Some((DONE, &[7; 4][..], &[][..])));
        for length in 0..done.len() {
            assert_eq!(message(&done[..length]), None, "{length}");
        }
        for length in [0u32, 15, 21, u32::MAX] {
            let lying = [&length.to_ne_bytes(), &done[4..]].concat();
            assert_eq!(message(&lying), None, "{length}");
        }
    }

    #[test]
    fn connections_are_those_of_the_namespace_that_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let _client = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let _accepted = listener.accept().expect("a client");
        let has_some = |link: &str| {
            let diag = SocketDiag::of_namespace(Path::new(link)).expect("it may be entered");
            diag.has_connection(port, |inode| inode > 0).expect("the kernel tells it")
        };
        assert!(has_some("/proc/self/ns/net"));
        if !geteuid().is_root() {
            return;
        }
        let script = ["--net", "sh", "-c", "echo there; exec sleep 100"];
        let mut other =
            Command::new("unshare").args(script).stdout(Stdio::piped()).spawn().expect("it starts");
        other.stdout.take().expect("its output").read_exact(&mut [0; 6]).expect("it has entered");
        assert!(!has_some(&format!("/proc/{}/ns/net", other.id())));
        assert!(has_some("/proc/thread-self/ns/net"), "this thread has stayed");
        // Another test may reap it.
        let _ = other.kill().and_then(|()| other.wait());
    }
}
