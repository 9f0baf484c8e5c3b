//! The exporter's thread: batches, tries, waits, tries again.

use std::time::{Duration, Instant};

use super::{
    answer::Answer,
    config::ExportConfig,
    protocol::OtlpProtocol,
    queue::{DropReason, Encoded, ExportQueue},
    transport::OtlpTransport,
};
use crate::{
    sink::encode::{json, protobuf},
    span::Resource,
};

/// Largest request, bytes: receivers accept 4 MiB unless told otherwise.
const MAX_REQUEST: usize = 3 << 20;
/// Shortest time between batches that are not full: a configured delay of 0 must not spin.
const SHORTEST_DELAY: Duration = Duration::from_millis(10);
/// First pause after a failure; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause that a receiver may ask for. `docs/operations.md` says it.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// Runs until the queue is closed and empty, or its deadline has passed.
pub(super) fn run(queue: &ExportQueue, transport: OtlpTransport, config: &ExportConfig) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the exporter: no span will be sent");
            return;
        }
    };
    let mut worker = ExportWorker {
        queue,
        transport,
        config,
        failing_since: None,
        has_doubted: false,
        jitter: crate::clock::monotonic_ns() | 1,
    };
    runtime.block_on(worker.serve());
}

struct ExportWorker<'a> {
    queue: &'a ExportQueue,
    transport: OtlpTransport,
    config: &'a ExportConfig,
    failing_since: Option<Instant>,
    /// It was said that the server's answers are not those of an OTLP receiver.
    has_doubted: bool,
    jitter: u64,
}

impl ExportWorker<'_> {
    async fn serve(&mut self) {
        loop {
            if self.queue.closing().is_none() && !self.queue.has_full_batch() {
                self.queue.wait(self.config.delay.0.max(SHORTEST_DELAY)).await;
            }
            let batch = self.queue.take(MAX_REQUEST);
            if !batch.is_empty() {
                self.deliver(batch).await;
            } else if self.queue.closing().is_some() {
                return;
            }
            if self.queue.closing().is_some_and(|deadline| Instant::now() >= deadline) {
                return;
            }
        }
    }

    /// Sends a batch, halved as often as it must be.
    async fn deliver(&mut self, batch: Vec<Encoded>) {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            if part.len() > 1 && part.iter().map(|span| span.bytes.len()).sum::<usize>() > MAX_REQUEST {
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
                continue;
            }
            match self.try_until_done(&part).await {
                BatchOutcome::Done => {}
                BatchOutcome::TooLarge if part.len() > 1 => {
                    // A receiver that is short of room gets time, one that has a limit loses little.
                    self.pause(FIRST_PAUSE).await;
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
                BatchOutcome::TooLarge => self.queue.dropped(part.len(), DropReason::TooLarge),
            }
        }
    }

    async fn try_until_done(&mut self, batch: &[Encoded]) -> BatchOutcome {
        let request = self.encode(batch);
        if request.len() > MAX_REQUEST {
            return BatchOutcome::TooLarge;
        }
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let (error, after) = match self.transport.send(&request).await {
                Answer::Taken { rejected, confirmed } => {
                    self.queue.sent(batch.len(), rejected, confirmed);
                    if !confirmed && !std::mem::replace(&mut self.has_doubted, true) {
                        tracing::warn!(
                            "{} takes spans, but its answers are not those of an OTLP receiver: is it one?",
                            self.transport.address()
                        );
                    }
                    if rejected > 0 {
                        tracing::warn!(rejected, "the OTLP receiver refused spans of a request that it took");
                    }
                    if let Some(since) = self.failing_since.take() {
                        tracing::info!(
                            seconds = since.elapsed().as_secs(),
                            "the OTLP receiver takes spans again"
                        );
                    }
                    return BatchOutcome::Done;
                }
                Answer::TooLarge => {
                    self.queue.failed("the request is too large for the OTLP receiver", false);
                    return BatchOutcome::TooLarge;
                }
                Answer::Refused { error } => {
                    self.failed(&error, false);
                    self.queue.dropped(batch.len(), DropReason::Refused);
                    return BatchOutcome::Done;
                }
                Answer::Again { error, after } => (error, after),
            };
            self.failed(&error, true);
            let deadline = self.queue.closing();
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.queue.dropped(batch.len(), DropReason::Shutdown);
                return BatchOutcome::Done;
            }
            if begin.elapsed() >= self.config.retry_for.0 {
                self.queue.dropped(batch.len(), DropReason::RetriesExhausted);
                return BatchOutcome::Done;
            }
            // Whatever the receiver says, there is a pause.
            let own = self.with_jitter(pause).min(self.config.retry_for.0);
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.pause(own).await;
            let asked = after.unwrap_or_default().min(LONGEST_ASKED).min(self.config.retry_for.0);
            self.pause_if_there_is_room(asked.saturating_sub(own)).await;
        }
    }

    /// Waits, but not beyond the end.
    async fn pause(&self, wait: Duration) {
        self.pause_while(wait, || true).await;
    }

    /// Waits, but not beyond the end, nor until spans are dropped because the queue is full: a receiver may ask for
    /// more time than the queue has.
    async fn pause_if_there_is_room(&self, wait: Duration) {
        self.pause_while(wait, || !self.queue.is_nearly_full()).await;
    }

    async fn pause_while(&self, wait: Duration, goes_on: impl Fn() -> bool) {
        const STEP: Duration = Duration::from_millis(100);
        let until = Instant::now() + wait;
        while Instant::now() < until && goes_on() {
            let left = until.saturating_duration_since(Instant::now());
            if let Some(deadline) = self.queue.closing() {
                let end = deadline.saturating_duration_since(Instant::now());
                return tokio::time::sleep(left.min(end)).await;
            }
            tokio::time::sleep(left.min(STEP)).await;
        }
    }

    /// The log folds repeats and says how many there were.
    fn failed(&mut self, error: &str, again: bool) {
        self.queue.failed(error, again);
        let then = if again { "they are tried again" } else { "they are dropped" };
        tracing::warn!(error, "cannot send spans to the OTLP receiver: {then}");
        self.failing_since.get_or_insert_with(Instant::now);
    }

    fn encode(&self, batch: &[Encoded]) -> Vec<u8> {
        let groups = by_resource(batch);
        match self.transport.protocol() {
            OtlpProtocol::HttpJson => {
                let mut request = Vec::new();
                json::request(&mut request, &groups);
                request
            }
            OtlpProtocol::Grpc | OtlpProtocol::HttpProtobuf => protobuf::request(&groups),
        }
    }

    /// Between half of the pause and all of it, so that agents do not come back all at once.
    fn with_jitter(&mut self, pause: Duration) -> Duration {
        // Xorshift (Marsaglia 2003).
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let half = pause / 2;
        half + half.mul_f64((self.jitter % 1000) as f64 / 1000.0)
    }
}

