//! Which traces are kept. It is decided at the root, by bits of the trace id, and carried in the trace
//! flags; kernel programs, which push headers, decide in the same way.

#![forbid(unsafe_code)]

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracer_common::RANDOM_BITS;

use crate::problem::Problem;

/// The samplers of the OpenTelemetry specification (`OTEL_TRACES_SAMPLER`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplerName {
    /// All spans.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// A share of the traces, whatever the parent says.
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    /// As the parent, and all roots.
    #[default]
    #[serde(rename = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    /// As the parent, and no root.
    #[serde(rename = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    /// As the parent, and a share of the roots.
    #[serde(rename = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

impl SamplerName {
    const ALL: [(&str, Self); 6] = [
        ("always_on", Self::AlwaysOn),
        ("always_off", Self::AlwaysOff),
        ("traceidratio", Self::TraceIdRatio),
        ("parentbased_always_on", Self::ParentBasedAlwaysOn),
        ("parentbased_always_off", Self::ParentBasedAlwaysOff),
        ("parentbased_traceidratio", Self::ParentBasedTraceIdRatio),
    ];
}

impl SamplerName {
    /// Whether it keeps a share.
    pub fn takes_ratio(self) -> bool {
        matches!(self, Self::TraceIdRatio | Self::ParentBasedTraceIdRatio)
    }
}

impl FromStr for SamplerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, sampler)| *sampler).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not one of {}", known.join(", "))
        })
    }
}

impl fmt::Display for SamplerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, sampler)| sampler == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// Which traces are kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingConfig {
    /// `always_on`, `always_off`, `traceidratio`, and each of them behind `parentbased_`.
    pub sampler: SamplerName,
    /// Share of the traces that a ratio keeps, from 0 to 1.
    pub ratio: f64,
}

/// A ratio is a number: the checks see to that.
impl Eq for SamplingConfig {}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self { sampler: SamplerName::default(), ratio: 1.0 }
    }
}

impl SamplingConfig {
    /// A ratio that is not a share.
    pub fn problem(&self) -> Option<Problem> {
        let is_share = (0.0..=1.0).contains(&self.ratio);
        (!is_share).then(|| Problem::new("ratio", format!("{} is not between 0 and 1", self.ratio)))
    }

    /// The sampler that it describes.
    pub fn sampler(&self) -> Sampler {
        const ALL: u64 = 1 << RANDOM_BITS;
        let (follows_parent, threshold) = match self.sampler {
            SamplerName::AlwaysOn => (false, 0),
            SamplerName::AlwaysOff => (false, ALL),
            SamplerName::TraceIdRatio => (false, threshold(self.ratio)),
            SamplerName::ParentBasedAlwaysOn => (true, 0),
            SamplerName::ParentBasedAlwaysOff => (true, ALL),
            SamplerName::ParentBasedTraceIdRatio => (true, threshold(self.ratio)),
        };
        Sampler { follows_parent, threshold }
    }
}

/// Trace ids whose random bits are below it are dropped: the specification's consistent threshold.
fn threshold(ratio: f64) -> u64 {
    let all = (1u64 << RANDOM_BITS) as f64;
    ((1.0 - ratio.clamp(0.0, 1.0)) * all).round() as u64
}

/// W3C trace flag: sampled.
pub const SAMPLED: u8 = 1;
/// W3C trace flag: the trace id is random.
pub const RANDOM: u8 = 2;

/// Decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    follows_parent: bool,
    threshold: u64,
}

impl Sampler {
    /// Whether a span follows the flag of its parent.
    pub fn follows_parent(self) -> bool {
        self.follows_parent
    }

    /// Traces whose last [`RANDOM_BITS`] bits are a smaller number are dropped.
    pub fn threshold(self) -> u64 {
        self.threshold
    }

    /// Trace flags of a span, of its trace and the flags of the header that it came with, if it did.
    pub fn flags(self, trace_id: &[u8; 16], incoming: Option<u8>) -> u8 {
        match incoming {
            Some(flags) if self.follows_parent => flags,
            incoming => incoming.unwrap_or(RANDOM) & !SAMPLED | u8::from(self.keeps(trace_id)),
        }
    }

    fn keeps(self, trace_id: &[u8; 16]) -> bool {
        let [_, _, _, _, _, _, _, _, rest @ ..] = *trace_id;
        u64::from_be_bytes(rest) & ((1 << RANDOM_BITS) - 1) >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(sampler: SamplerName, ratio: f64) -> Sampler {
        SamplingConfig { sampler, ratio }.sampler()
    }

    fn trace(random: u64) -> [u8; 16] {
        let mut id = [0xff; 16];
        id[9..].copy_from_slice(&random.to_be_bytes()[1..]);
        id
    }

    #[test]
    fn names_are_read_and_written() {
        for (name, sampler) in SamplerName::ALL {
            assert_eq!(name.parse(), Ok(sampler));
            assert_eq!(sampler.to_string(), name);
            assert_eq!(serde_json::to_value(sampler).expect("JSON"), name);
        }
        assert!("sometimes".parse::<SamplerName>().is_err());
    }

    #[test]
    fn a_ratio_keeps_the_trace_ids_above_its_threshold() {
        let half = sampler(SamplerName::ParentBasedTraceIdRatio, 0.5);
        assert_eq!(half.threshold(), 1 << 55);
        assert_eq!(half.flags(&trace((1 << 55) - 1), None), RANDOM);
        assert_eq!(half.flags(&trace(1 << 55), None), RANDOM | SAMPLED);
        let none = sampler(SamplerName::TraceIdRatio, 0.0);
        assert_eq!(none.flags(&trace((1 << 56) - 1), None), RANDOM);
        let all = sampler(SamplerName::TraceIdRatio, 1.0);
        assert_eq!(all.flags(&trace(0), None), RANDOM | SAMPLED);
    }

    #[test]
    fn a_parent_decides_if_it_is_asked() {
        for flags in 0..4 {
            assert_eq!(sampler(SamplerName::ParentBasedAlwaysOff, 1.0).flags(&trace(0), Some(flags)), flags);
            assert_eq!(sampler(SamplerName::AlwaysOn, 1.0).flags(&trace(0), Some(flags)), flags | SAMPLED);
            assert_eq!(sampler(SamplerName::AlwaysOff, 1.0).flags(&trace(0), Some(flags)), flags & !SAMPLED);
        }
    }
}
