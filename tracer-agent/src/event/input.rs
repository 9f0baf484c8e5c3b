//! What the pipeline is told. Everything that decides about a span comes in as an [`Input`].

use serde::{Deserialize, Serialize};
use tracer_common::KERNEL_COUNTERS;

use super::{Event, Malformed};
use crate::process::{facts::ProcessFacts, tasks::TaskProgram};

/// Kernel counters by [`tracer_common::KernelCounter`].
pub type KernelCounters = [u64; KERNEL_COUNTERS as usize];

/// A program that an earlier agent has learned of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RememberedProgram {
    /// See [`ProcessFacts::program`].
    pub program: u64,
    /// Name of its service.
    pub service: String,
}

/// What the pipeline is told.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The kernel programs, or the scan of `/proc` in their place, report something.
    Event(Event<'a>),
    /// A record of the ring that is no event.
    Malformed(Malformed),
    /// A process was selected, or executed another program; `rule` is the operator's name for it.
    Facts {
        /// What is known of it.
        facts: &'a ProcessFacts,
        /// Service name of the selector that matched.
        rule: Option<&'a str>,
    },
    /// How the tasks of a process are read has become known later than its facts.
    Tasks {
        /// Which.
        pid: u32,
        /// What it runs.
        tasks: &'a TaskProgram,
    },
    /// Programs whose threads work for one request each, as an earlier agent has found.
    Remembered(&'a [RememberedProgram]),
    /// A selected process listens on these ports.
    Listening {
        /// Which.
        pid: u32,
        /// Where.
        ports: &'a [u16],
    },
    /// What turns `CLOCK_MONOTONIC` into Unix time.
    Clock {
        /// Unix time minus `CLOCK_MONOTONIC`, nanoseconds.
        offset_ns: i64,
    },
    /// Time has passed.
    Tick {
        /// `CLOCK_MONOTONIC`.
        now_ns: u64,
    },
    /// The kernel programs' counters.
    Counters(&'a KernelCounters),
    /// A selector excludes a process that inherited its selection.
    Excluded {
        /// Which.
        pid: u32,
    },
    /// A process had run for a while before it was selected.
    SelectedLate {
        /// Which.
        pid: u32,
    },
    /// A process that is selected cannot be traced.
    AttachFailed {
        /// Which.
        pid: u32,
    },
}

impl<'a> From<Result<Event<'a>, Malformed>> for Input<'a> {
    fn from(decoded: Result<Event<'a>, Malformed>) -> Self {
        match decoded {
            Ok(event) => Self::Event(event),
            Err(malformed) => Self::Malformed(malformed),
        }
    }
}

/// Where inputs go.
pub trait Tell {
    /// The next input.
    fn tell(&mut self, input: Input<'_>);
}

/// An input that owns its bytes: for a recording that is read, or a queue to one that is written.
#[derive(Clone, Debug)]
pub enum OwnedInput {
    /// See [`Input::Event`]: the event's record.
    Record(Vec<u8>),
    /// See [`Input::Malformed`].
    Malformed(Malformed),
    /// See [`Input::Facts`].
    Facts(Box<ProcessFacts>, Option<String>),
    /// See [`Input::Tasks`].
    Tasks(u32, Box<TaskProgram>),
    /// See [`Input::Remembered`].
    Remembered(Vec<RememberedProgram>),
    /// See [`Input::Listening`].
    Listening(u32, Vec<u16>),
    /// See [`Input::Clock`].
    Clock(i64),
    /// See [`Input::Tick`].
    Tick(u64),
    /// See [`Input::Counters`].
    Counters(KernelCounters),
    /// See [`Input::Excluded`].
    Excluded(u32),
    /// See [`Input::SelectedLate`].
    SelectedLate(u32),
    /// See [`Input::AttachFailed`].
    AttachFailed(u32),
}

impl OwnedInput {
    /// The input as the pipeline takes it.
    #[inline]
    pub fn as_input(&self) -> Input<'_> {
        match self {
            Self::Record(record) => Event::decode(record).into(),
            Self::Malformed(malformed) => Input::Malformed(*malformed),
            Self::Facts(facts, rule) => Input::Facts { facts, rule: rule.as_deref() },
            Self::Tasks(pid, tasks) => Input::Tasks { pid: *pid, tasks },
            Self::Remembered(programs) => Input::Remembered(programs),
            Self::Listening(pid, ports) => Input::Listening { pid: *pid, ports },
            Self::Clock(offset_ns) => Input::Clock { offset_ns: *offset_ns },
            Self::Tick(now_ns) => Input::Tick { now_ns: *now_ns },
            Self::Counters(values) => Input::Counters(values),
            Self::Excluded(pid) => Input::Excluded { pid: *pid },
            Self::SelectedLate(pid) => Input::SelectedLate { pid: *pid },
            Self::AttachFailed(pid) => Input::AttachFailed { pid: *pid },
        }
    }
}

impl From<&Input<'_>> for OwnedInput {
    fn from(input: &Input<'_>) -> Self {
        match *input {
            Input::Event(event) => {
                let mut record = Vec::new();
                event.encode(&mut record);
                Self::Record(record)
            }
            Input::Malformed(malformed) => Self::Malformed(malformed),
            Input::Facts { facts, rule } => Self::Facts(Box::new(facts.clone()), rule.map(str::to_owned)),
            Input::Tasks { pid, tasks } => Self::Tasks(pid, Box::new(tasks.clone())),
            Input::Remembered(programs) => Self::Remembered(programs.to_vec()),
            Input::Listening { pid, ports } => Self::Listening(pid, ports.to_vec()),
            Input::Clock { offset_ns } => Self::Clock(offset_ns),
            Input::Tick { now_ns } => Self::Tick(now_ns),
            Input::Counters(values) => Self::Counters(*values),
            Input::Excluded { pid } => Self::Excluded(pid),
            Input::SelectedLate { pid } => Self::SelectedLate(pid),
            Input::AttachFailed { pid } => Self::AttachFailed(pid),
        }
    }
}
