//! Commands that show traces in a terminal: `tracer traces`, `tracer trace` and `tracer top`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::color::Color;
use crate::units::Time;

/// Where a terminal's command reads.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Where the traces are")]
pub struct SourceFlags {
    /// A viewer, by the address of its page: of `tracer agent --view`, `tracer run --view` or `tracer view`
    /// [default: http://127.0.0.1:8377, else the agent on its usual socket].
    #[arg(long, value_name = "URL", group = "server", conflicts_with_all = ["socket", "store"])]
    pub url: Option<String>,
    /// Traces that another system keeps, for reports and single traces: clickhouse://USER@HOST:8123/DATABASE (clickhouses://
    /// by TLS; ?table=NAME if it is not otel_traces), or jaeger+http://HOST:16686 (or jaeger+https://).
    #[arg(long, value_name = "URL", group = "server", conflicts_with_all = ["socket", "store", "token_file"])]
    pub source: Option<String>,
    /// File with the password of that system's user (or set TRACER_SOURCE_PASSWORD).
    #[arg(long, value_name = "FILE", requires = "source")]
    pub source_password_file: Option<PathBuf>,
    /// File with the token of the viewer (or set TRACER_VIEWER_TOKEN).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["socket", "store"])]
    pub token_file: Option<PathBuf>,
    /// Certificates of authorities, in PEM: one of them has signed that of the viewer, whose address begins with https://
    /// [default: those of the system].
    #[arg(long, value_name = "FILE", requires = "server")]
    pub ca: Option<PathBuf>,
    /// Certificate of this client in PEM, for a viewer that asks for one.
    #[arg(long, value_name = "FILE", requires_all = ["client_key", "server"])]
    pub client_certificate: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
    /// An agent that has a viewer, by its Unix socket: no token is needed.
    #[arg(long, value_name = "PATH", conflicts_with = "store")]
    pub socket: Option<PathBuf>,
    /// A store that no agent or viewer uses now, by its directory.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// Flags of `tracer traces`.
#[derive(Clone, Debug, Args)]
pub struct TracesFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// The slowest first; the newest without it.
    #[arg(long)]
    pub slow: bool,
    /// Only those with an error, of a span that meets the query.
    #[arg(long)]
    pub error: bool,
    /// Only those of the last time: 30s, 15m, 1h.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Time>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// A JSON object for each, on a line of its own.
    #[arg(long)]
    pub json: bool,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Words that one span of a trace must meet, as on the page: service:shop, 'duration>100ms', http.route=/orders,
    /// or text of a name. Those that begin with - (not) stand behind --.
    pub query: Vec<String>,
}

/// Flags of `tracer trace`.
#[derive(Clone, Debug, Args)]
pub struct TraceOneFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// What the page is told of the trace, as one JSON object: its spans laid out, with their own time and the
    /// critical path.
    #[arg(long, conflicts_with = "otlp_json")]
    pub json: bool,
    /// The spans as one OTLP request in JSON, on one line.
    #[arg(long)]
    pub otlp_json: bool,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Id of the trace, or how it begins: 8 digits at least.
    pub id: String,
}

/// Flags of `tracer report`.
#[derive(Clone, Debug, Args)]
pub struct ReportFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// Only traces of the last time: 30s, 15m, 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_window)]
    pub since: Option<Time>,
    /// All of the report, as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Exit with code 3 if anything was found, for pipelines.
    #[arg(long)]
    pub fail_on_finding: bool,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Saved traces to look at, instead of those of a viewer: OTLP or Jaeger JSON, or recordings.
    #[arg(conflicts_with_all = ["server", "socket", "store"])]
    pub files: Vec<PathBuf>,
}

/// Flags of `tracer top`.
#[derive(Clone, Debug, Args)]
pub struct TopFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// The time that the numbers are of, up to now.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_window)]
    pub window: Time,
    /// What comes first: rate, errors, p50, p95, p99 or name.
    #[arg(long, value_name = "WHAT", default_value = "rate")]
    pub sort: SortKey,
    /// Print one JSON object, and end.
    #[arg(long)]
    pub json: bool,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Begin with the operations of this service.
    pub service: Option<String>,
}

/// By what services and operations are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    /// Most requests a second first.
    #[default]
    Rate,
    /// Most of a hundred with an error first.
    Errors,
    /// Longest median first.
    P50,
    /// Longest 95th percentile first.
    P95,
    /// Longest 99th percentile first.
    P99,
    /// By name.
    Name,
}

pub(super) fn parse_window(text: &str) -> Result<Time, String> {
    let time: Time = text.parse()?;
    if time.as_ns() == 0 { Err("give a time such as 30s, 1m or 1h".to_owned()) } else { Ok(time) }
}
