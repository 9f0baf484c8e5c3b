//! How a process works on its requests, as it is reported, and why the agent thinks so.

use std::fmt;

/// How a process works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Each thread works on the server request that it read.
    Threads {
        /// Overlapping exchanges that showed it.
        exchanges: u32,
    },
    /// As [`Profile::Threads`]: other processes of its program have shown it.
    Inherited {
        /// Overlapping exchanges of its own that were like it.
        exchanges: u32,
    },
    /// Each goroutine works on the server request that it read, and so do those that it makes meanwhile.
    Goroutines {
        /// Server requests whose goroutine was read.
        requests: u32,
    },
    /// Each virtual thread of Java works on the server request that it read.
    VirtualThreads {
        /// Server requests that a virtual thread has read.
        requests: u32,
    },
    /// Each asyncio task works on the server requests that it answers, and so do those that it awaits.
    Tasks {
        /// Server requests that a task answered.
        requests: u32,
    },
    /// Callbacks of its event loop work for what they were called for.
    EventLoop {
        /// Overlapping responses that showed it.
        answers: u32,
    },
    /// It is this proxy.
    Proxy(&'static str),
    /// Not known yet.
    Learning {
        /// Overlapping exchanges that were like those of threads.
        exchanges: u32,
        /// How many it takes.
        needed: u32,
    },
    /// In some other way.
    Unknown(Doubt),
}

/// Why threads or tasks are not taken for units of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// A thread read a server request while it worked on one of another connection.
    Interleaved,
    /// A thread answered a server request that another one had read.
    AnsweredElsewhere,
    /// A thread that reads server requests sent a client request while it had none in flight, and others had.
    HandedOver,
    /// An asyncio task answered server requests of several connections that were in flight at the same time.
    SharedTask,
    /// A callback that worked for one server request answered another one.
    Mixed,
    /// What tells its callbacks apart is not where it was found.
    Misread,
    /// Tasks were to be read, and of many server requests in a row none was known.
    Unread,
}

impl Profile {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threads { .. } | Self::Inherited { .. } => "threads",
            Self::Goroutines { .. } => "goroutines",
            Self::VirtualThreads { .. } => "virtual-threads",
            Self::Tasks { .. } => "tasks",
            Self::EventLoop { .. } => "event-loop",
            Self::Proxy(_) => "proxy",
            Self::Learning { .. } | Self::Unknown(_) => "unknown",
        }
    }

    /// Whether two profiles differ at most in how much was seen.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Threads { .. }, Self::Threads { .. })
            | (Self::Inherited { .. }, Self::Inherited { .. })
            | (Self::Goroutines { .. }, Self::Goroutines { .. })
            | (Self::VirtualThreads { .. }, Self::VirtualThreads { .. })
            | (Self::Tasks { .. }, Self::Tasks { .. })
            | (Self::EventLoop { .. }, Self::EventLoop { .. })
            | (Self::Learning { .. }, Self::Learning { .. }) => true,
            _ => self == other,
        }
    }

    /// Whether nothing was seen yet.
    pub const fn is_blank(self) -> bool {
        matches!(self, Self::Learning { exchanges: 0, .. } | Self::Goroutines { requests: 0 })
    }
}

/// What it is known from.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads { exchanges } => write!(f, "{exchanges} overlapping exchanges"),
            Self::Inherited { exchanges } => {
                write!(f, "shown by other processes of the program, and {exchanges} overlapping exchanges")
            }
            Self::Goroutines { requests } => write!(f, "{requests} requests with their goroutine"),
            Self::VirtualThreads { requests } => write!(f, "{requests} requests with their virtual thread"),
            Self::Tasks { requests } => write!(f, "{requests} requests that an asyncio task answered"),
            Self::EventLoop { answers } => write!(f, "{answers} overlapping responses"),
            Self::Proxy(name) => f.write_str(name),
            Self::Learning { exchanges, needed } => {
                write!(f, "{exchanges} of {needed} overlapping exchanges")
            }
            Self::Unknown(doubt) => f.write_str(match doubt {
                Doubt::Interleaved => "a thread read a request while it worked for another",
                Doubt::AnsweredElsewhere => "a thread answered a request that another had read",
                Doubt::Unread => "the tasks of 64 requests in a row could not be read from its memory",
                Doubt::HandedOver => "a thread without a request made calls while others were open",
                Doubt::SharedTask => "an asyncio task worked for requests of several connections at once",
                Doubt::Mixed => "a callback that worked for one request answered another",
                Doubt::Misread => "what tells its callbacks apart cannot be read",
            }),
        }
    }
}
