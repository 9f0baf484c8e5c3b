//! The embedded store.

use tracer_model::{
    answer::Window,
    facts::Gathered,
    span::{Span, TraceId},
};
use tracer_store::Store;

use super::{Source, SourceError};

impl Source for Store {
    fn name(&self) -> String {
        self.status().directory.unwrap_or_else(|| "the store in memory".to_owned())
    }

    fn extent(&self) -> Result<Option<Window>, SourceError> {
        let status = self.status();
        Ok((status.spans > 0).then_some(Window {
            start_unix_us: status.oldest_unix_us,
            end_unix_us: status.newest_unix_us.saturating_add(1),
        }))
    }

    fn gather(&self, window: Window, max_spans: usize) -> Result<Gathered, SourceError> {
        Ok(Self::gather(self, window, max_spans, None))
    }

    fn traces(&self, ids: &[TraceId]) -> Result<Vec<Vec<Span>>, SourceError> {
        Ok(ids.iter().map(|id| self.trace(*id, usize::MAX).unwrap_or_default()).collect())
    }
}
