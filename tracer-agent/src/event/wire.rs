//! Records of the ring, as `tracer-common` lays them out: bytes to [`Event`]s and back.

use tracer_common::{DataHeader, Kind, RunRecord};
use zerocopy::{FromBytes, IntoBytes, Unalign};

use super::{Data, Event, Exec, OpenEvent, Run};

/// Why a record is no [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Its kind is not known.
    #[error("a record of the unknown kind {0}")]
    UnknownKind(u8),
    /// It is shorter than its kind, or than its own lengths.
    #[error("a record of kind {0:?} that is too short, or whose lengths contradict each other")]
    Cut(Kind),
    /// It has no byte.
    #[error("a record without bytes")]
    Empty,
}

impl<'a> Event<'a> {
    /// Decodes a record. The bytes behind it, which a slot of the ring may have, do not become part of the event.
    ///
    /// # Errors
    /// See [`Malformed`].
    #[inline]
    pub fn decode(record: &'a [u8]) -> Result<Self, Malformed> {
        let byte = *record.first().ok_or(Malformed::Empty)?;
        let kind = Kind::from_byte(byte).ok_or(Malformed::UnknownKind(byte))?;
        let event = match kind {
            Kind::Data => data(record).map(Self::Data),
            Kind::Open => fixed(record).and_then(|(record, rest): (tracer_common::OpenRecord, _)| {
                Some(Self::Open(OpenEvent { record, name: rest.get(..usize::from(record.name_bytes))? }))
            }),
            Kind::Close => fixed(record).map(|(record, _)| Self::Close(record)),
            Kind::Exec => fixed(record).map(|(process, file)| Self::Exec(Exec { process, file })),
            Kind::Fork => fixed(record).map(|(process, _)| Self::Fork(process)),
            Kind::Exit => fixed(record).map(|(process, _)| Self::Exit(process)),
            Kind::Listen => fixed(record).map(|(process, _)| Self::Listen(process)),
            Kind::Unread => fixed(record).map(|(process, _)| Self::Unread(process)),
            Kind::Injection => fixed(record).map(|(record, _)| Self::Injection(record)),
            Kind::Task => fixed(record).map(|(record, _)| Self::Task(record)),
            Kind::Unconnected => fixed(record).map(|(record, _)| Self::Unconnected(record)),
            Kind::Run => {
                Unalign::<RunRecord>::ref_from_prefix(record).ok().map(|(fixed, _)| Self::Run(Run { fixed }))
            }
        };
        event.ok_or(Malformed::Cut(kind))
    }

    /// Adds the record that decodes to this event.
    pub fn encode(&self, record: &mut Vec<u8>) {
        let (fixed, parts): (&[u8], [&[u8]; 2]) = match self {
            Self::Data(data) => (data.fixed.as_bytes(), [data.head, data.tail]),
            Self::Open(open) => (open.record.as_bytes(), [open.name, &[]]),
            Self::Close(close) => (close.as_bytes(), [&[]; 2]),
            Self::Exec(exec) => (exec.process.as_bytes(), [exec.file, &[]]),
            Self::Fork(process) | Self::Exit(process) | Self::Listen(process) | Self::Unread(process) => {
                (process.as_bytes(), [&[]; 2])
            }
            Self::Injection(header) => (header.as_bytes(), [&[]; 2]),
            Self::Task(task) => (task.as_bytes(), [&[]; 2]),
            Self::Unconnected(record) => (record.as_bytes(), [&[]; 2]),
            Self::Run(run) => (run.fixed.as_bytes(), [&[]; 2]),
        };
        record.extend_from_slice(fixed);
        for part in parts {
            record.extend_from_slice(part);
        }
    }
}

/// The fixed part of a record, and what follows it.
#[inline(always)]
fn fixed<T: FromBytes>(record: &[u8]) -> Option<(T, &[u8])> {
    T::read_from_prefix(record).ok()
}

