//! Where spans go, and how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::units::{Size, Time},
    process::identity::parse_attributes,
};

/// The OTLP protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
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

impl std::str::FromStr for Protocol {
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
    pub protocol: Protocol,
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
            protocol: Protocol::default(),
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
    /// Takes what the standard variables say.
    ///
    /// # Errors
    /// A variable whose value makes no sense; the message names it.
    pub fn apply_environment(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        // The form for traces wins over the general one.
        let either = |suffix: &str| {
            [format!("OTEL_EXPORTER_OTLP_TRACES_{suffix}"), format!("OTEL_EXPORTER_OTLP_{suffix}")]
                .into_iter()
                .find_map(|name| get(&name).map(|value| (name, value)))
        };
        if let Some(endpoint) = get("OTEL_EXPORTER_OTLP_ENDPOINT") {
            self.endpoint = Some(endpoint);
        }
        if let Some(endpoint) = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            self.traces_endpoint = Some(endpoint);
        }
        if let Some((name, value)) = either("PROTOCOL") {
            self.protocol = value.parse().map_err(|error| format!("{name}: {error}"))?;
        }
        if let Some((name, value)) = either("COMPRESSION") {
            self.compression = value.parse().map_err(|error| format!("{name}: {error}"))?;
        }
        if let Some((name, value)) = either("TIMEOUT") {
            self.timeout = milliseconds(&name, &value)?;
        }
        for name in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
            if let Some(value) = get(name) {
                self.headers.extend(parse_attributes(&value));
            }
        }
        if let Some(value) = get("OTEL_BSP_SCHEDULE_DELAY") {
            self.delay = milliseconds("OTEL_BSP_SCHEDULE_DELAY", &value)?;
        }
        for (name, field) in [
            ("OTEL_BSP_MAX_QUEUE_SIZE", &mut self.queue_spans),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &mut self.batch_spans),
        ] {
            if let Some(value) = get(name) {
                *field = value.parse().map_err(|_| format!("{name}: {value:?} is not a number"))?;
            }
        }
        if let Some(value) = get("OTEL_TRACES_EXPORTER") {
            match value.as_str() {
                "none" => self.disabled = true,
                "otlp" => {}
                other => return Err(format!("OTEL_TRACES_EXPORTER: {other:?} is not one of otlp, none")),
            }
        }
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            self.disabled = true;
        }
        Ok(())
    }

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
            (Protocol::Grpc, _) => format!("{base}{METHOD}"),
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

fn milliseconds(name: &str, value: &str) -> Result<Time, String> {
    value.parse().map(Time::from_ms).map_err(|_| format!("{name}: {value:?} is not a number of milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<ExportConfig, String> {
        let mut config = ExportConfig::default();
        config.apply_environment(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })?;
        Ok(config)
    }

    fn endpoint(variables: &[(&str, &str)]) -> String {
        let uri = from(variables).and_then(|config| config.endpoint());
        uri.map_or_else(|error| error, |uri| uri.map_or("none".to_owned(), |uri| uri.to_string()))
    }

    #[test]
    fn the_standard_variables_say_where_spans_go() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/");
        assert_eq!(endpoint(&[]), "none");
        assert_eq!(endpoint(&[base]), "http://a:4318/v1/traces");
        assert_eq!(endpoint(&[base, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:1/x")]), "http://b:1/x");
        assert_eq!(
            endpoint(&[base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]),
            "http://a:4318/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        );
        assert_eq!(endpoint(&[base, ("OTEL_TRACES_EXPORTER", "none")]), "none");
        assert_eq!(endpoint(&[base, ("OTEL_SDK_DISABLED", "TRUE")]), "none");
        assert!(
            endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a")]).contains("TLS is not supported yet")
        );
        assert!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://a")]).contains("is not an address"));
    }

    #[test]
    fn the_form_for_traces_wins_and_bad_values_are_named() {
        let config = from(&[
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "200"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=x%20y"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=2"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ])
        .expect("valid");
        assert_eq!(config.timeout, Time::from_ms(200));
        assert_eq!(config.headers["a"], "2");
        assert_eq!(config.headers["b"], "x y");
        assert_eq!(config.compression, Compression::Zstd);
        let error = from(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke")]).expect_err("no protocol");
        assert!(error.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL"), "{error}");
    }
}
