//! Where spans go, and how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Time};

/// The OTLP protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// Protobuf in HTTP requests.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// JSON in HTTP requests.
    #[serde(rename = "http/json")]
    HttpJson,
}

impl std::str::FromStr for OtlpProtocol {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::HttpProtobuf),
            "http/json" => Ok(Self::HttpJson),
            other => Err(format!("{other:?} is not one of grpc, http/protobuf, http/json")),
        }
    }
}

/// Compression of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl std::str::FromStr for Compression {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(format!("{other:?} is not one of none, gzip, zstd")),
        }
    }
}

/// Export by OTLP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExportConfig {
    /// Base address of the receiver, such as `http://localhost:4318`; `/v1/traces` is added for HTTP.
    pub endpoint: Option<String>,
    /// Address for traces, used as it stands.
    pub traces_endpoint: Option<String>,
    /// `http/protobuf`, `grpc` or `http/json`.
    pub protocol: OtlpProtocol,
    /// Headers of each request.
    pub headers: BTreeMap<String, String>,
    /// How long a request may take.
    pub timeout: Time,
    /// `none`, `gzip` or `zstd`.
    pub compression: Compression,
    /// A batch is sent after this time at the latest.
    pub delay: Time,
    /// Most spans in a request.
    pub batch_spans: usize,
    /// Most spans that wait; the oldest are dropped first, and counted.
    pub queue_spans: usize,
    /// Most bytes of encoded spans that wait.
    pub queue_bytes: Size,
    /// How long a batch is tried again before it is dropped, and counted.
    pub retry_for: Time,
    /// Export nothing.
    pub disabled: bool,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            traces_endpoint: None,
            protocol: OtlpProtocol::default(),
            headers: BTreeMap::new(),
            timeout: Time::from_ms(10_000),
            compression: Compression::default(),
            delay: Time::from_ms(500),
            batch_spans: 2048,
            queue_spans: 65_536,
            queue_bytes: Size(32 << 20),
            retry_for: Time::from_ms(300_000),
            disabled: false,
        }
    }
}

impl ExportConfig {
    /// The address that requests go to; none if nothing is exported.
    ///
    /// # Errors
    /// The endpoint is not an address that can be used.
    pub fn endpoint(&self) -> Result<Option<http::Uri>, String> {
        const PATH: &str = "/v1/traces";
        const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let Some(configured) = self.traces_endpoint.as_ref().or(self.endpoint.as_ref()) else {
            return Ok(None);
        };
        if self.disabled {
            return Ok(None);
        }
        let with_scheme =
            if configured.contains("://") { configured.clone() } else { format!("http://{configured}") };
        let base = with_scheme.trim_end_matches('/');
        let address = match (self.protocol, &self.traces_endpoint) {
            (OtlpProtocol::Grpc, _) => format!("{base}{METHOD}"),
            (_, Some(_)) => with_scheme.clone(),
            (_, None) => format!("{base}{PATH}"),
        };
        let uri: http::Uri =
            address.parse().map_err(|error| format!("the OTLP endpoint {configured:?}: {error}"))?;
        match uri.scheme_str() {
            Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(Some(uri)),
            Some("https") => Err(format!(
                "the OTLP endpoint {configured:?}: TLS is not supported yet; send to a collector on this host by http"
            )),
            _ => Err(format!(
                "the OTLP endpoint {configured:?} is not an address such as http://localhost:4318"
            )),
        }
    }
}
