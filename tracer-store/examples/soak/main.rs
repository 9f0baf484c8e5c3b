//! Proves that the store stays within its bounds under load: `cargo run --release -p tracer-store --example soak -- --spans
//! 1000000 --kills 50`. Ends with 1 if something does not hold, and says what.
//!
//! - Spans come in beside searches, map and services; memory stays at its bound (`--max-bytes`, 64 MiB by default).
//! - A process that writes a store (`--store DIRECTORY`, a temporary one by default) is killed again and again, and the store
//!   is opened after each kill: what came a second before is there, and no trace is there in part or twice.

#![forbid(unsafe_code)]

mod kills;
mod load;
#[path = "../measure/traffic.rs"]
mod traffic;

use std::{env, path::PathBuf, process::ExitCode};

/// What is asked for.
struct Options {
    spans: u64,
    kills: u64,
    max_bytes: usize,
    directory: PathBuf,
}

fn options() -> Result<Options, String> {
    let directory = env::temp_dir().join(format!("tracer-store-soak-{}", std::process::id()));
    let mut options = Options { spans: 1_000_000, kills: 50, max_bytes: 64 << 20, directory };
    let mut arguments = env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} takes a value"))?;
        let number = || value.parse().map_err(|_| format!("{name} takes a number, and `{value}` is none"));
        match name.as_str() {
            "--spans" => options.spans = number()?,
            "--kills" => options.kills = number()?,
            "--max-bytes" => options.max_bytes = number()? as usize,
            "--store" => options.directory = value.into(),
            _ => {
                return Err(format!(
                    "there is no option {name}; only --spans, --kills, --max-bytes, --store"
                ));
            }
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    if let Some((directory, first)) = kills::child_of(env::args().skip(1)) {
        return kills::store_until_killed(&directory, first);
    }
    let options = match options() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut failures = load::run(options.spans, options.max_bytes);
    failures.extend(kills::run(&options.directory, options.kills));
    for failure in &failures {
        eprintln!("does not hold: {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
