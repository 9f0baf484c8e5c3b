//! Connections whose end no record told, because the ring had no space: the kernel is asked which sockets are there.
//!
//! A closed connection never moves a byte again, so nothing else would find it. The tables of `/proc` are read on a
//! thread of their own, and only when the kernel programs have counted records that they could not send.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use tracer_common::{CLOSE_ALL, CLOSE_UNSEEN, CloseRecord, Kind};

use crate::{connection::IdleConnection, kernel::socket_table::Sockets};

/// When the sockets are looked at, and what came of it.
#[derive(Default)]
pub(super) struct Reconciler {
    /// Records that the kernel programs could not send, as counted last.
    missed: u64,
    /// When the sockets are looked at next.
    due: Vec<Instant>,
    looked: Option<Instant>,
    /// The numbers of connections that are gone, from the thread that looks; and the time before which they were idle.
    answer: Option<(mpsc::Receiver<Vec<u64>>, u64)>,
}

impl Reconciler {
    /// How long nothing has happened on the connections that are looked for, nanoseconds.
    const IDLE_NS: u64 = 2_000_000_000;
    /// When the sockets are looked at after records were lost. A connection that had just moved bytes is idle only
    /// later, and one that closes slowly is gone only later.
    const AFTER: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(15), Duration::from_secs(75)];
    /// Time between two looks.
    const LEAST: Duration = Duration::from_secs(10);

    /// A second has passed; `missed` records could not be sent so far, and `idle` tells the connections that are idle
    /// since a time. Returns the ends of connections that are gone.
    pub(super) fn look(
        &mut self,
        missed: u64,
        now_ns: u64,
        idle: impl FnOnce(u64) -> Vec<IdleConnection>,
    ) -> Vec<CloseRecord> {
        let now = Instant::now();
        if missed > self.missed {
            self.missed = missed;
            // What is due already stays so, however much is lost meanwhile.
            let first = self.due.iter().min().copied();
            self.due = Self::AFTER.iter().map(|after| now + *after).chain(first).collect();
        }
        if let Some((answer, limit_ns)) = &self.answer {
            return match answer.try_recv() {
                Ok(gone) => {
                    let ends = gone.into_iter().map(|number| end(number, *limit_ns)).collect();
                    self.answer = None;
                    ends
                }
                Err(mpsc::TryRecvError::Empty) => Vec::new(),
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.answer = None;
                    Vec::new()
                }
            };
        }
        let is_due = self.due.iter().any(|due| *due <= now);
        if is_due && self.looked.is_none_or(|looked| now.duration_since(looked) >= Self::LEAST) {
            self.due.retain(|due| *due > now);
            self.looked = Some(now);
            let limit_ns = now_ns.saturating_sub(Self::IDLE_NS);
            let idle = idle(limit_ns);
            let (told, answer) = mpsc::channel();
            let looks = std::thread::Builder::new().name("tracer-sockets".to_owned()).spawn(move || {
                // The agent may have ended.
                let _ = told.send(gone(Path::new("/proc"), &idle));
            });
            match looks {
                Ok(_) => self.answer = Some((answer, limit_ns)),
                Err(error) => tracing::warn!(%error, "cannot look for connections whose end was not seen"),
            }
        }
        Vec::new()
    }
}

/// The record of an end that no record told.
fn end(number: u64, time_ns: u64) -> CloseRecord {
    CloseRecord {
        kind: Kind::Close as u8,
        state: CLOSE_ALL | CLOSE_UNSEEN,
        connection: number,
        time_ns,
        ..CloseRecord::default()
    }
}

/// The numbers of connections whose sockets are gone.
fn gone(proc: &Path, idle: &[IdleConnection]) -> Vec<u64> {
    /// Processes that are asked for the table of a namespace.
    const MOST: usize = 16;
    let mut namespaces: BTreeMap<u32, Vec<&IdleConnection>> = BTreeMap::new();
    for connection in idle {
        namespaces.entry(connection.netns).or_default().push(connection);
    }
    let mut gone = Vec::new();
    for (netns, connections) in namespaces {
        let mut pids: Vec<u32> = connections.iter().map(|connection| connection.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        pids.truncate(MOST);
        // The kernel may leave a socket out of a table that changes while it is read.
        let tables = [(); 2].map(|()| Sockets::of_namespace(proc, netns, &pids));
        let is_there = |connection: &IdleConnection| {
            let has = |table: &Option<Sockets>| {
                table.as_ref().is_none_or(|table| table.has(connection.local, connection.remote))
            };
            !connection.is_replaced && tables.iter().any(has)
        };
        gone.extend(connections.into_iter().filter(|it| !is_there(it)).map(|it| it.number));
    }
    gone
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::linux::fs::MetadataExt,
    };

    use super::*;

    /// A connection of this process.
    fn connection(number: u64, listener: &TcpListener) -> (IdleConnection, TcpStream) {
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let netns = std::fs::metadata("/proc/self/ns/net").expect("a namespace").st_ino() as u32;
        let idle = IdleConnection {
            number,
            pid: std::process::id(),
            netns,
            local: stream.local_addr().expect("an address"),
            remote: stream.peer_addr().expect("an address"),
            is_replaced: false,
        };
        (idle, stream)
    }

    #[test]
    fn a_connection_is_gone_if_its_socket_is_or_another_one_has_its_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let [there, closed, replaced] = [1, 2, 3].map(|number| connection(number, &listener));
        drop(closed.1);
        drop(listener.accept().expect("the first"));
        // The other end of the second one: then only the kernel's own rest of it is there.
        drop(listener.accept().expect("the second"));
        let replaced = (IdleConnection { is_replaced: true, ..replaced.0 }, replaced.1);
        let elsewhere = IdleConnection { number: 4, netns: 1, ..closed.0 };
        let idle = [there.0, closed.0, replaced.0, elsewhere];
        assert_eq!(gone(Path::new("/proc"), &idle), [2, 3], "of another namespace nothing is known");
    }

    #[test]
    fn sockets_are_looked_at_only_after_records_were_lost() {
        let mut reconciler = Reconciler::default();
        let none = |_| -> Vec<IdleConnection> { panic!("nothing was lost") };
        assert!(reconciler.look(0, 1, none).is_empty());
        reconciler.look(5, 1, |_| panic!("not yet"));
        reconciler.due = vec![Instant::now()];
        let mut asked = None;
        reconciler.look(5, 3_000_000_000, |limit_ns| {
            asked = Some(limit_ns);
            vec![IdleConnection {
                is_replaced: true,
                ..connection(7, &TcpListener::bind("127.0.0.1:0").expect("a port")).0
            }]
        });
        assert_eq!(asked, Some(1_000_000_000));
        let ends = loop {
            let ends = reconciler.look(5, 4_000_000_000, |_| panic!("just looked"));
            if !ends.is_empty() {
                break ends;
            }
            std::thread::yield_now();
        };
        assert_eq!(ends, [end(7, 1_000_000_000)]);
    }
}
