//! A sink that is added from outside: what a trace store takes.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    queue::{Progress, Queue, Weight},
    *,
};
use crate::{
    correlate::Evidence,
    ledger::{Counter, Ledger},
    span::{Span, SpanKind},
    trace::{
        assembly::Assembly,
        order::{Node, Tree},
        self_time::SelfTime,
        tests::span,
    },
};

/// Keeps each trace as the services of its spans in the order of the tree, and their own time.
mod store {
    use super::*;

    pub(super) static KEPT: Mutex<Vec<Vec<(String, u64)>>> = Mutex::new(Vec::new());

    struct Store {
        assembly: Assembly,
        queue: Arc<Queue<Vec<Span>>>,
    }

    pub(super) fn start(_: &mut SinkSettings) -> Result<Option<Box<dyn SpanSink + Send>>, String> {
        let queue = queue::start("tracer-store", 1 << 20, |queue: &Queue<Vec<Span>>| {
            while let Some((trace, weight)) = queue.next() {
                KEPT.lock().expect("free").push(rows(&trace));
                queue.delivered(weight);
            }
        })
        .map_err(|error| error.to_string())?;
        Ok(Some(Box::new(Store { assembly: Assembly::default(), queue })))
    }

    fn rows(trace: &[Span]) -> Vec<(String, u64)> {
        let tree = Tree::new(trace);
        let mut rows = Vec::new();
        tree.visit(|node, _| {
            let Node::Span(index) = node else { return };
            let below = tree.children(index).iter().map(|child| &trace[*child]);
            let own_ns = SelfTime::new(&trace[index], below).ns();
            rows.push((trace[index].resource.service_name.clone(), own_ns));
        });
        rows
    }

    impl Store {
        fn keep(&self, trace: Vec<Span>) {
            let bytes = trace.iter().map(|span| span.attributes.as_bytes().len()).sum();
            let weight = Weight { bytes, items: trace.len() as u64 };
            let _ = self.queue.push(trace, weight);
        }
    }

    impl SpanSink for Store {
        fn span(&mut self, span: &Outgoing<'_>) {
            if let Some(trace) = self.assembly.add(span.span().clone()) {
                self.keep(trace);
            }
        }

        fn tick(&mut self, now_ns: u64) {
            self.assembly.tick(now_ns).into_iter().for_each(|trace| self.keep(trace));
        }

        fn finish(&mut self, _: Duration) {
            self.assembly.finish().into_iter().for_each(|trace| self.keep(trace));
            self.queue.close();
        }

        fn account(&self) -> Account {
            let Progress { taken, delivered, dropped, waiting } = self.queue.progress();
            Account { taken, delivered, dropped, waiting, ..Account::new(Counter::SpansNotWritten) }
        }
    }
}

fn end(sinks: &mut Sinks, patience: Duration) {
    let ledger = Ledger::default();
    sinks.finish(patience);
    sinks.conclude(&SinkEnd { ledger: &ledger, names: &|_| None });
    let deadline = Instant::now() + patience;
    while sinks.account().waiting > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    sinks.give_up();
}

#[test]
fn a_store_is_one_file_and_one_line_of_the_table() {
    let table = [SINKS, &[store::start]].concat();
    let mut sinks = Sinks::start(&table, &mut SinkSettings::default()).expect("valid");
    let served = span("b", SpanKind::Server, 2, Some((1, Evidence::Wire)), (10, 20));
    let called = span("a", SpanKind::Client, 1, None, (0, 30));
    for span in [&served, &called] {
        sinks.span(&Outgoing::new(span));
    }
    end(&mut sinks, Duration::from_secs(10));
    assert_eq!(*store::KEPT.lock().expect("free"), [[("a".to_owned(), 20_000), ("b".to_owned(), 10_000)]]);
    assert_eq!(sinks.account().delivered, 2);
}

fn terminal(format: terminal::Format, out: Box<dyn std::io::Write + Send>) -> Sinks {
    let style = terminal::Style { color: false, ascii: false, columns: || 120 };
    let terminal = terminal::TerminalSettings { format, out, style, summary: format.is_for_people() };
    let mut settings = SinkSettings { terminal: Some(terminal), ..SinkSettings::default() };
    Sinks::start(SINKS, &mut settings).expect("valid")
}

#[test]
fn an_output_that_nobody_reads_keeps_nobody_waiting_and_the_ledger_knows_what_is_missing() {
    for format in [terminal::Format::Json, terminal::Format::OtlpJson] {
        let (out, reader) = outlet::tests::unread_pipe();
        let mut sinks = terminal(format, out);
        let of = span("a", SpanKind::Client, 1, None, (0, 30));
        const SPANS: u64 = 20_000;
        let begin = Instant::now();
        for n in 0..SPANS {
            sinks.span(&Outgoing::new(&of));
            if n % 100 == 0 {
                sinks.tick(n);
            }
        }
        assert!(!sinks.is_over());
        end(&mut sinks, Duration::from_millis(100));
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        let mut ledger = Ledger::default();
        sinks.count_dropped(&mut ledger);
        sinks.count_dropped(&mut ledger);
        let account = sinks.account();
        assert_eq!((account.taken, account.waiting), (SPANS, 0), "{format:?}");
        assert_eq!(account.delivered + account.dropped, SPANS);
        assert!(account.dropped > SPANS * 9 / 10, "{account:?}");
        assert_eq!(ledger.total().get(Counter::SpansNotWritten), account.dropped);
        drop(reader);
    }
}

