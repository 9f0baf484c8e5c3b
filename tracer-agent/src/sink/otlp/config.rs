//! Where spans go, and how.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    address::{OtlpAddress, UrlKind},
    protocol::OtlpProtocol,
};
use crate::{
    problem::Problem,
    units::{Size, Time},
};

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
    /// Base address of the receiver, such as `http://localhost:4318`. For HTTP `/v1/traces` is added to its path,
    /// unless the path ends so. A user and a password in it are sent as basic authorization.
    pub endpoint: Option<String>,
    /// Address for traces. Nothing is added to its path.
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

/// Bytes that an encoded span may have.
const SPAN_BYTES: u64 = 64 << 10;

impl ExportConfig {
    /// The address that requests go to; none if nothing is exported.
    ///
    /// # Errors
    /// The endpoint is not an address that can be used.
    pub fn address(&self) -> Result<Option<OtlpAddress>, String> {
        let endpoints = [(&self.traces_endpoint, UrlKind::Traces), (&self.endpoint, UrlKind::Base)];
        let mut given = endpoints.into_iter().filter_map(|(url, kind)| Some((url.as_ref()?, kind)));
        match given.next() {
            Some((url, kind)) if !self.disabled => OtlpAddress::new(url, kind, self.protocol).map(Some),
            _ => Ok(None),
        }
    }

    /// Why spans are not exported; none if they are.
    pub fn why_not(&self) -> Option<&'static str> {
        if self.endpoint.is_none() && self.traces_endpoint.is_none() {
            return Some("no OTLP endpoint is configured");
        }
        self.disabled.then_some(
            "the export is turned off (export.disabled, OTEL_TRACES_EXPORTER or OTEL_SDK_DISABLED)",
        )
    }

    /// The values that cannot be used.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let endpoints = [
            ("endpoint", &self.endpoint, UrlKind::Base),
            ("traces_endpoint", &self.traces_endpoint, UrlKind::Traces),
        ];
        for (key, url, kind) in endpoints {
            let made = url.as_ref().map(|url| OtlpAddress::new(url, kind, self.protocol));
            if let Some(Err(message)) = made {
                problems.push(Problem::new(key, message));
            }
        }
        for (name, value) in &self.headers {
            if let Err(message) = header(name, value) {
                problems.push(Problem::new(format!("headers.{name}"), message));
            }
        }
        let checks = [
            ("timeout", self.timeout.0.is_zero(), "a request needs time: 0 would end each before its answer"),
            ("batch_spans", self.batch_spans == 0, "at least 1 span must fit into a request"),
            (
                "queue_spans",
                self.queue_spans == 0,
                "at least 1 span must fit into the queue; `disabled` turns the export off",
            ),
            ("queue_bytes", self.queue_bytes.0 < SPAN_BYTES, "at least 64KiB are needed: a span must fit"),
        ];
        let wrong = checks.into_iter().filter(|(_, is_wrong, _)| *is_wrong);
        problems.extend(wrong.map(|(key, _, message)| Problem::new(key, message)));
        problems
    }
}

/// A header of the requests. The message does not show the value.
///
/// # Errors
/// It cannot be sent, or the exporter sets it.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    /// What the exporter and the connection decide.
    const OWN: [HeaderName; 6] = [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::TE,
    ];
    let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is not a name of a header"))?;
    if OWN.contains(&name) || name.as_str().starts_with("grpc-") {
        return Err(format!("{name} is set by the exporter"));
    }
    let mut value: HeaderValue =
        value.parse().map_err(|_| format!("the value of {name} has characters that a header cannot have"))?;
    value.set_sensitive(true);
    Ok((name, value))
}
