//! Formats of headers that link requests, and which of them are read.

#![forbid(unsafe_code)]

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of headers that link requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderFormat {
    /// Zipkin's `b3`, or `x-b3-traceid` and its like: <https://github.com/openzipkin/b3-propagation>.
    B3,
    /// Jaeger's `uber-trace-id`: Jaeger documentation, "Propagation Format".
    Jaeger,
    /// `x-datadog-trace-id` and its like; the upper half of a trace id is in `x-datadog-tags`.
    Datadog,
    /// `x-amzn-trace-id`: AWS X-Ray Developer Guide, "Tracing header".
    Xray,
    /// `x-request-id`: no trace, but a call that carries that of a request is made for it.
    XRequestId,
}

impl HeaderFormat {
    pub(super) const ALL: [Self; 5] = [Self::B3, Self::Jaeger, Self::Datadog, Self::Xray, Self::XRequestId];

    /// As the configuration and `tracer.link.format` tell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::B3 => "b3",
            Self::Jaeger => "jaeger",
            Self::Datadog => "datadog",
            Self::Xray => "xray",
            Self::XRequestId => "x-request-id",
        }
    }
}

impl FromStr for HeaderFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            format!("{text:?} is not one of {}", known.join(", "))
        })
    }
}

/// The formats that are read, the strongest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderFormats([Option<HeaderFormat>; HeaderFormat::ALL.len()]);

impl HeaderFormats {
    /// Of a list; what is named again does not count.
    pub fn new(list: &[HeaderFormat]) -> Self {
        let mut this = Self::default();
        for format in list {
            if !this.has(*format)
                && let Some(free) = this.0.iter_mut().find(|place| place.is_none())
            {
                *free = Some(*format);
            }
        }
        this
    }

    /// Whether none is read.
    pub fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    fn has(&self, format: HeaderFormat) -> bool {
        self.0.contains(&Some(format))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = HeaderFormat> {
        self.0.into_iter().flatten()
    }
}
