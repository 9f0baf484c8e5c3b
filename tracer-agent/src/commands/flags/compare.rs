//! `tracer compare`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Args;

use super::{color::Color, side::SideText, traces::SourceFlags};

/// What `tracer compare --help` ends with.
const AFTER_HELP: &str = "\
A side is one of:
  shop@1.4.2               what this version of a service served
  -30m..-15m               traces that began then: times before now (before the end of saved traces) …
  14:00..14:10             … of today, on this machine's clock …
  2026-12-01T14:00:00Z..   … or with date and zone. A side that is left out is the beginning or the end
  before.jsonl             a file of saved traces, or the directory of a store that nobody uses now

Examples:
  tracer compare --before shop@1.4.1 --after shop@1.4.2
  tracer compare --before -1h..-30m --after -30m.. --markdown
  tracer compare --before main.jsonl --after branch.jsonl --fail-on-worse";

/// Flags of `tracer compare`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CompareFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// The side that is compared with.
    #[arg(long, value_name = "SIDE", allow_hyphen_values = true)]
    pub before: SideText,
    /// The side that is judged.
    #[arg(long, value_name = "SIDE", allow_hyphen_values = true)]
    pub after: SideText,
    /// All of it, as one JSON object.
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// As Markdown for a pull request.
    #[arg(long)]
    pub markdown: bool,
    /// Exit with code 3 if the second side is worse, for pipelines.
    #[arg(long)]
    pub fail_on_worse: bool,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Saved traces that both sides are of, instead of those of a viewer: OTLP or Jaeger JSON, or recordings.
    #[arg(conflicts_with_all = ["server", "socket", "store"])]
    pub files: Vec<PathBuf>,
}
