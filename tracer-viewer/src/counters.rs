//! What the viewer counts of itself.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::room::Counts;

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Connections that were closed at once: all places were taken by connections that are worked for.
    pub(crate) refused_connections: Counter,
    /// Connections that were closed for a new one while they waited for their clients.
    pub(crate) displaced_connections: Counter,
    /// Connections whose clients took too long to shake hands, to send a first request, or to take an answer.
    pub(crate) slow_connections: Counter,
    /// Handshakes of TLS that failed: also those of clients without a certificate that they need.
    pub(crate) failed_handshakes: Counter,
    /// Requests that were refused for their host, origin or token.
    pub(crate) refused_requests: Counter,
    /// Those of them that gave a token, and it was wrong.
    pub(crate) wrong_tokens: Counter,
    /// Large answers that are on their way: their bytes; those that were cut, since their readers stood still while others
    /// needed the room; those that found none.
    pub(crate) answers: Counts,
    /// OTLP requests that are coming in: their bytes; those that were given up, since their senders stood still while
    /// others needed the room; those that found none.
    pub(crate) otlp_receiving: Counts,
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
    /// Openings and ends of incidents.
    pub(crate) incidents: Counter,
}

impl Counters {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections that are open", self.connections.clone());
        let help = "Bytes of large answers that are on their way";
        registry.register_with_unit("answer", help, Unit::Bytes, self.answers.held.clone());
        let help = "Bytes of OTLP requests that are coming in";
        registry.register_with_unit("otlp_receiving", help, Unit::Bytes, self.otlp_receiving.held.clone());
        let counters = [
            (
                "refused_connections",
                "Connections closed at once: there were too many",
                &self.refused_connections,
            ),
            (
                "displaced_connections",
                "Connections closed for a new one while they waited for their clients",
                &self.displaced_connections,
            ),
            (
                "slow_connections",
                "Connections closed since their clients took too long to ask or to take an answer",
                &self.slow_connections,
            ),
            ("failed_handshakes", "Handshakes of TLS that failed", &self.failed_handshakes),
            ("refused_requests", "Requests refused for host, origin or token", &self.refused_requests),
            ("wrong_tokens", "Refused requests that gave a wrong token", &self.wrong_tokens),
            (
                "displaced_answers",
                "Large answers cut for others: their readers stood still",
                &self.answers.displaced,
            ),
            ("refused_answers", "Large answers refused for want of room", &self.answers.refused),
            (
                "displaced_otlp_requests",
                "OTLP requests given up for others: their senders stood still",
                &self.otlp_receiving.displaced,
            ),
            (
                "refused_otlp_requests",
                "OTLP requests told to come again: others held all room",
                &self.otlp_receiving.refused,
            ),
            ("otlp_requests", "OTLP requests whose spans were taken", &self.otlp_requests),
            ("otlp_wrong_requests", "OTLP requests that were wrong", &self.otlp_wrong_requests),
            ("otlp_deferred_requests", "OTLP requests told to come again", &self.otlp_deferred_requests),
            ("otlp_spans", "Spans that came by OTLP and are stored", &self.otlp_spans),
            ("otlp_refused_spans", "Spans that came by OTLP and were refused", &self.otlp_refused_spans),
            ("refused_searches", "Searches refused: there were too many", &self.refused_searches),
            ("stopped_searches", "Searches stopped at their limit of time", &self.stopped_searches),
            ("refused_live_clients", "Followers refused: there were too many", &self.refused_live_clients),
            ("lost_live_events", "Traces that followers were not told of", &self.lost_live_events),
            ("incidents", "Incidents that opened, went on or ended", &self.incidents),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}
