//! `tracer slow`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Args;

use super::{
    color::Color,
    traces::{SourceFlags, parse_window},
};
use crate::units::Time;

/// What `tracer slow --help` ends with.
const AFTER_HELP: &str = "\
Examples:
  tracer slow traces.jsonl                                       which operations have slow requests
  tracer slow --service shop --operation 'GET /list/{id}'        the slowest twentieth against the rest
  tracer slow --service shop --operation 'GET /list/{id}' --over 200ms --since 15m";

/// Flags of `tracer slow`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SlowFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// The service; without --operation only its operations are listed.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// The operation: the name of the spans that serve its requests.
    #[arg(long, value_name = "NAME", requires = "service")]
    pub operation: Option<String>,
    /// Slow are requests above this quantile of their durations, from 0.5 to 0.9999.
    #[arg(long, value_name = "Q", default_value = "0.95", value_parser = parse_quantile)]
    pub quantile: f64,
    /// Slow are requests that take so long or longer: 200ms, 1s.
    #[arg(long, value_name = "TIME", conflicts_with = "quantile", value_parser = parse_window)]
    pub over: Option<Time>,
    /// Only traces of the last time: 30s, 15m, 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_window)]
    pub since: Option<Time>,
    /// All of it, as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Saved traces to look at, instead of those of a viewer: OTLP or Jaeger JSON, or recordings.
    #[arg(conflicts_with_all = ["server", "socket", "store"])]
    pub files: Vec<PathBuf>,
}

fn parse_quantile(text: &str) -> Result<f64, String> {
    let quantile = text.parse().ok().filter(|quantile| (0.5..=0.9999).contains(quantile));
    quantile.ok_or_else(|| "give a number from 0.5 to 0.9999, such as 0.95".to_owned())
}
