//! Which of the processes that hold a listening socket serve on it. A supervisor or an init process may hold it for a
//! service that it starts.

#![forbid(unsafe_code)]

use rustc_hash::FxHashSet;

use super::{execution::Execution, runtime::file_name};

/// Programs that listen for the services that they start, as the host's first process.
const INITS: [&str; 2] = ["systemd", "init"];
/// Longest line of ancestors that is followed.
const MOST_ANCESTORS: usize = 64;

/// A process that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// What it executes.
    pub execution: Execution,
    /// Inodes of its listening sockets.
    pub sockets: Vec<u64>,
}

impl Holder {
    /// Whether two processes share a listening socket.
    pub fn shares_with(&self, other: &Self) -> bool {
        self.sockets.iter().any(|socket| other.sockets.contains(socket))
    }

    /// Whether it listens for services that have not started: the host's init process.
    fn is_init(&self) -> bool {
        is_init(self.pid, &self.execution.exe)
    }
}

/// Whether a process of this executable is the host's init process.
pub fn is_init(pid: u32, exe: &str) -> bool {
    pid == 1 && INITS.contains(&file_name(exe))
}

/// Those of `holders` that do not serve themselves: the host's init process, and processes that have passed a socket on
/// to a descendant that runs another program. A server whose workers run its own program serves, even if it has passed
/// the socket on to another program by mistake.
pub fn mere_holders(holders: &[Holder], parent: impl Fn(u32) -> Option<u32>) -> FxHashSet<u32> {
    let descends = |from: u32, ancestor: u32| {
        std::iter::successors(parent(from), |pid| parent(*pid))
            .take(MOST_ANCESTORS)
            .any(|pid| pid == ancestor)
    };
    let has_passed_on = |holder: &Holder| {
        let heirs =
            || holders.iter().filter(|other| other.shares_with(holder) && descends(other.pid, holder.pid));
        let is_worker = |heir: &Holder| heir.execution.runs_program_of(&holder.execution);
        heirs().next().is_some() && !heirs().any(is_worker)
    };
    let mere = holders.iter().filter(|holder| holder.is_init() || has_passed_on(holder));
    mere.map(|holder| holder.pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::facts::ProcessStat;

    const NONE: [u32; 0] = [];

    fn mere(holders: &[(u32, &str, u64)], parents: &[(u32, u32)]) -> Vec<u32> {
        let holders: Vec<Holder> = holders
            .iter()
            .map(|(pid, exe, socket)| {
                let execution =
                    Execution::new((*exe).to_owned(), Vec::new(), String::new(), ProcessStat::default());
                Holder { pid: *pid, execution, sockets: vec![*socket] }
            })
            .collect();
        let parent = |pid| parents.iter().find(|(child, _)| *child == pid).map(|(_, parent)| *parent);
        let mut found: Vec<u32> = mere_holders(&holders, parent).into_iter().collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn who_passes_its_socket_on_to_another_program_does_not_serve() {
        let family = [(9, 8), (8, 7), (7, 1)];
        // A supervisor, a shell between that holds nothing, and the service.
        assert_eq!(mere(&[(7, "/bin/supervisor", 5), (9, "/srv/shop", 5)], &family), [7]);
        // Another socket, or no relation.
        assert_eq!(mere(&[(7, "/bin/supervisor", 6), (9, "/srv/shop", 5)], &family), NONE);
        assert_eq!(mere(&[(7, "/bin/supervisor", 5), (20, "/srv/shop", 5)], &family), NONE);
    }

    #[test]
    fn a_server_with_workers_of_its_own_program_serves() {
        let family = [(8, 7), (7, 1), (9, 7)];
        let (master, worker) = ((7, "/sbin/nginx", 5), (8, "/sbin/nginx", 5));
        assert_eq!(mere(&[master, worker], &family), NONE);
        // A child that inherits the socket because nobody closes it.
        assert_eq!(mere(&[master, worker, (9, "/bin/sh", 5)], &family), NONE);
    }

    #[test]
    fn the_init_process_listens_for_others_unless_it_is_the_service() {
        assert_eq!(mere(&[(1, "/usr/lib/systemd/systemd", 5)], &[]), [1]);
        assert_eq!(mere(&[(1, "/app/server", 5)], &[]), NONE);
        assert_eq!(mere(&[(900, "/usr/lib/systemd/systemd", 5)], &[]), NONE);
    }
}
