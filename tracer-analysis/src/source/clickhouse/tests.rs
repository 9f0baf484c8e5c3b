use std::sync::Mutex;

use tracer_model::span::{Kind, Value};

use super::*;
use crate::source::fake::{Fake, server};

type Asked = Arc<Mutex<Vec<Question>>>;

fn clickhouse(
    answer: impl Fn(&Question) -> Result<Vec<u8>, HttpError> + Send + Sync + 'static,
    part: usize,
) -> (ClickHouse, Asked) {
    let asked = Asked::default();
    let http = Fake { answer, part, asked: Arc::clone(&asked) };
    let name = |text| Name::parse(text).expect(text);
    (ClickHouse::new(&server("db:8123"), Box::new(http), name("otel"), name("otel_traces")), asked)
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn map(pairs: &[(&str, &str)]) -> Vec<u8> {
    let pairs_of: Vec<u8> = pairs.iter().flat_map(|(key, value)| [text(key), text(value)].concat()).collect();
    [&[pairs.len() as u8], &pairs_of[..]].concat()
}

fn coded(code: u64, kind: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
    let resource = map(&[("service.version", "1.2"), ("host.name", "h")]);
    [numbers(&[code]), text("shop"), text("GET /"), text(kind), text("Error"), resource, map(attributes)]
        .concat()
}

/// A server with two traces of three spans.
fn answer(question: &Question) -> Result<Vec<u8>, HttpError> {
    let statement = question.body.as_deref().expect("a statement");
    Ok(if statement.starts_with("SELECT count(), sum") {
        if statement.contains("% 2 = 0") { numbers(&[1, 2]) } else { numbers(&[2, 3]) }
    } else if statement.starts_with("SELECT count(), toUnix") {
        numbers(&[3, 5_000_000, 9_000_000])
    } else if statement.starts_with("SELECT cityHash64") {
        let call = [
            ("http.response.status_code", "503"),
            ("http.request.resend_count", "2"),
            ("server.address", "db"),
        ];
        [coded(77, "Server", &[("tracer.http.end_unknown", "true")]), coded(88, "SPAN_KIND_CLIENT", &call)]
            .concat()
    } else {
        let mut rows = numbers(&[1, 2, 10, 0, 5_000_000, 3_000_000, 77]);
        rows.extend(numbers(&[1, 2, 11, 10, 6_000_000, 1_000_000_u64.wrapping_neg(), 88]));
        if !statement.contains("% 2 = 0") {
            rows.extend(numbers(&[0, 9, 12, 0, 9_000_000, 1, 77]));
        }
        rows
    })
}

const ALL: Window = Window { start_unix_us: 0, end_unix_us: u64::MAX };

#[test]
fn traces_come_whole_with_the_facts_that_their_codes_stand_for() {
    for part in [1, 7, 100_000] {
        let (clickhouse, _) = clickhouse(answer, part);
        let gathered = clickhouse.gather(ALL, 100).expect("traces");
        let id = |high: u64, low: u64| TraceId((u128::from(high) << 64 | u128::from(low)).to_be_bytes());
        assert_eq!(gathered.traces, [(id(0, 9), 1), (id(1, 2), 3)]);
        assert_eq!((gathered.omitted_traces, gathered.incomplete.as_deref()), (0, None));
        let facts: Vec<_> =
            gathered.rows.iter().map(|row| &gathered.facts.all()[row.facts as usize]).collect();
        assert_eq!((facts[1].kind, facts[1].end_known, facts[1].is_error), (Kind::Server, false, true));
        assert_eq!((facts[2].kind, facts[2].http_status, facts[2].resend), (Kind::Client, Some(503), 2));
        assert_eq!(facts[2].peer.as_ref().map(|peer| peer.name.as_str()), Some("db"));
        assert_eq!((&*facts[2].maker.service, &*facts[2].maker.version), ("shop", "1.2"));
        let row = gathered.rows[2];
        assert_eq!(
            (row.parent, row.start_ns, row.end_ns),
            (10, 6_000_000, 5_000_000),
            "it ends before it begins"
        );
    }
}

#[test]
fn of_more_spans_than_wanted_a_part_of_the_traces_is_taken_and_the_rest_is_counted() {
    let (clickhouse, asked) = clickhouse(answer, 50);
    let gathered = clickhouse.gather(ALL, 2).expect("traces");
    assert_eq!((gathered.traces.len(), gathered.omitted_traces), (1, 1));
    let asked = asked.lock().expect("no panic");
    assert!(asked.iter().all(|question| question.target == "/?wait_end_of_query=1"));
    assert!(asked[0].headers.contains(&("x-clickhouse-key", "secret".to_owned())));
}

#[test]
fn the_extent_is_that_of_the_starts() {
    let (one, _) = clickhouse(answer, 3);
    let extent = one.extent().expect("an answer").expect("spans");
    assert_eq!((extent.start_unix_us, extent.end_unix_us), (5000, 9001));
    let (none, _) = clickhouse(|_| Ok(numbers(&[0, 0, 0])), 3);
    assert_eq!(none.extent().expect("an answer"), None);
}

#[test]
fn a_code_without_facts_leaves_its_trace_out_and_says_so() {
    let (clickhouse, _) = clickhouse(
        |question| match question.body.as_deref() {
            Some(statement) if statement.starts_with("SELECT cityHash64") => Ok(coded(77, "Server", &[])),
            _ => answer(question),
        },
        50,
    );
    let gathered = clickhouse.gather(ALL, 100).expect("traces");
    assert_eq!((gathered.traces.len(), gathered.omitted_traces), (1, 1));
    assert!(gathered.incomplete.expect("told").starts_with("1 traces were left out"));
}

#[test]
fn an_answer_that_is_cut_or_none_is_an_error() {
    for answer in [&b"\x01\x02\x03"[..], b"", b"<html>no ClickHouse at all, but another server</html>"] {
        let (clickhouse, _) = clickhouse(move |_| Ok(answer.to_vec()), 10);
        assert!(clickhouse.gather(ALL, 10).is_err() && clickhouse.extent().is_err());
    }
}

#[test]
fn an_endless_answer_is_left_at_its_bound() {
    struct Endless;
    impl Http for Endless {
        fn ask(
            &self,
            _: &Question,
            take: &mut super::super::http::Taker<'_>,
        ) -> Result<Result<(), SourceError>, HttpError> {
            let part = vec![0; 1 << 20];
            loop {
                if let Err(error) = take(&part) {
                    return Ok(Err(error));
                }
            }
        }
    }
    let name = |text| Name::parse(text).expect(text);
    let clickhouse = ClickHouse::new(&server("db:8123"), Box::new(Endless), name("a"), name("b"));
    let error = clickhouse.overview(ALL).expect_err("endless").to_string();
    assert!(error.contains("has more than 512 MiB") || error.contains("not as it should be"), "{error}");
}

#[test]
fn what_clickhouse_says_is_told_with_what_to_do() {
    let error_of = |status, told: &'static str| {
        let (clickhouse, _) = clickhouse(move |_| Err(HttpError::Status(status, told.to_owned())), 10);
        clickhouse.extent().expect_err("refused").to_string()
    };
    for (status, told, reason) in [
        (
            404,
            "Code: 60. DB::Exception: Table otel.otel_traces does not exist. (UNKNOWN_TABLE)",
            "has no such table: name it by",
        ),
        (404, "Code: 81. DB::Exception: Database otel does not exist", "has no such database"),
        (403, "Code: 516. DB::Exception: me: Authentication failed", "does not know this user or password"),
        (
            403,
            "Code: 497. DB::Exception: me: Not enough privileges",
            "forbids this user to read otel.otel_traces",
        ),
        (500, "Code: 241. DB::Exception: Memory limit exceeded", "stopped at a limit of its own"),
        (
            404,
            "Code: 47. DB::Exception: Missing columns: 'SpanName'",
            "is no table as the Collector's exporter makes it",
        ),
        (500, "Code: 999. DB::Exception: Odd\x1b[2J", "refuses: Code: 999. DB::Exception: Odd[2J"),
        (404, "<html>", "is it ClickHouse's HTTP port"),
    ] {
        let error = error_of(status, told);
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_span_comes_with_all_that_the_table_has() {
    let mut row =
        [text("0000000000000000000000000000000f"), text("00000000000000ab"), text(""), text("k=v")].concat();
    row.extend([text("GET /"), text("Consumer"), text("shop"), map(&[("host.name", "h")])].concat());
    row.extend(
        [text("lib"), text("3"), map(&[("a", "7")]), numbers(&[5, 7]), text("Ok"), text("fine")].concat(),
    );
    row.extend([vec![1], numbers(&[6]), vec![1], text("event"), vec![1], map(&[("e", "1")])].concat());
    row.extend([vec![1], text("0e"), vec![1], text("0d"), vec![1], text(""), vec![1], map(&[])].concat());
    let (clickhouse, _) = clickhouse(move |_| Ok(row.clone()), 9);
    let ids = [14_u128, 15].map(|id| TraceId(id.to_be_bytes()));
    let traces = clickhouse.traces(&ids).expect("traces");
    assert_eq!((traces[0].len(), traces[1].len()), (0, 1));
    let span = &traces[1][0];
    assert_eq!((&*span.name, span.kind, span.service_name()), ("GET /", Kind::Consumer, "shop"));
    assert_eq!((span.start_unix_ns, span.end_unix_ns, &*span.trace_state), (5, 12, "k=v"));
    assert_eq!(span.attribute("a"), Some(&Value::Str("7".into())));
    assert_eq!((&*span.events[0].name, span.events[0].time_unix_ns), ("event", 6));
    assert_eq!(span.links[0].span_id.hex(), "000000000000000d");
}
