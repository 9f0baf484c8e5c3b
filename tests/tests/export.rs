//! The exporter against a real OTLP receiver that fails in every way that one can.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracer_agent::{
    endpoint::Endpoint,
    sink::otlp::{ExportConfig, ExportStatistics, Exporter, OtlpProtocol, config::Compression},
    span::{Attributes, Resource, Span, SpanKind, Status, Value},
    units::{Size, Time},
};
use tracer_tests::{
    receiver::{Fault, Receiver},
    wait_until,
};

fn span(service: &str, n: usize) -> Span {
    let attributes = vec![("service.name".into(), Value::Str(service.to_owned().into()))];
    Span {
        resource: Arc::new(Resource { service_name: service.to_owned(), pid: 1, attributes }),
        trace_id: [7; 16],
        span_id: (n as u64 + 1).to_be_bytes(),
        parent_span_id: None,
        flags: 0x103,
        trace_state: String::new(),
        name: format!("span {n}").into(),
        kind: SpanKind::Server,
        local: Endpoint::Ip("127.0.0.1:8080".parse().expect("an address")),
        peer: Endpoint::Ip("127.0.0.1:51234".parse().expect("an address")),
        start_unix_ns: 1,
        end_unix_ns: 2,
        attributes: Attributes::default(),
        attachments: None,
        status: Status::Unset,
    }
}

fn config(receiver: &Receiver, protocol: OtlpProtocol) -> ExportConfig {
    let endpoint =
        if protocol == OtlpProtocol::Grpc { receiver.grpc_endpoint() } else { receiver.http_endpoint() };
    ExportConfig {
        endpoint: Some(endpoint),
        protocol,
        timeout: Time::from_ms(500),
        delay: Time::from_ms(50),
        ..ExportConfig::default()
    }
}

fn export(config: &ExportConfig, spans: usize) -> ExportStatistics {
    let exporter = Exporter::start(config).expect("a valid endpoint").expect("an endpoint");
    let sender = exporter.sender();
    for n in 0..spans {
        sender.send(&span(if n % 2 == 0 { "even" } else { "odd" }, n));
    }
    let statistics = exporter.shutdown(Duration::from_secs(20));
    assert_balanced(&statistics);
    statistics
}

fn assert_balanced(s: &ExportStatistics) {
    assert_eq!(s.queued, s.sent + s.rejected + s.dropped() + s.in_queue, "{s:?}");
}

#[test]
fn spans_of_many_resources_arrive_by_every_protocol_and_compression() {
    for protocol in [OtlpProtocol::Grpc, OtlpProtocol::HttpProtobuf] {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let receiver = Receiver::start();
            let config = ExportConfig { compression, ..config(&receiver, protocol) };
            let statistics = export(&config, 10);
            assert_eq!(statistics.sent, 10, "{protocol:?} {compression:?} {statistics:?}");
            let spans = receiver.spans();
            assert_eq!(spans.iter().filter(|span| span.service == "odd").count(), 5);
            assert_eq!(receiver.requests(), 1, "one request carries both resources");
        }
    }
}

#[test]
fn what_may_be_tried_again_is_and_nothing_is_lost() {
    for (protocol, faults) in [
        (
            OtlpProtocol::HttpProtobuf,
            vec![Fault::Status(503, None), Fault::Status(429, Some(0)), Fault::Hang],
        ),
        (OtlpProtocol::Grpc, vec![Fault::Status(14, None), Fault::Hang, Fault::Status(10, None)]),
    ] {
        let receiver = Receiver::start();
        receiver.fail(faults);
        let statistics = export(&config(&receiver, protocol), 5);
        assert_eq!((statistics.sent, statistics.retries), (5, 3), "{protocol:?} {statistics:?}");
        assert_eq!(receiver.count(), 5);
    }
}

#[test]
fn retry_after_is_honoured() {
    let receiver = Receiver::start();
    receiver.fail([Fault::Status(503, Some(1))]);
    let exporter =
        Exporter::start(&config(&receiver, OtlpProtocol::HttpProtobuf)).expect("valid").expect("an endpoint");
    let begin = Instant::now();
    exporter.sender().send(&span("s", 1));
    assert_eq!(receiver.wait_for(|spans| !spans.is_empty()).len(), 1);
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_balanced(&exporter.shutdown(Duration::from_secs(1)));
}