#[test]
fn the_summary_knows_what_the_receiver_did_not_take() {
    let kept = outlet::tests::Kept::default();
    let style = terminal::Style { color: false, ascii: false, columns: || 120 };
    let terminal = terminal::TerminalSettings {
        format: terminal::Format::Text,
        out: Box::new(kept.clone()),
        style,
        summary: true,
    };
    // A port that nobody listens on: of a listener that is closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let endpoint = format!("http://127.0.0.1:{}", port.expect("a port").port());
    let export = otlp::ExportConfig { endpoint: Some(endpoint), ..otlp::ExportConfig::default() };
    let mut settings = SinkSettings { export, terminal: Some(terminal), store: None };
    let mut sinks = Sinks::start(SINKS, &mut settings).expect("valid");
    sinks.span(&Outgoing::new(&span("a", SpanKind::Client, 1, None, (0, 30))));
    sinks.finish(Duration::from_millis(50));
    let text = || String::from_utf8_lossy(&kept.0.lock().expect("free")).into_owned();
    sinks.give_up_export();
    let mut ledger = Ledger::default();
    sinks.count_dropped(&mut ledger);
    assert!(!text().contains("Seen: "), "{}", text());
    sinks.conclude(&SinkEnd { ledger: &ledger, names: &|_| None });
    let deadline = Instant::now() + Duration::from_secs(10);
    while !text().contains("Seen: ") && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let text = text();
    assert!(text.contains("Missing:\n") && !text.contains("Nothing was lost"), "{text}");
}

#[test]
fn an_output_that_has_failed_ends_the_agent_only_if_nothing_else_takes_spans() {
    let wait = |sinks: &Sinks| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !sinks.is_over() && sinks.account().dropped == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let of = span("a", SpanKind::Client, 1, None, (0, 30));
    let full = || outlet::create(std::path::Path::new("/dev/full")).expect("it is there");
    let mut alone = terminal(terminal::Format::Json, full());
    alone.span(&Outgoing::new(&of));
    alone.tick(1);
    wait(&alone);
    assert!(alone.is_over());
    let style = terminal::Style { color: false, ascii: false, columns: || 120 };
    let out =
        terminal::TerminalSettings { format: terminal::Format::Json, out: full(), style, summary: false };
    let mut settings = SinkSettings { terminal: Some(out), ..SinkSettings::default() };
    let table = [SINKS, &[store_that_drops]].concat();
    let mut beside = Sinks::start(&table, &mut settings).expect("valid");
    beside.span(&Outgoing::new(&of));
    beside.tick(1);
    wait(&beside);
    assert_eq!((beside.is_over(), beside.account().dropped), (false, 1));
}

#[test]
fn a_span_that_comes_after_its_trace_was_drawn_is_drawn_under_the_same_id() {
    let (out, reader) = outlet::tests::unread_pipe();
    let mut sinks = terminal(terminal::Format::Tree, out);
    let mut now_ms = 0;
    let mut drawn = |span: Span| {
        sinks.span(&Outgoing::new(&span));
        for _ in 0..10 {
            now_ms += 50;
            sinks.tick(now_ms * 1_000_000);
        }
    };
    drawn(span("curl", SpanKind::Client, 1, None, (0, 300_000)));
    drawn(span("kinds", SpanKind::Server, 2, Some((1, Evidence::Wire)), (1_000, 1_501_000)));
    end(&mut sinks, Duration::from_secs(10));
    drop(sinks);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(reader), &mut text).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("curl") && lines[0].contains("→ out  GET"), "{text}");
    assert!(lines[1].contains("11111111111111111111111111111111  1 span"), "{text}");
    assert_eq!(lines[2], "  (parent 0000000000000001 drawn above)");
    assert!(lines[3].starts_with("  └ kinds  ← GET /a"), "{text}");
}

/// A sink that takes spans and is never done for.
fn store_that_drops(_: &mut SinkSettings) -> Result<Option<Box<dyn SpanSink + Send>>, String> {
    struct Sieve;
    impl SpanSink for Sieve {
        fn span(&mut self, _: &Outgoing<'_>) {}
        fn account(&self) -> Account {
            Account::new(Counter::SpansNotWritten)
        }
    }
    Ok(Some(Box::new(Sieve)))
}

#[test]
fn a_reader_that_has_gone_ends_the_agent_without_a_word() {
    let (out, reader) = outlet::tests::unread_pipe();
    drop(reader);
    let mut sinks = terminal(terminal::Format::Json, out);
    sinks.span(&Outgoing::new(&span("a", SpanKind::Client, 1, None, (0, 30))));
    sinks.tick(1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !sinks.is_over() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
}
