//! What the viewer counts of itself.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections that were closed at once, since there were too many.
    pub(crate) refused_connections: Counter,
    /// Requests that were refused for their host, origin or token.
    pub(crate) refused_requests: Counter,
    /// OTLP requests whose spans were taken.
    pub(crate) otlp_requests: Counter,
    /// OTLP requests that were wrong: no OTLP, too large, cut.
    pub(crate) otlp_wrong_requests: Counter,
    /// OTLP requests that were told to come again.
    pub(crate) otlp_deferred_requests: Counter,
    /// Spans that came by OTLP and are stored.
    pub(crate) otlp_spans: Counter,
    /// Spans that came by OTLP and were refused.
    pub(crate) otlp_refused_spans: Counter,
    /// Searches that were refused, since there were too many.
    pub(crate) refused_searches: Counter,
    /// Searches that were stopped at their limit of time.
    pub(crate) stopped_searches: Counter,
    /// Pages that could not follow new traces, since there were too many.
    pub(crate) refused_live_clients: Counter,
    /// Traces that pages which follow were not told of.
    pub(crate) lost_live_events: Counter,
}

impl Counters {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let counters = [
            (
                "refused_connections",
                "Connections closed at once: there were too many",
                &self.refused_connections,
            ),
            ("refused_requests", "Requests refused for host, origin or token", &self.refused_requests),
            ("otlp_requests", "OTLP requests whose spans were taken", &self.otlp_requests),
            ("otlp_wrong_requests", "OTLP requests that were wrong", &self.otlp_wrong_requests),
            ("otlp_deferred_requests", "OTLP requests told to come again", &self.otlp_deferred_requests),
            ("otlp_spans", "Spans that came by OTLP and are stored", &self.otlp_spans),
            ("otlp_refused_spans", "Spans that came by OTLP and were refused", &self.otlp_refused_spans),
            ("refused_searches", "Searches refused: there were too many", &self.refused_searches),
            ("stopped_searches", "Searches stopped at their limit of time", &self.stopped_searches),
            ("refused_live_clients", "Followers refused: there were too many", &self.refused_live_clients),
            ("lost_live_events", "Traces that followers were not told of", &self.lost_live_events),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}
