//! Spans to any OTLP backend: a bounded queue, batches, retries, and an account of every span.

pub mod address;
mod answer;
pub mod config;
mod grpc;
mod protocol;
mod queue;
mod transport;
mod worker;

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

pub use self::{config::ExportConfig, protocol::OtlpProtocol};
use self::{
    queue::{Encoded, ExportQueue},
    transport::OtlpTransport,
};
pub use super::ExportStatistics;
use super::{Account, Outgoing, SpanSink, encode::protobuf};
use crate::{ledger::Counter, span::Span};

/// The running exporter.
pub struct Exporter {
    queue: Arc<ExportQueue>,
    protocol: OtlpProtocol,
    worker: Option<JoinHandle<()>>,
    done: mpsc::Receiver<()>,
}

/// Hands spans to the exporter; never blocks.
#[derive(Clone)]
pub struct SpanSender {
    queue: Arc<ExportQueue>,
    protocol: OtlpProtocol,
}

impl SpanSender {
    /// Encodes the span here, and queues it. If the queue is full the oldest spans go.
    pub fn send(&self, span: &Span) {
        self.queue(&Outgoing::new(span));
    }

    fn queue(&self, span: &Outgoing<'_>) {
        let bytes = match self.protocol {
            OtlpProtocol::HttpJson => span.otlp_json(),
            OtlpProtocol::Grpc | OtlpProtocol::HttpProtobuf => span.otlp_protobuf(),
        };
        let resource = Arc::clone(&span.span().resource);
        self.queue.push(Encoded { resource, bytes: Arc::clone(bytes) });
    }
}

/// Starts the exporter as a sink; none if no endpoint is configured.
pub(super) fn start(config: &ExportConfig) -> Result<Option<Box<dyn SpanSink + Send>>, String> {
    Ok(Exporter::start(config)?.map(|exporter| -> Box<dyn SpanSink + Send> {
        Box::new(Otlp { sender: exporter.sender(), exporter })
    }))
}

struct Otlp {
    sender: SpanSender,
    exporter: Exporter,
}

impl SpanSink for Otlp {
    fn span(&mut self, span: &Outgoing<'_>) {
        self.sender.queue(span);
    }

    fn finish(&mut self, time_left: Duration) {
        self.exporter.queue.close(time_left);
    }

    fn give_up(&mut self) {
        self.exporter.queue.drop_rest();
    }

    fn account(&self) -> Account {
        // Nobody sends what is left when the thread has ended.
        if self.exporter.done.try_recv() != Err(mpsc::TryRecvError::Empty) {
            self.exporter.queue.drop_rest();
        }
        let export = self.exporter.statistics();
        Account {
            taken: export.queued,
            delivered: export.sent,
            dropped: export.dropped() + export.rejected,
            waiting: export.in_queue,
            export: Some(export),
            ..Account::new(Counter::SpansNotExported)
        }
    }
}

/// Spans as the bytes of one OTLP request: each encoded, then put together by resource.
pub fn protobuf_request(spans: &[Span]) -> Vec<u8> {
    let encoded: Vec<Encoded> = spans
        .iter()
        .map(|span| Encoded { resource: Arc::clone(&span.resource), bytes: protobuf::span(span) })
        .collect();
    protobuf::request(&worker::by_resource(&encoded))
}

impl Exporter {
    /// Starts a thread that sends. None if no endpoint is configured.
    ///
    /// # Errors
    /// The endpoint cannot be used.
    pub fn start(config: &ExportConfig) -> Result<Option<Self>, String> {
        let Some(address) = config.address()? else { return Ok(None) };
        let transport = OtlpTransport::new(config, address)?;
        let queue = Arc::new(ExportQueue::new(config));
        let (finished, done) = mpsc::channel();
        let worker = std::thread::Builder::new()
            .name("tracer-export".to_owned())
            .spawn({
                let (queue, config) = (Arc::clone(&queue), config.clone());
                move || {
                    worker::run(&queue, transport, &config);
                    // The receiver may have given up waiting.
                    let _ = finished.send(());
                }
            })
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Some(Self { queue, protocol: config.protocol, worker: Some(worker), done }))
    }

    /// What spans are handed to.
    pub fn sender(&self) -> SpanSender {
        SpanSender { queue: Arc::clone(&self.queue), protocol: self.protocol }
    }

    /// The account so far: `queued = sent + rejected + dropped + in_queue`.
    pub fn statistics(&self) -> ExportStatistics {
        self.queue.statistics()
    }

    /// Sends what is queued, for at most `deadline`; what is left then counts as dropped.
    pub fn shutdown(mut self, deadline: Duration) -> ExportStatistics {
        self.queue.close(deadline);
        if self.done.recv_timeout(deadline + Duration::from_millis(500)).is_ok()
            && let Some(worker) = self.worker.take()
        {
            // It has said that it is done.
            let _ = worker.join();
        }
        self.queue.drop_rest();
        self.queue.statistics()
    }
}
