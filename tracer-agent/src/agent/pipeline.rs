//! The pipeline by the configuration, the same for live traffic and for recordings.

use crate::{
    config::Config,
    connection,
    correlate::{Correlator, Ids, Rules},
    pipeline::Pipeline,
    process::{identity::Host, table::ProcessTable},
    protocol,
    span::build::SpanBuilder,
    trace_context::HeaderFormats,
};

/// A pipeline by the configuration.
pub fn pipeline(config: &Config, host: Host, seed: u64) -> Pipeline {
    let limits = connection::Limits {
        connections: config.limits.connections,
        protocol: protocol::Limits {
            exchange_timeout_ns: config.limits.exchange_timeout.as_ns(),
            formats: HeaderFormats::new(&config.links.headers),
        },
    };
    let propagates = config.propagation.is_on();
    let sampler = config.sampling.sampler();
    let rules = Rules { sole_request: config.links.sole_request, sdk: config.sdk, propagates, sampler };
    let correlator = Correlator::new(rules, Ids::new(seed));
    let builder = SpanBuilder::new(config.spans.clone());
    Pipeline::new(limits, ProcessTable::new(host), correlator, builder, propagates)
}
