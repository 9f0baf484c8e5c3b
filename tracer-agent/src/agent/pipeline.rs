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
        message_memory: usize::try_from(config.limits.message_memory.0).unwrap_or(usize::MAX),
        protocol: protocol::Limits {
            exchange_timeout_ns: config.limits.exchange_timeout.as_ns(),
            formats: HeaderFormats::new(&config.links.headers),
        },
    };
    let propagates = config.propagation.is_on();
    let sampler = config.sampling.sampler();
    let rules = Rules {
        sole_request: config.links.sole_request,
        sdk: config.sdk,
        otlp_exports: config.spans.otlp_exports,
        propagates,
        sampler,
    };
    let correlator = Correlator::new(rules, Ids::new(seed));
    let builder = SpanBuilder::new(config.spans.clone());
    Pipeline::new(limits, ProcessTable::new(host), correlator, builder, propagates)
}

#[cfg(test)]
mod tests {
    use tracer_common::{DataHeader, Kind, ProcessRecord};
    use zerocopy::IntoBytes;

    use super::*;
    use crate::{
        event::{Event, Input},
        ledger::Counter,
        pipeline::Out,
        sink::{Account, Outgoing, SpanSink},
    };

    /// Takes nothing.
    struct NoSink;

    impl SpanSink for NoSink {
        fn span(&mut self, _: &Outgoing<'_>) {}

        fn account(&self) -> Account {
            Account::new(Counter::SpansNotWritten)
        }
    }

    #[test]
    fn a_worker_with_the_pid_of_an_excluded_process_is_not_excluded() {
        let mut pipeline = pipeline(&Config::default(), Host::default(), 1);
        let mut handle = |input: &Input<'_>| {
            let mut sink = NoSink;
            pipeline.handle(input, &mut Out { spans: &mut sink, feedback: &mut () });
            pipeline.ledger().total().nonzero().any(|(counter, _)| counter == Counter::EventsExcluded)
        };
        let header = DataHeader { kind: Kind::Data as u8, pid: 7, connection: 1, ..DataHeader::default() };
        let process = ProcessRecord { kind: Kind::Fork as u8, pid: 7, parent: 3, ..ProcessRecord::default() };
        assert!(!handle(&Input::Excluded { pid: 7 }));
        assert!(!handle(&Input::Event(Event::Fork(process))));
        assert!(!handle(&Event::decode(header.as_bytes()).into()), "its requests are lost");
        assert!(!handle(&Input::Excluded { pid: 7 }));
        assert!(handle(&Event::decode(header.as_bytes()).into()), "its bytes are not its process's own");
    }
}
