//! Calls between services as counters and histograms, by the names of Grafana Tempo's service graphs.

use std::{collections::BTreeMap, sync::Arc};

use tracer_model::answer::NodeKind;

use super::tally::edge_of;
use crate::corpus::{Corpus, PartyId, is_service};

/// Upper bounds of the buckets, seconds: those of Tempo. What took longer counts to a last one without a bound.
pub const BOUNDS_SECONDS: [f64; 8] = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8];

/// Edges that are counted: each is a series of dozens of numbers in whatever reads them.
const MOST_EDGES: usize = 1000;

/// Labels of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GraphEdge {
    /// Who calls.
    pub client: Arc<str>,
    /// Who is called.
    pub server: Arc<str>,
    /// What the called one is: empty for a service, `database`, `messaging_system`, or `virtual_node` for one of whom there are
    /// no spans.
    pub connection_type: &'static str,
}

/// Durations by their length.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many took no longer than each bound and longer than the one before; the last has no bound.
    pub counts: [u64; BOUNDS_SECONDS.len() + 1],
    /// All together, seconds.
    pub sum_seconds: f64,
}

impl Histogram {
    fn add(&mut self, duration_ns: u64) {
        let seconds = duration_ns as f64 / 1e9;
        self.counts[BOUNDS_SECONDS.partition_point(|bound| *bound < seconds)] += 1;
        self.sum_seconds += seconds;
    }
}

/// Calls of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GraphCounts {
    /// Calls.
    pub requests: u64,
    /// Those that failed, as either end says.
    pub failed: u64,
    /// Durations as the client saw them.
    pub client: Histogram,
    /// Durations as the server saw them; of those whose server's span is there.
    pub server: Histogram,
}

/// Calls of all edges since the counting began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceGraph {
    /// By edge.
    pub edges: BTreeMap<GraphEdge, GraphCounts>,
    /// Calls of edges that were too many to be told apart.
    pub omitted_requests: u64,
}

impl ServiceGraph {
    /// Counts the calls of a corpus.
    pub fn add(&mut self, corpus: &Corpus) {
        for trace in corpus.traces() {
            for at in 0..trace.len() {
                let Some((from, to)) = edge_of(trace, at) else { continue };
                let Some(counts) = self.counts(corpus, from, to) else {
                    self.omitted_requests += 1;
                    continue;
                };
                let server = if trace.serves(at) { Some(at) } else { trace.server(at) };
                counts.requests += 1;
                counts.failed +=
                    u64::from(trace.is_error(at) || server.is_some_and(|server| trace.is_error(server)));
                if trace.asks(at) {
                    counts.client.add(trace.duration_ns(at));
                }
                if let Some(server) = server {
                    counts.server.add(trace.duration_ns(server));
                }
            }
        }
    }

    fn counts(&mut self, corpus: &Corpus, from: PartyId, to: PartyId) -> Option<&mut GraphCounts> {
        let (client, server) = (corpus.dictionary.party(from), corpus.dictionary.party(to));
        let edge = GraphEdge {
            client: Arc::clone(&client.name),
            server: Arc::clone(&server.name),
            connection_type: match (client.kind, server.kind) {
                (NodeKind::Broker, _) | (_, NodeKind::Broker) => "messaging_system",
                (_, NodeKind::Database) => "database",
                (_, kind) if is_service(kind) => "",
                _ => "virtual_node",
            },
        };
        if self.edges.len() >= MOST_EDGES && !self.edges.contains_key(&edge) {
            return None;
        }
        Some(self.edges.entry(edge).or_default())
    }
}
