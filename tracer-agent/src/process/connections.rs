//! Connections that a process holds.

#![forbid(unsafe_code)]

use rustix::{
    net::{SocketAddrAny, getpeername, getsockname},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::facts::Proc;

/// Sockets of a process that are looked at.
const MOST_SOCKETS: usize = 256;

/// Whether a process holds a TCP connection that was made to one of these ports. The socket is borrowed for as long as
/// it takes to ask for its addresses.
pub fn holds_connection_to(proc: &Proc, pid: u32, ports: &[u16]) -> bool {
    if ports.is_empty() {
        return false;
    }
    let Ok(sockets) = proc.sockets(pid) else { return false };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(Ok(process)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { return false };
    sockets.into_iter().take(MOST_SOCKETS).any(|(number, _)| {
        let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { return false };
        getpeername(&socket).is_ok()
            && getsockname(&socket).ok().and_then(port).is_some_and(|port| ports.contains(&port))
    })
}

fn port(address: SocketAddrAny) -> Option<u16> {
    std::net::SocketAddr::try_from(address).ok().map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_found_by_the_port_that_it_was_made_to() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let holds = || holds_connection_to(&Proc::default(), std::process::id(), &[port]);
        assert!(!holds(), "a listener is no connection");
        let client = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        assert!(!holds(), "the client's end is on another port");
        let accepted = listener.accept().expect("a client");
        assert!(holds());
        drop((accepted, client));
        assert!(!holds());
    }
}
