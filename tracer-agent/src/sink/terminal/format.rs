//! The forms of the output.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is written of exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A line for people.
    Text,
    /// A picture of each finished trace, for people; a line where it has one span only.
    Tree,
    /// A JSON object on a line.
    Json,
    /// An OTLP request as JSON on a line.
    OtlpJson,
    /// Nothing.
    #[default]
    None,
}

impl Format {
    /// Whether people read it: a summary ends it.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Text | Self::Tree)
    }
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "tree" => Ok(Self::Tree),
            "json" => Ok(Self::Json),
            "otlp-json" => Ok(Self::OtlpJson),
            "none" => Ok(Self::None),
            other => Err(format!("{other:?} is not one of text, tree, json, otlp-json, none")),
        }
    }
}