/// Encoded spans by their resource.
pub(super) fn by_resource(batch: &[Encoded]) -> Vec<(&Resource, Vec<&[u8]>)> {
    let mut groups: Vec<(&Resource, Vec<&[u8]>)> = Vec::new();
    for span in batch {
        match groups.iter_mut().find(|(resource, _)| std::ptr::eq(*resource, span.resource.as_ref())) {
            Some((_, spans)) => spans.push(&span.bytes),
            None => groups.push((&span.resource, vec![&span.bytes])),
        }
    }
    groups
}

/// What came of a batch.
enum BatchOutcome {
    /// It is accounted for.
    Done,
    /// It must be halved.
    TooLarge,
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        sync::{Arc, mpsc},
    };

    use super::*;
    use crate::{
        sink::otlp::{
            OtlpProtocol,
            address::{OtlpAddress, UrlKind},
        },
        units::Time,
    };

    /// A receiver that asks for an hour, and tells of each request that it gets.
    fn hostile_receiver() -> (OtlpAddress, mpsc::Receiver<Instant>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let address = OtlpAddress::new(&url, UrlKind::Base, OtlpProtocol::HttpProtobuf).expect("an address");
        let (sender, asked) = mpsc::channel();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut request = [0; 4096];
                while client.read(&mut request).is_ok_and(|length| length > 0) {
                    let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
                    if sender.send(Instant::now()).is_err() || client.write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        (address, asked)
    }

    #[test]
    fn a_receiver_that_asks_for_an_hour_is_asked_again_before_the_queue_is_full() {
        const SPANS: usize = 100;
        let (address, asked) = hostile_receiver();
        let config = ExportConfig { queue_spans: SPANS, delay: Time::from_ms(10), ..ExportConfig::default() };
        let transport = OtlpTransport::new(&config, address).expect("valid");
        let queue = Arc::new(ExportQueue::new(&config));
        let resource = Arc::new(Resource { service_name: "a".to_owned(), pid: 1, attributes: Vec::new() });
        let push = || queue.push(Encoded { resource: Arc::clone(&resource), bytes: Arc::from(&b"span"[..]) });
        push();
        let thread = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || run(&queue, transport, &config)
        });
        let soon = Duration::from_secs(20);
        asked.recv_timeout(soon).expect("a first request");
        // Its own pause is shorter than this; what the receiver asked for is not over.
        assert!(asked.recv_timeout(Duration::from_millis(700)).is_err(), "it was asked again at once");
        for _ in 0..SPANS * 8 / 10 {
            push();
        }
        asked.recv_timeout(soon).expect("a second request, long before an hour");
        assert_eq!(queue.statistics().dropped(), 0);
        queue.close(Duration::ZERO);
        thread.join().expect("no panic");
    }
}
