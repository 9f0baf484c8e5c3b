//! The protocols of OTLP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
