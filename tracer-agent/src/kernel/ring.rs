//! Reading the ring: by time, not by wake-up.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};

use crate::event::{Event, Malformed};

/// The reader's end of the ring.
pub struct Ring {
    ring: RingBuf<MapData>,
}

impl Ring {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// Decodes every record that is there, at most `limit`, and hands it to `each`. Returns how many there were.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(Result<Event<'_>, Malformed>)) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(record) = self.ring.next() else { break };
            each(Event::decode(&record));
            count += 1;
        }
        count
    }

    /// Waits until the programs say that the ring fills, or `limit` has passed.
    pub fn wait(&self, limit: Duration) {
        wait_readable(self.ring.as_raw_fd(), limit);
    }
}

/// Waits until `fd` is readable or `limit` has passed. A signal ends the wait early.
fn wait_readable(fd: RawFd, limit: Duration) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let limit = limit.as_millis().try_into().unwrap_or(i32::MAX);
    // SAFETY: one live pollfd.
    if unsafe { libc::poll(&raw mut poll, 1, limit) } < 0
        && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted
    {
        // Nothing to wait on: do not spin.
        std::thread::sleep(Duration::from_millis(10));
    }
}
