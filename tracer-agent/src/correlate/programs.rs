//! What processes have shown of how their programs work, for later processes of the same programs.

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

/// A program that runs as a service: two processes of it work in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Program(u64);

impl Program {
    /// The program of this digest of executable and arguments, as this service.
    pub fn new(digest: u64, service: Option<&str>) -> Self {
        let mut hasher = FxHasher::default();
        (digest, service).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What one process has shown of its strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It is proven.
    Proven,
    /// It has met a contradiction.
    Doubted,
}

/// Addresses that requests are known to call; when there are more, all are learned again.
pub(super) const CALLED: usize = 1024;

/// Addresses that processes of one program were seen to call for their server requests.
#[derive(Clone, Debug, Default)]
pub(super) struct CalledForRequests(Arc<Mutex<FxHashSet<u64>>>);

impl CalledForRequests {
    pub(super) fn has(&self, remote: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&remote)
    }

    pub(super) fn add(&self, remote: u64) {
        let mut remotes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remotes.len() >= CALLED {
            remotes.clear();
        }
        remotes.insert(remote);
    }
}

/// What was shown of each program.
#[derive(Debug, Default)]
pub(super) struct Programs {
    shown: FxHashMap<Program, Shown>,
    called: FxHashMap<Program, CalledForRequests>,
}

impl Programs {
    /// Programs that are remembered; when there are more, only the contradictions are kept.
    const MOST: usize = 4096;

    /// A process of a program has shown this. One contradiction holds, whatever others have shown or will show.
    pub(super) fn shown(&mut self, program: Program, shown: Shown) {
        if self.shown.len() >= Self::MOST && !self.shown.contains_key(&program) {
            self.shown.retain(|_, shown| *shown == Shown::Doubted);
            if self.shown.len() >= Self::MOST {
                return;
            }
        }
        let known = self.shown.entry(program).or_insert(shown);
        if shown == Shown::Doubted {
            *known = shown;
        }
    }

    /// What processes of a program call for their requests.
    pub(super) fn called(&mut self, program: Program) -> CalledForRequests {
        if self.called.len() >= Self::MOST && !self.called.contains_key(&program) {
            // Processes that run keep what they share.
            self.called.clear();
        }
        self.called.entry(program).or_default().clone()
    }

    /// An earlier agent has found the strategy of a program to be proven.
    pub(super) fn remember(&mut self, program: Program) {
        if self.shown.len() < Self::MOST {
            self.shown.entry(program).or_insert(Shown::Proven);
        }
    }

    /// Whether the strategy of a new process is taken for proven.
    pub(super) fn is_proven(&self, program: Program) -> bool {
        self.shown.get(&program) == Some(&Shown::Proven)
    }
}
