//! A process that writes a store is killed, and the store is opened again.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use tracer_model::span::TraceId;
use tracer_store::{Limits, Query, SearchOptions, Store};

use crate::traffic::Traffic;

const CHILD: &str = "--store-until-killed";

/// What may be lost.
const LOST: Duration = Duration::from_secs(1);

/// Spans of a trace.
const SPANS: usize = 5;

fn limits() -> Limits {
    Limits { max_bytes: 64 << 20, ..Limits::default() }
}

/// Directory and first number, if this process is the one that is killed.
pub fn child_of(mut arguments: impl Iterator<Item = String>) -> Option<(PathBuf, u64)> {
    let is_child = arguments.next().is_some_and(|name| name == CHILD);
    is_child.then(|| Some((arguments.next()?.into(), arguments.next()?.parse().ok()?))).flatten()
}

/// Stores traces and prints the number of each.
pub fn store_until_killed(directory: &Path, first: u64) -> ExitCode {
    let store = match Store::open(directory, limits()) {
        Ok(store) => store,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut output = io::stdout().lock();
    for number in first.. {
        store.insert(trace(number));
        // Who reads it may have gone: then nobody will kill this process.
        if writeln!(output, "{number}").and_then(|()| output.flush()).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn trace(number: u64) -> Vec<tracer_model::span::Span> {
    let mut spans = Traffic::new().trace(number, SPANS);
    let trace_id = TraceId(u128::from(number).to_be_bytes());
    spans.iter_mut().for_each(|span| span.trace_id = trace_id);
    spans
}

/// What does not hold.
pub fn run(directory: &Path, kills: u64) -> Vec<String> {
    let mut failures = Vec::new();
    let (mut next, mut lost) = (1, Vec::new());
    for round in 0..kills {
        let after = Duration::from_millis(1_050 + round * 137 % 900);
        match kill_one(directory, next, after) {
            Ok((safe, last)) => {
                println!("kill {}: {} traces, {} of them safe", round + 1, last + 1 - next, safe + 1 - next);
                lost.push(safe + 1..last + 10_000);
                failures.extend(check(directory, round + 1, (next, safe), &lost));
                // Numbers that were printed and not read are left out.
                next = last + 10_000;
            }
            Err(error) => failures.push(format!("kill {}: {error}", round + 1)),
        }
    }
    if kills > 0
        && let Err(error) = fs::remove_dir_all(directory)
    {
        eprintln!("{} stays: {error}", directory.display());
    }
    failures
}

/// The last trace that was stored a second before the kill, and the last of all.
fn kill_one(directory: &Path, first: u64, after: Duration) -> io::Result<(u64, u64)> {
    let mut child = Command::new(env::current_exe()?)
        .arg(CHILD)
        .arg(directory)
        .arg(first.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = child.stdout.take().map(|output| BufReader::new(output).lines()).into_iter().flatten();
    let mut stored: Vec<(Instant, u64)> = Vec::new();
    for line in lines {
        stored.extend(line?.parse().ok().map(|number| (Instant::now(), number)));
        if stored.first().is_some_and(|(start, _)| start.elapsed() > after) {
            break;
        }
    }
    let killed = Instant::now();
    child.kill()?;
    child.wait()?;
    let is_safe = |(at, _): &&(Instant, u64)| killed.duration_since(*at) >= LOST;
    let safe = stored.iter().rev().find(is_safe).map_or(first - 1, |(_, number)| *number);
    Ok((safe, stored.last().map_or(first, |(_, number)| *number)))
}

fn check(
    directory: &Path,
    kill: u64,
    (first, safe): (u64, u64),
    lost: &[std::ops::Range<u64>],
) -> Vec<String> {
    let store = match Store::open(directory, limits()) {
        Ok(store) => store,
        Err(error) => return vec![format!("kill {kill}: the store can be read: {error}")],
    };
    let mut failures = Vec::new();
    if let Some(problem) = store.status().problem {
        failures.push(format!("kill {kill}: the store is well: {problem}"));
    }
    for number in safe.saturating_sub(2_000).max(first)..=safe {
        if store.trace(TraceId(u128::from(number).to_be_bytes()), SPANS + 1) != Some(trace(number)) {
            failures.push(format!("kill {kill}: trace {number} is there as it came, {safe} are safe"));
            break;
        }
    }
    let options = SearchOptions { limit: 10_000, ..SearchOptions::default() };
    for found in store.search(&Query::default(), &options).traces {
        let number = u64::from_str_radix(&found.trace_id, 16).unwrap_or(0);
        let is_lost = lost.iter().any(|lost| lost.contains(&number));
        let spans = found.spans as usize;
        if spans > SPANS || spans < SPANS && !is_lost {
            failures.push(format!("kill {kill}: trace {number} has {spans} spans"));
            break;
        }
    }
    failures
}
