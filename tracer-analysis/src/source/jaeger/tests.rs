use std::sync::{Arc, Mutex};

use tracer_model::jaeger::trace_of;

use super::*;
use crate::{
    samples::Sketch,
    source::fake::{Fake, server},
};

type Asked = Arc<Mutex<Vec<Question>>>;

fn jaeger(
    answer: impl Fn(&Question) -> Result<Vec<u8>, HttpError> + Send + Sync + 'static,
) -> (Jaeger, Asked) {
    let asked = Asked::default();
    let http = Fake { answer, part: 1000, asked: Arc::clone(&asked) };
    (Jaeger::new(&server("host:16686"), Box::new(http)), asked)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

/// A trace of one span, at a microsecond.
fn trace(number: u64) -> jaeger::Trace {
    let time = number * 1000..number * 1000 + 5000;
    trace_of(&[Sketch::server("a b", "GET /", number, 0, time).span(number.into())])
}

fn parameter(question: &Question, name: &str) -> u64 {
    let begin = question.target.find(&format!("{name}=")).expect(name) + name.len() + 1;
    question.target[begin..].split('&').next().and_then(|text| text.parse().ok()).expect(name)
}

/// A server with traces at each of these microseconds.
fn with_traces(times: std::ops::Range<u64>) -> (Jaeger, Asked) {
    jaeger(move |question| {
        if question.target == "/api/services" {
            return Ok(json(&jaeger::Answer::list(vec!["a b"])));
        }
        let (start, end) = (parameter(question, "start"), parameter(question, "end"));
        let limit = parameter(question, "limit") as usize;
        let found = times.clone().rev().filter(|time| (start..=end).contains(time)).take(limit);
        Ok(json(&jaeger::Answer::of(found.map(trace).collect::<Vec<_>>())))
    })
}

#[test]
fn more_traces_in_a_moment_than_an_answer_has_are_told_and_each_is_taken_once() {
    let (jaeger, asked) = with_traces(1..4001);
    // They lie within the shortest stretch.
    let window = Window { start_unix_us: 0, end_unix_us: 10_000_000 };
    let gathered = jaeger.gather(window, usize::MAX).expect("traces");
    assert_eq!(gathered.traces.len(), 2249);
    let incomplete = gathered.incomplete.expect("full");
    assert!(incomplete.contains("at most 1500 traces of a service and 10 ms"), "{incomplete}");
    let asked = asked.lock().expect("no panic");
    assert!(asked[1].target.starts_with("/api/traces?service=a%20b&start=0&end=10000000&limit=1500"));
}

#[test]
fn traces_beyond_the_limit_of_an_answer_are_all_taken_with_few_questions() {
    let (jaeger, asked) = jaeger(|question| {
        if question.target == "/api/services" {
            return Ok(json(&jaeger::Answer::list(vec!["a b"])));
        }
        let (start, end) = (parameter(question, "start"), parameter(question, "end"));
        let found = (1..4001)
            .map(|number| number * 5000)
            .filter(|time| (start..=end).contains(time))
            .take(MOST_TRACES);
        Ok(json(&jaeger::Answer::of(found.map(trace).collect::<Vec<_>>())))
    });
    let window = Window { start_unix_us: 0, end_unix_us: u64::MAX };
    let gathered = jaeger.gather(window, usize::MAX).expect("traces");
    assert_eq!((gathered.traces.len(), gathered.rows.len(), gathered.incomplete), (4000, 4000, None));
    let asked = asked.lock().expect("no panic").len();
    assert!(asked <= 12, "{asked}");
}

#[test]
fn spans_without_room_end_it_and_are_told() {
    let (jaeger, _) = with_traces(1..101);
    let window = Window { start_unix_us: 0, end_unix_us: 1000 };
    let gathered = jaeger.gather(window, 10).expect("traces");
    assert_eq!((gathered.rows.len(), gathered.omitted_traces), (10, 90));
    assert!(gathered.incomplete.expect("told").contains("room for 10 spans"));
}

#[test]
fn a_trace_that_begins_before_the_window_is_none_of_it() {
    let (jaeger, _) = with_traces(1..101);
    let gathered = jaeger.gather(Window { start_unix_us: 50, end_unix_us: 60 }, 1000).expect("traces");
    assert_eq!(gathered.traces.len(), 10);
}

#[test]
fn one_trace_is_found_by_its_id_and_another_is_not() {
    let (jaeger, _) = jaeger(|question| match question.target.as_str() {
        "/api/traces/00000000000000000000000000000007" => Ok(json(&jaeger::Answer::of(vec![trace(7)]))),
        _ => Err(HttpError::Status(404, String::new())),
    });
    let ids = [8_u128, 7].map(|id| TraceId(id.to_be_bytes()));
    let traces = jaeger.traces(&ids).expect("traces");
    assert_eq!(traces.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(&*traces[1][0].name, "GET /");
}

#[test]
fn what_is_no_jaeger_is_told_with_what_to_do() {
    let error_of = |answer: Result<&'static str, HttpError>| {
        let (jaeger, _) = jaeger(move |_| answer.clone().map(|text| text.as_bytes().to_vec()));
        jaeger.gather(Window::default(), 1).expect_err("none").to_string()
    };
    for (answer, reason) in [
        (Ok("<html>"), "does not answer as Jaeger's query service does"),
        (Ok("{\"data\":7}"), "does not answer as Jaeger's query service does"),
        (Ok("{\"data\":[\"a\""), "does not answer as Jaeger's query service does"),
        (Err(HttpError::Status(404, String::new())), "it has no /api/services"),
        (Err(HttpError::Status(401, String::new())), "TRACER_SOURCE_PASSWORD"),
        (
            Err(HttpError::Status(500, "{\"errors\":[{\"code\":500,\"msg\":\"no\\nstore\"}]}".into())),
            "status 500: nostore",
        ),
        (Err(HttpError::Failed("nobody".into())), "nobody"),
    ] {
        let error = error_of(answer);
        assert!(error.contains(reason), "{error}");
    }
}