#[inline(always)]
fn data(record: &[u8]) -> Option<Data<'_>> {
    let (fixed, bytes) = Unalign::<DataHeader>::ref_from_prefix(record).ok()?;
    let header = fixed.get();
    let (head, rest) = bytes.split_at_checked(usize::from(header.prefix_length))?;
    let tail = rest.get(..usize::from(header.tail_length))?;
    let copied = head.len() + tail.len();
    let is_inside =
        u64::from(header.prefix_offset) + copied as u64 <= u64::from(header.length) || copied == 0;
    is_inside.then_some(Data { fixed, head, tail })
}

#[cfg(test)]
mod tests {
    use tracer_common::{NAME_BYTES, OpenRecord, ProcessRecord};

    use super::*;

    const HEADER: DataHeader = DataHeader {
        kind: Kind::Data as u8,
        direction: 1,
        flags: 0x0102,
        prefix_length: 2,
        tail_length: 1,
        reason: 0,
        connection: 0x0102_0304_0506_0708,
        time_ns: 9,
        start_ns: 8,
        pid: 7,
        tid: 6,
        position: 5,
        length: 4,
        prefix_offset: 1,
        lost: 3,
        task: 2,
    };

    #[test]
    fn data_is_decoded_as_it_was_written_and_encoded_again() {
        let record = [HEADER.as_bytes(), b"abc"].concat();
        let event = Event::decode(&record).expect("whole");
        let Event::Data(data) = &event else { panic!("{event:?}") };
        assert_eq!((data.header(), data.head, data.tail), (HEADER, &b"ab"[..], &b"c"[..]));
        let mut encoded = Vec::new();
        event.encode(&mut encoded);
        assert_eq!(encoded, record);
        for length in 1..record.len() {
            let cut = Event::decode(&record[..length]).map(|_| ());
            assert_eq!(cut, Err(Malformed::Cut(Kind::Data)), "{length} bytes are too few");
        }
    }

    #[test]
    fn bytes_behind_a_record_are_left_out() {
        let record = [HEADER.as_bytes(), b"abc", b"of an earlier record"].concat();
        let mut encoded = Vec::new();
        Event::decode(&record).expect("whole").encode(&mut encoded);
        assert_eq!(encoded, record[..record.len() - 20]);
    }

    #[test]
    fn lengths_that_contradict_each_other_are_malformed() {
        let header = DataHeader { length: 2, ..HEADER };
        let record = [header.as_bytes(), b"abc"].concat();
        assert_eq!(Event::decode(&record).map(|_| ()), Err(Malformed::Cut(Kind::Data)));
        let open = OpenRecord { kind: Kind::Open as u8, name_bytes: 3, ..OpenRecord::default() };
        assert_eq!(Event::decode(open.as_bytes()).map(|_| ()), Err(Malformed::Cut(Kind::Open)));
        assert_eq!(Event::decode(&[]).map(|_| ()), Err(Malformed::Empty));
        assert_eq!(Event::decode(&[200, 1]).map(|_| ()), Err(Malformed::UnknownKind(200)));
    }

    #[test]
    fn an_exec_tells_the_file_and_a_name_follows_an_open() {
        let process = ProcessRecord { kind: Kind::Exec as u8, pid: 4, ..ProcessRecord::default() };
        let mut name = [0; NAME_BYTES];
        name[..4].copy_from_slice(b"curl");
        let record = [process.as_bytes(), &name].concat();
        let Ok(Event::Exec(exec)) = Event::decode(&record) else { panic!("an exec") };
        assert_eq!((exec.process.pid, exec.file_name().as_str()), (4, "curl"));
        let open = OpenRecord { kind: Kind::Open as u8, name_bytes: 2, ..OpenRecord::default() };
        let record = [open.as_bytes(), b"/a"].concat();
        let Ok(Event::Open(open)) = Event::decode(&record) else { panic!("an open") };
        assert_eq!(open.name, b"/a");
    }

    proptest::proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_event(bytes: Vec<u8>, kind in 0u8..12) {
            let record = [&[kind][..], &bytes].concat();
            if let Ok(event) = Event::decode(&record) {
                let mut encoded = Vec::new();
                event.encode(&mut encoded);
                proptest::prop_assert!(record.starts_with(&encoded));
            }
        }
    }
}
