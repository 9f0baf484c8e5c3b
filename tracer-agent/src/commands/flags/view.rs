//! `tracer view`: a viewer of its own.

#![forbid(unsafe_code)]

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::units::Size;

/// Flags of `tracer view`.
#[derive(Clone, Debug, Args)]
pub struct ViewFlags {
    /// Saved traces: OTLP as JSON (one request a line, as `tracer --output otlp-json` writes it), Jaeger's JSON, either
    /// compressed by gzip or zstd, or recordings of tracer. Without files, traces are taken by OTLP.
    pub files: Vec<PathBuf>,
    /// Address of the page. One that other machines can reach needs a token.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = tracer_viewer::DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// Address where OTLP over gRPC is taken [default: 127.0.0.1:4317; none with files].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub otlp_grpc: Option<SocketAddr>,
    /// Address where OTLP over HTTP is taken [default: 127.0.0.1:4318; none with files].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub otlp_http: Option<SocketAddr>,
    /// Keep the traces in this directory over a restart; in memory only without it.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Memory that traces may take: the oldest go first.
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub memory: Size,
    /// File with the token, of 24 characters or more, that browsers have to know, and senders to addresses that other
    /// machines can reach (or set TRACER_VIEWER_TOKEN).
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate chain in PEM: the page is served by TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// Certificates of authorities in PEM: a browser or program needs a certificate that one of them has signed, and no
    /// token.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_client_ca: Option<PathBuf>,
    /// A name by which browsers reach the page, besides localhost and its address.
    #[arg(long, value_name = "NAME")]
    pub host_name: Vec<String>,
    /// Path with which a reverse proxy passes requests on, such as /traces.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub path_prefix: String,
    /// Address that each incident is sent to when it opens and when it ends: JSON by POST.
    #[arg(long, value_name = "URL", conflicts_with = "files")]
    pub incident_webhook: Option<String>,
    /// Base address of an OTLP receiver, by HTTP, that gets incidents as log records.
    #[arg(long, value_name = "URL", conflicts_with = "files")]
    pub incident_otlp: Option<String>,
}
