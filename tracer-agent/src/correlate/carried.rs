//! What requests and calls carry besides a `traceparent`, and calls that carry what a request came with.

use super::{Carried, Context, Correlator, Evidence, HeaderFormat, Incoming, Key, Request};
use crate::sample::SAMPLED;

impl Correlator {
    /// What a head tells in the configured formats.
    pub(super) fn carried(&self, head: &[u8]) -> Option<Box<Carried>> {
        if self.rules.headers.is_empty() {
            return None;
        }
        let carried = Carried::of(head, self.rules.headers);
        (!carried.is_empty()).then(|| Box::new(carried))
    }

    /// Trace flags of a span with this context.
    pub(super) fn flags_of(&self, incoming: &Incoming) -> u8 {
        let flags = self.rules.sampler.flags(&incoming.trace_id, incoming.flags);
        // Of an id that came nobody says that it is random.
        if incoming.flags.is_some() { flags } else { flags & SAMPLED }
    }

    /// The only open request of a process that came with what a call carries, and the header that tells.
    pub(super) fn forwarded(
        &mut self,
        pid: u32,
        incoming: Option<&Incoming>,
        carried: Option<&Carried>,
    ) -> Option<(Key, Option<HeaderFormat>)> {
        let others = carried.into_iter().flat_map(|carried| &carried.contexts);
        for Incoming { trace_id, format, .. } in incoming.into_iter().chain(others) {
            if let Some(found) = self.only_open(pid, |request| request.came_with(trace_id)) {
                return Some((found, *format));
            }
        }
        let id = carried?.request_id.as_deref()?;
        let has_id = |carried: &Carried| carried.request_id.as_deref() == Some(id);
        let found = self.only_open(pid, |request| request.carried.as_deref().is_some_and(has_id))?;
        Some((found, Some(HeaderFormat::XRequestId)))
    }

    /// The only request like this that a process has open.
    fn only_open(&mut self, pid: u32, is_like: impl Fn(&Request) -> bool) -> Option<Key> {
        let open: Vec<Key> = self.processes.get(&pid)?.open().collect();
        let mut found = None;
        for key in open {
            if is_like(self.request(key)?) && found.replace(key).is_some() {
                return None;
            }
        }
        found
    }
}

impl Request {
    /// Whether it came with this trace id, in any format.
    fn came_with(&self, trace_id: &[u8; 16]) -> bool {
        let Context { parent, trace_id: own, .. } = &self.context;
        own == trace_id && parent.is_some_and(|(_, evidence)| evidence == Evidence::Header)
            || self
                .carried
                .iter()
                .flat_map(|carried| &carried.contexts)
                .any(|context| context.trace_id == *trace_id)
    }
}
