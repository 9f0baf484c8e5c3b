//! The agent's own log, on standard error.

#![forbid(unsafe_code)]

use std::{
    str::FromStr,
    sync::Mutex,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{Event, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter, SubscriberExt},
    util::SubscriberInitExt,
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

/// Starts logging; a second call changes nothing.
pub fn start(config: &LogConfig) {
    let level = match config.level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = match config.format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // Fails only if a test has started it before.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(Repeats::default()).with_filter(level))
        .try_init();
}

/// Lets each message through a few times a minute; how many were held back is said with the next.
#[derive(Default)]
struct Repeats {
    seen: Mutex<FxHashMap<tracing::callsite::Identifier, Seen>>,
}

struct Seen {
    since: Instant,
    count: u64,
}

/// Times that one message is written in [`WINDOW`].
const BURST: u64 = 10;
/// See [`BURST`].
const WINDOW: Duration = Duration::from_secs(60);

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entry = seen.entry(event.metadata().callsite()).or_insert(Seen { since: now, count: 0 });
        if now.duration_since(entry.since) >= WINDOW {
            let held = entry.count.saturating_sub(BURST);
            *entry = Seen { since: now, count: 0 };
            if held > 0 {
                eprintln!("  ({held} more like the next message in the last minute)");
            }
        }
        entry.count += 1;
        entry.count <= BURST
    }
}
