//! The word back to the kernel programs.

use tracer_common::CapturePolicy;

use crate::{
    clock,
    exchange::{ConnectionFacts, Direction},
    kernel::{CapturePolicies, propagation::Propagation},
    pipeline::Feedback,
};

/// Hands what the pipeline has learned to the maps of the kernel programs.
pub(super) struct KernelFeedback {
    policies: CapturePolicies,
    propagation: Option<Propagation>,
}

impl KernelFeedback {
    /// `propagation` is there if requests get trace headers.
    pub(super) fn new(policies: CapturePolicies, propagation: Option<Propagation>) -> Self {
        Self { policies, propagation }
    }

    /// No more requests get trace headers.
    pub(super) fn end(&mut self) {
        self.propagation = None;
    }

    /// Says that the agent is alive: the kernel changes no byte for one that is not.
    pub(super) fn renew(&self) {
        if let Some(propagation) = &self.propagation {
            propagation.renew(clock::monotonic_ns());
        }
    }
}

impl Feedback for KernelFeedback {
    fn policy(&mut self, connection: u64, direction: Direction, policy: CapturePolicy) {
        self.policies.set(connection, direction, policy);
    }

    fn boundary(&mut self, connection: u64, position: u32) {
        if let Some(propagation) = &self.propagation {
            propagation.boundary(connection, position);
        }
    }

    fn preexisting(&mut self, pid: u32, facts: &ConnectionFacts) {
        if let Some(propagation) = &mut self.propagation {
            propagation.want_preexisting(pid, facts);
        }
    }

    fn sealed(&mut self, connection: u64, gone: bool) {
        if let Some(propagation) = &mut self.propagation {
            propagation.leave(connection, gone);
        }
    }

    fn orphaned(&mut self, key: u64) {
        if let Some(propagation) = &mut self.propagation {
            propagation.take_out(key);
        }
    }

    fn http_port(&mut self, port: u16) {
        if let Some(propagation) = &self.propagation {
            propagation.http_port(port);
        }
    }

    fn profile(&mut self, pid: u32, profile: Option<u8>) {
        if let Some(propagation) = &mut self.propagation {
            propagation.profile(pid, profile);
        }
    }

    fn tick(&mut self) {
        if let Some(propagation) = &mut self.propagation {
            propagation.admit_wanted();
        }
    }
}
