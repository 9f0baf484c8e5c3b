//! Reading the ring: by time, not by wake-up.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use tracer_common::{DataHeader, Kind};

/// The reader's end of the ring.
pub struct Ring {
    ring: RingBuf<MapData>,
}

impl Ring {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// Hands every record that is there to `each`, at most `limit`. Returns how many there were.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(record) = self.ring.next() else { break };
            each(exact(&record));
            count += 1;
        }
        count
    }

    /// Waits until the programs say that the ring fills, or `limit` has passed.
    pub fn wait(&self, limit: Duration) {
        wait_readable(self.ring.as_raw_fd(), limit);
    }
}

/// A record without the room behind its bytes: what stands there is of earlier records.
fn exact(record: &[u8]) -> &[u8] {
    match record {
        [kind, _, _, _, low, high, tail, ..] if *kind == Kind::Data as u8 => {
            let copied = usize::from(u16::from_le_bytes([*low, *high])) + usize::from(*tail);
            record.get(..size_of::<DataHeader>() + copied).unwrap_or(record)
        }
        _ => record,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_records_bytes_is_cut_off() {
        let mut record = vec![0; size_of::<DataHeader>() + 100];
        record[0] = Kind::Data as u8;
        record[4] = 7;
        record[6] = 2;
        assert_eq!(exact(&record).len(), size_of::<DataHeader>() + 9);
        // Lengths that make no sense are for the pipeline to count.
        record[5] = 1;
        assert_eq!(exact(&record).len(), record.len());
        record[0] = Kind::Close as u8;
        assert_eq!(exact(&record).len(), record.len());
    }
}