#[test]
fn what_is_refused_for_good_is_counted_and_not_tried_again() {
    let receiver = Receiver::start();
    receiver.fail([Fault::Status(400, None)]);
    let statistics = export(&config(&receiver, OtlpProtocol::HttpProtobuf), 3);
    assert_eq!((statistics.dropped_refused, statistics.retries, receiver.requests()), (3, 0, 1));
    let receiver = Receiver::start();
    receiver.fail([Fault::Partial(2)]);
    let statistics = export(&config(&receiver, OtlpProtocol::HttpProtobuf), 3);
    assert_eq!((statistics.sent, statistics.rejected, receiver.requests()), (1, 2, 1));
}

#[test]
fn a_receiver_that_is_not_there_is_named_without_the_password() {
    let receiver = Receiver::start();
    receiver.fail([Fault::Status(404, None)]);
    let config = config(&receiver, OtlpProtocol::HttpProtobuf);
    let url = receiver.http_endpoint();
    let with_user = format!("{}?token=t0k3n", url.replace("http://", "http://me:s3cret@"));
    let statistics = export(&ExportConfig { endpoint: Some(with_user), ..config }, 1);
    let error = statistics.last_error.expect("an error");
    assert!(
        error.contains(&format!("{url}/v1/traces?…: ")) && error.contains("export.traces_endpoint"),
        "{error}"
    );
    assert!(!error.contains("s3cret") && !error.contains("t0k3n"), "{error}");
}

#[test]
fn too_large_a_request_is_halved() {
    let receiver = Receiver::start();
    receiver.fail([Fault::Status(413, None), Fault::Status(413, None)]);
    let statistics = export(&config(&receiver, OtlpProtocol::HttpProtobuf), 8);
    assert_eq!((statistics.sent, receiver.count()), (8, 8), "{statistics:?}");
    let receiver = Receiver::start();
    receiver.fail([Fault::Status(8, None)]);
    let statistics = export(&config(&receiver, OtlpProtocol::Grpc), 8);
    assert_eq!((statistics.sent, receiver.count()), (8, 8), "{statistics:?}");
}

#[test]
fn garbage_from_the_receiver_is_no_harm() {
    let receiver = Receiver::start();
    receiver.fail([Fault::Garbage]);
    // The status says that the spans were taken; what follows cannot be read.
    let statistics = export(&config(&receiver, OtlpProtocol::HttpProtobuf), 2);
    assert_eq!((statistics.queued, statistics.sent, receiver.requests()), (2, 2, 1), "{statistics:?}");
}

#[test]
fn a_dead_backend_bounds_memory_and_its_return_needs_no_restart() {
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let config = ExportConfig {
        endpoint: Some(format!("http://{free}")),
        delay: Time::from_ms(20),
        queue_spans: 100,
        batch_spans: 10,
        queue_bytes: Size(1 << 20),
        ..ExportConfig::default()
    };
    let exporter = Exporter::start(&config).expect("valid").expect("an endpoint");
    let sender = exporter.sender();
    for n in 0..1000 {
        sender.send(&span("s", n));
    }
    wait_until("a failure", || exporter.statistics().failures > 0);
    let statistics = exporter.statistics();
    assert_balanced(&statistics);
    assert!(statistics.in_queue <= 110 && statistics.dropped_queue_full >= 890, "{statistics:?}");
    assert!(statistics.last_error.is_some());
    let receiver = Receiver::start_at(free);
    let arrived = receiver.wait_for(|spans| spans.len() as u64 >= statistics.in_queue);
    assert_eq!(arrived.len() as u64, statistics.in_queue, "what waited arrives");
    assert_eq!(arrived.last().map(|span| span.span.name.as_str()), Some("span 999"), "the newest were kept");
    assert_balanced(&exporter.shutdown(Duration::from_secs(1)));
}

#[test]
fn the_end_does_not_wait_for_a_dead_backend_and_counts_what_it_leaves() {
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let config = ExportConfig { endpoint: Some(format!("http://{free}")), ..ExportConfig::default() };
    let exporter = Exporter::start(&config).expect("valid").expect("an endpoint");
    let sender = exporter.sender();
    for n in 0..10 {
        sender.send(&span("s", n));
    }
    let begin = Instant::now();
    let statistics = exporter.shutdown(Duration::from_millis(300));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!((statistics.dropped_shutdown, statistics.in_queue), (10, 0), "{statistics:?}");
}
