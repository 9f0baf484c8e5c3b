//! Connections whose end no record told: the kernel is asked which sockets are there.
//!
//! A closed connection never moves a byte again, so nothing else would find it. The ring may have had no space for the
//! record, or the kernel ran no program for the end and counted nothing: one kernel does so for packets that interrupt a
//! certain process of its machine. The tables of `/proc` are read on a thread of their own: soon after the kernel programs
//! have counted records that they could not send, and seldom while connections are idle for long.

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
    /// What the thread that looks finds; and the time before which the connections were idle.
    answer: Option<(mpsc::Receiver<Found>, u64)>,
    /// When the sockets are looked at although nothing is lost.
    seldom: Option<Instant>,
}

/// What a look at the sockets has found.
struct Found {
    /// The numbers of connections that are gone.
    gone: Vec<u64>,
    took: Duration,
}

impl Reconciler {
    /// How long nothing has happened on the connections that are looked for, nanoseconds.
    const IDLE_NS: u64 = 2_000_000_000;
    /// When the sockets are looked at after records were lost. A connection that had just moved bytes is idle only
    /// later, and one that closes slowly is gone only later.
    const AFTER: [Duration; 3] = [Duration::from_secs(3), Duration::from_secs(15), Duration::from_secs(75)];
    /// Time between two looks.
    const LEAST: Duration = Duration::from_secs(10);
    /// How long nothing has happened on the connections that are looked for though nothing was lost, nanoseconds.
    const LONG_IDLE_NS: u64 = 10_000_000_000;
    /// Time between two looks while nothing is lost: at least so long, and so many times as long as a look takes. A host
    /// with very many sockets has long tables.
    const SELDOM: Duration = Duration::from_secs(30);
    const SHARE: u32 = 1_000;

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
                Ok(Found { gone, took }) => {
                    let ends = gone.into_iter().map(|number| end(number, *limit_ns)).collect();
                    self.answer = None;
                    self.seldom = Some(now + Self::SELDOM.max(took * Self::SHARE));
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
        let seldom = *self.seldom.get_or_insert(now + Self::SELDOM);
        let idle_ns = if is_due && self.looked.is_none_or(|looked| now.duration_since(looked) >= Self::LEAST)
        {
            Self::IDLE_NS
        } else if seldom <= now {
            Self::LONG_IDLE_NS
        } else {
            return Vec::new();
        };
        self.due.retain(|due| *due > now);
        self.looked = Some(now);
        self.seldom = Some(now + Self::SELDOM);
        let limit_ns = now_ns.saturating_sub(idle_ns);
        let idle = idle(limit_ns);
        if idle.is_empty() {
            return Vec::new();
        }
        let (told, answer) = mpsc::channel();
        let looks = std::thread::Builder::new().name("tracer-sockets".to_owned()).spawn(move || {
            let begin = Instant::now();
            let gone = gone(Path::new("/proc"), &idle);
            // The agent may have ended.
            let _ = told.send(Found { gone, took: begin.elapsed() });
        });
        match looks {
            Ok(_) => self.answer = Some((answer, limit_ns)),
            Err(error) => tracing::warn!(%error, "cannot look for connections whose end was not seen"),
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

    /// A reconciler that has looked for one connection, which is gone; and the time since which that was idle.
    fn looked(mut reconciler: Reconciler) -> (Vec<CloseRecord>, u64) {
        let mut asked = 0;
        reconciler.look(5, 23_000_000_000, |limit_ns| {
            asked = limit_ns;
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            vec![IdleConnection { is_replaced: true, ..connection(7, &listener).0 }]
        });
        loop {
            let ends = reconciler.look(5, 24_000_000_000, |_| panic!("just looked"));
            if !ends.is_empty() {
                return (ends, asked);
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn sockets_are_looked_at_soon_after_records_were_lost() {
        let mut reconciler = Reconciler::default();
        reconciler.look(0, 1, |_| panic!("nothing was lost"));
        reconciler.look(5, 1, |_| panic!("not yet"));
        reconciler.due = vec![Instant::now()];
        assert_eq!(looked(reconciler), (vec![end(7, 21_000_000_000)], 21_000_000_000));
    }

    #[test]
    fn connections_that_are_idle_for_long_are_looked_for_though_nothing_was_lost() {
        let mut reconciler = Reconciler { missed: 5, ..Reconciler::default() };
        reconciler.look(5, 1, |_| panic!("not yet"));
        reconciler.seldom = Some(Instant::now());
        assert_eq!(looked(reconciler), (vec![end(7, 13_000_000_000)], 13_000_000_000));
    }
}
