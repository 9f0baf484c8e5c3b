//! `tracer map`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{
    color::Color,
    traces::{SourceFlags, parse_window},
};
use crate::units::Time;

/// What `tracer map --help` ends with.
const AFTER_HELP: &str = "\
The file of --check is YAML; --format yaml writes one of the traffic as it is:
  edges:
    - from: shop                     # names of services; * stands for any text
      to: [catalog, stock]
    - from: stock
      to: \"*.example:5432\"           # host and port of what has no spans
      optional: true                 # may be without a call
  ignore:
    - {from: \"*\", to: \"169.254.169.254:80\"}";

/// Flags of `tracer map`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct MapFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// Only traces of the last time: 30s, 15m, 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_window)]
    pub since: Option<Time>,
    /// For which tool: text, json, mermaid, dot, metrics (OpenMetrics text by the names of Grafana's service graphs), or yaml
    /// (a file for --check).
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: MapFormat,
    /// Compare with the architecture that this file declares, and exit with code 3 if a call is not declared, or a declared edge
    /// has no call. With --format json the differences are a JSON object.
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Saved traces to look at, instead of those of a viewer: OTLP or Jaeger JSON, or recordings.
    #[arg(conflicts_with_all = ["server", "socket", "store"])]
    pub files: Vec<PathBuf>,
}

/// How dependencies are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MapFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// A flowchart of Mermaid.
    Mermaid,
    /// A graph of Graphviz.
    Dot,
    /// Counters and histograms.
    Metrics,
    /// A declared architecture.
    Yaml,
}
