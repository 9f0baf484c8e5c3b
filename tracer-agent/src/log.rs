//! The agent's own log, on standard error: written by a thread of its own, so that nobody waits for a
//! standard error that takes nothing.

#![forbid(unsafe_code)]

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, Write},
    str::FromStr,
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{Event, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::{Context, Filter, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use crate::{
    outside::{escaped, escaped_json, escaped_lines},
    sink::outlet::Outlet,
};

/// How the agent logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Level,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Off,
    /// What stops the agent or loses data.
    Error,
    /// What may.
    Warn,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Off => Self::OFF,
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

impl FromStr for Level {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.to_lowercase().into())
            .map_err(|_| format!("{text:?} is not one of off, error, warn, info, debug, trace"))
    }
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into()).map_err(|_| format!("{text:?} is not one of text, json"))
    }
}

/// Bytes of messages that wait for standard error: some thousand messages.
const QUEUE_BYTES: usize = 1 << 20;
/// How long the last messages have when the agent ends.
const LAST: Duration = Duration::from_millis(500);

/// The way to the thread that writes.
static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// Changes the level of the log that was started.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// The form of what is told before the log starts, and instead of it.
static FORMAT: Mutex<LogFormat> = Mutex::new(LogFormat::Text);

/// Sets the form of [`fatal`].
pub fn set_format(format: LogFormat) {
    *FORMAT.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = format;
}

/// Tells what ends the process, on standard error: as text for people, or as a line of the log.
pub fn fatal(message: &str) {
    let format = *FORMAT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match format {
        LogFormat::Text => eprintln!("{}", with_name(&escaped_lines(message))),
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false).json();
            let subscriber = tracing_subscriber::registry().with(layer);
            tracing::subscriber::with_default(subscriber, || tracing::error!("{message}"));
        }
    }
}

/// Lines with the name of this program before each; a line that is indented or empty belongs to the one before.
fn with_name(lines: &str) -> String {
    if lines.is_empty() {
        return "tracer: ".to_owned();
    }
    let named = lines.lines().enumerate().map(|(index, line)| match line.chars().next() {
        None | Some(' ' | '\t') if index > 0 => line.to_owned(),
        _ => format!("tracer: {line}"),
    });
    named.collect::<Vec<_>>().join("\n")
}

/// Logs a text of several lines: each a message for people, and all of it one record for programs, whose field `event` is
/// this name.
pub fn report(event: &'static str, is_warning: bool, report: &(impl Display + Serialize)) {
    let format = *FORMAT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match format {
        LogFormat::Text => {
            for line in report.to_string().lines() {
                if is_warning {
                    tracing::warn!(target: EVERY_LINE, "{line}");
                } else {
                    tracing::info!(target: EVERY_LINE, "{line}");
                }
            }
        }
        LogFormat::Json => {
            let (level, is_logged) = if is_warning {
                ("WARN", tracing::enabled!(target: EVERY_LINE, tracing::Level::WARN))
            } else {
                ("INFO", tracing::enabled!(target: EVERY_LINE, tracing::Level::INFO))
            };
            if is_logged {
                write(LineWriter(escaped_json).line(record(event, level, report).as_bytes()).as_bytes());
            }
        }
    }
}

/// A record in the form of those that the JSON format makes of messages.
fn record(event: &'static str, level: &'static str, report: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Record<'a, T> {
        timestamp: String,
        level: &'a str,
        fields: Fields<'a, T>,
    }
    #[derive(Serialize)]
    struct Fields<'a, T> {
        message: &'a str,
        event: &'a str,
        #[serde(flatten)]
        report: &'a T,
    }
    let mut timestamp = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let fields = Fields { message: event, event, report };
    serde_json::to_string(&Record { timestamp, level, fields }).unwrap_or_default()
}

