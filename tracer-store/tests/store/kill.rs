//! The process is killed while it writes, again and again.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tracer_model::span::{Span, TraceId};
use tracer_store::{Limits, Query, SearchOptions, Store};

use crate::{
    disk::Scratch,
    spans::{span, text},
};

const DIRECTORY: &str = "TRACER_STORE_TEST_DIRECTORY";
const FIRST: &str = "TRACER_STORE_TEST_FIRST";
/// How often is killed; 5 if it is not said.
const ROUNDS: &str = "TRACER_STORE_TEST_KILLS";

/// What may be lost.
const LOST: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits { max_bytes: 6 * 1024 * 1024, ..Limits::default() }
}

fn trace(number: u64) -> Vec<Span> {
    let spans = (1..=3).map(|place| {
        let mut span = span(u128::from(number), place, place - 1, "shop", "GET /x", number);
        span.attributes = vec![("url.path".into(), text(&format!("/orders/{number}/{place}")))];
        span
    });
    spans.collect()
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}

/// The process that is killed: it stores traces and prints the number of each.
#[test]
#[ignore = "the other test starts it"]
fn stores_until_it_is_killed() {
    let Ok(directory) = env::var(DIRECTORY) else {
        return;
    };
    let store = Store::open(directory.as_ref(), limits()).expect("a store");
    for number in number(FIRST).unwrap_or(1).. {
        store.insert(trace(number));
        println!("stored {number}");
        if number % 50 == 0 {
            // About ten thousand spans a second: more would only take longer to read again.
            thread::sleep(Duration::from_millis(15));
        }
    }
}

/// Starts the process, kills it after a while, and tells the last trace that was stored a second before that, and the
/// last of all.
fn kill_one(scratch: &Scratch, first: u64, after: Duration) -> (u64, u64) {
    // By this name the program is found even if a build has put another in its place.
    let mut child = Command::new("/proc/self/exe")
        .args(["--exact", "kill::stores_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DIRECTORY, &scratch.0)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut stored: Vec<(Instant, u64)> = Vec::new();
    let mut start = None;
    for line in lines {
        let Some(number) =
            line.expect("a line").strip_prefix("stored ").and_then(|number| number.parse().ok())
        else {
            continue;
        };
        stored.push((Instant::now(), number));
        if start.get_or_insert_with(Instant::now).elapsed() > after {
            break;
        }
    }
    let killed = Instant::now();
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let safe =
        stored.iter().rev().find(|(at, _)| killed.duration_since(*at) >= LOST).map_or(first - 1, |of| of.1);
    (safe, stored.last().map_or(first, |of| of.1))
}

#[test]
fn a_kill_loses_no_more_than_the_last_second_and_never_the_store() {
    let scratch = Scratch::new("kill");
    let (mut next, mut safe_before) = (1, 0);
    // Numbers of the last second before each kill: of those traces any part may be lost.
    let mut lost = Vec::new();
    for round in 0..number(ROUNDS).unwrap_or(5) {
        let after = Duration::from_millis(1_050 + round * 137 % 900);
        let (safe, last) = kill_one(&scratch, next, after);
        let store = Store::open(&scratch.0, limits()).expect("a store that can be read");
        assert_eq!(store.status().problem, None);
        assert!(safe >= next, "the process ran for longer than a second");
        for number in safe.saturating_sub(500).max(safe_before + 1)..=safe {
            let found = store.trace(TraceId(u128::from(number).to_be_bytes()), 9);
            assert!(
                found == Some(trace(number)),
                "round {round}: trace {number} of {last}, {safe} of them safe"
            );
        }
        lost.push(safe + 1..last + 10_000);
        let options = SearchOptions { limit: 10_000, ..SearchOptions::default() };
        for found in store.search(&Query::default(), &options).traces {
            let number = u64::from_str_radix(&found.trace_id, 16).expect("a number");
            let is_whole = found.spans == 3 || lost.iter().any(|lost| lost.contains(&number));
            assert!(is_whole, "round {round}: trace {number} has {} spans", found.spans);
            assert!(found.spans <= 3, "round {round}: trace {number} is there twice");
        }
        // Numbers that were printed and not read yet are left out.
        (next, safe_before) = (last + 10_000, last + 10_000 - 1);
    }
}
