//! Where the processes that are traced can be asked: the ports on which they listen.

#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::process::facts::Proc;

/// Ports of one process that are told.
const MOST_PORTS: usize = 16;
/// Processes that are looked at: each costs a look at all of its descriptors.
const MOST_PROCESSES: usize = 64;
/// So long an answer stays: pages ask again and again.
const FRESH: Duration = Duration::from_secs(2);

/// Where a process listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// TCP ports.
    pub(super) ports: Vec<u16>,
    /// They are reached by an address of this host.
    pub(super) is_on_host: bool,
}

/// Knows where processes listen.
#[derive(Default)]
pub(super) struct Listening {
    proc: Proc,
    asked: Option<(Instant, Vec<u32>)>,
    places: HashMap<u32, Place>,
}

impl Listening {
    /// Where these processes listen: the first [`MOST_PROCESSES`] of them.
    pub(super) fn of(&mut self, pids: impl Iterator<Item = u32>) -> &HashMap<u32, Place> {
        let pids: Vec<u32> = pids.filter(|pid| *pid != 0).take(MOST_PROCESSES).collect();
        let is_fresh = self.asked.as_ref().is_some_and(|(at, of)| at.elapsed() < FRESH && *of == pids);
        if !is_fresh {
            self.places = pids.iter().map(|pid| (*pid, self.place(*pid))).collect();
            self.asked = Some((Instant::now(), pids));
        }
        &self.places
    }

    fn place(&self, pid: u32) -> Place {
        // One that has ended listens nowhere.
        let mut ports = self.proc.listening_ports(pid).unwrap_or_default();
        ports.truncate(MOST_PORTS);
        Place { ports, is_on_host: network(&pid.to_string()) == network("self") }
    }
}

/// The network namespace of a process.
fn network(process: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_process_listens_where_it_has_a_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mut listening = Listening::default();
        let own = std::process::id();
        let place = listening.of([0, own, u32::MAX].into_iter())[&own].clone();
        assert!(place.ports.contains(&port) && place.is_on_host, "{place:?}");
        assert_eq!(listening.of([u32::MAX].into_iter())[&u32::MAX].ports, [0; 0]);
    }
}