/// Starts logging; a second call changes nothing.
pub fn start(config: &LogConfig) {
    set_format(config.format);
    if OUTLET.get().is_none() {
        match Outlet::start("tracer-log", QUEUE_BYTES, Box::new(StandardError), |_| {}) {
            // Somebody else may have been faster: one of both is enough.
            Ok(outlet) => drop(OUTLET.set(outlet)),
            Err(error) => eprintln!("tracer: there will be no log: {error}"),
        }
    }
    let (level, handle) = reload::Layer::new(LevelFilter::from(config.level));
    let escape = match config.format {
        LogFormat::Text => escaped,
        LogFormat::Json => escaped_json,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(move || LineWriter(escape)).with_target(false);
    let layer = match config.format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // Fails only if a test has started it before.
    let started = tracing_subscriber::registry()
        .with(layer.with_filter(Repeats::default()).with_filter(level))
        .try_init();
    if started.is_ok() {
        // It is set once: only one start succeeds.
        let _ = LEVEL.set(handle);
    }
}

/// Changes how much is logged. Returns whether there is a log.
pub fn set_level(level: Level) -> bool {
    LEVEL.get().is_some_and(|handle| handle.reload(LevelFilter::from(level)).is_ok())
}

/// Waits until the last messages are written, but not for ever.
pub fn finish() {
    if let Some(outlet) = OUTLET.get() {
        outlet.flush(Instant::now() + LAST);
    }
}

/// Messages that standard error did not take in time.
pub fn lost() -> u64 {
    OUTLET.get().map_or(0, |outlet| outlet.progress().dropped)
}

/// Hands a message to the thread. One that does not fit is counted there.
fn write(message: &[u8]) {
    if let Some(outlet) = OUTLET.get() {
        let _ = outlet.push(message.to_vec(), 1);
    }
}

/// Writes one message on one line: it may tell texts from outside.
struct LineWriter(fn(&str) -> Cow<'_, str>);

impl LineWriter {
    fn line(&self, message: &[u8]) -> String {
        let message = String::from_utf8_lossy(message);
        let line = message.strip_suffix('\n').unwrap_or(&message);
        format!("{}\n", (self.0)(line))
    }
}

impl Write for LineWriter {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        write(self.line(message).as_bytes());
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error. One that is closed, or full, keeps nothing from being tried again.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // There is nowhere to tell it.
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets each message through a few times a minute; how many were held back is said with the next.
#[derive(Default)]
struct Repeats {
    seen: Mutex<FxHashMap<tracing::callsite::Identifier, Repetition>>,
}

struct Repetition {
    since: Instant,
    count: u64,
}

/// Target of messages that are all written, however many are alike: lines of one text, of which there are few.
pub const EVERY_LINE: &str = "tracer::every_line";

/// Times that one message is written in [`WINDOW`].
const BURST: u64 = 10;
/// See [`BURST`].
const WINDOW: Duration = Duration::from_secs(60);

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if event.metadata().target() == EVERY_LINE {
            return true;
        }
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entry = seen.entry(event.metadata().callsite()).or_insert(Repetition { since: now, count: 0 });
        if now.duration_since(entry.since) >= WINDOW {
            let held = entry.count.saturating_sub(BURST);
            *entry = Repetition { since: now, count: 0 };
            if held > 0 {
                let text = format!("  ({held} more like the next message in the last minute)\n");
                write(text.as_bytes());
            }
        }
        entry.count += 1;
        entry.count <= BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_an_error_begins_alike_and_examples_stay_indented() {
        assert_eq!(with_name("f:1:2: a\nf:3:4: b"), "tracer: f:1:2: a\ntracer: f:3:4: b");
        assert_eq!(with_name("name it:\n  tracer --pid 1\n"), "tracer: name it:\n  tracer --pid 1");
        assert_eq!(with_name(""), "tracer: ");
    }

    #[test]
    fn a_report_is_one_record_like_those_of_messages() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let layer =
            tracing_subscriber::fmt::layer().with_writer(Mutex::new(writer)).with_target(false).json();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || tracing::info!(event = "summary", n = 3, "summary"));
        let message = io::read_to_string(reader).expect("text");
        let report = record("summary", "INFO", &serde_json::json!({"n": 3}));
        let parsed = [&message, &report].map(|text| {
            let mut record: serde_json::Value = serde_json::from_str(text).expect("JSON");
            let time = record["timestamp"].take();
            // 2026-11-29T21:27:30.123456Z
            assert!(time.as_str().is_some_and(|time| time.len() == 27 && time.ends_with('Z')), "{time}");
            record
        });
        assert_eq!(parsed[0], parsed[1]);
    }

    #[test]
    fn a_message_that_repeats_is_held_back_and_the_lines_of_one_text_are_not() {
        // A pipe holds all of it.
        let (reader, writer) = io::pipe().expect("a pipe");
        let layer = tracing_subscriber::fmt::layer().with_writer(Mutex::new(writer));
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(Repeats::default()));
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..3 * BURST {
                tracing::info!("alike {number}");
                tracing::info!(target: EVERY_LINE, "line {number}");
            }
        });
        let text = io::read_to_string(reader).expect("text");
        let count = |word: &str| text.matches(word).count() as u64;
        assert_eq!((count("alike "), count("line ")), (BURST, 3 * BURST), "{text}");
    }

    #[test]
    fn a_message_is_one_line_without_what_controls_a_terminal() {
        let message = "WARN x error=a\n2026 ERROR forged \u{1b}[2J\n".as_bytes();
        assert_eq!(LineWriter(escaped).line(message), "WARN x error=a\\u{a}2026 ERROR forged \\u{1b}[2J\n");
        let json = "{\"a\":\"\u{9b}1m\"}\n".as_bytes();
        assert_eq!(LineWriter(escaped_json).line(json), "{\"a\":\"\\u009b1m\"}\n");
    }
}
