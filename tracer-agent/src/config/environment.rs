//! The environment variables: one table of variable, configuration key and meaning. The OTLP exporter
//! reads its own variables (`OTEL_EXPORTER_OTLP_*`).

#![forbid(unsafe_code)]

use clap::ValueEnum;

use super::{Config, ConfigError};
use crate::{correlate::Sdk, propagate::Mode};

/// A variable that sets a key of the configuration.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The key that it sets.
    pub key: &'static str,
    /// Sets the key from a value that is not empty.
    set: fn(&mut Config, &str) -> Result<(), String>,
}

/// Every variable, in the order in which they are applied.
pub const VARIABLES: &[Variable] = &[
    Variable { name: "OTEL_RESOURCE_ATTRIBUTES", key: "resource_attributes", set: resource_attributes },
    Variable {
        name: "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
        key: "spans.known_methods",
        set: |config, value| {
            config.spans.known_methods = value.split(',').map(|name| name.trim().to_owned()).collect();
            Ok(())
        },
    },
    Variable {
        name: "TRACER_LOG",
        key: "log.level",
        set: |config, value| value.parse().map(|level| config.log.level = level),
    },
    Variable {
        name: "TRACER_OUTPUT",
        key: "output",
        set: |config, value| value.parse().map(|output| config.output = output),
    },
    Variable { name: "OTEL_TRACES_SAMPLER", key: "sampling.sampler", set: sampler },
    // After the sampler: it decides whether the argument counts.
    Variable { name: "OTEL_TRACES_SAMPLER_ARG", key: "sampling.ratio", set: ratio },
    Variable {
        name: "TRACER_LINKS_HEADERS",
        key: "links.headers",
        set: |config, value| {
            let formats = value.split(',').map(|name| name.trim().parse()).collect::<Result<_, String>>()?;
            config.links.headers = formats;
            Ok(())
        },
    },
    Variable {
        name: "TRACER_SDK",
        key: "sdk",
        set: |config, value| {
            config.sdk = Sdk::from_str(value, false)
                .map_err(|_| format!("{value:?} is neither adopt nor suppress"))?;
            Ok(())
        },
    },
    Variable {
        name: "TRACER_PROPAGATION",
        key: "propagation.mode",
        set: |config, value| {
            let mode =
                Mode::from_str(value, false).map_err(|_| format!("{value:?} is neither off nor headers"))?;
            config.propagation.mode = Some(mode);
            Ok(())
        },
    },
    Variable {
        name: "TRACER_SOCKET",
        key: "socket",
        set: |config, value| {
            config.socket = Some(value.into());
            Ok(())
        },
    },
];

impl Config {
    /// Applies the environment variables.
    ///
    /// # Errors
    /// A value makes no sense; the message names the variable.
    pub fn apply_environment(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        self.export.apply_environment(variable).map_err(ConfigError)?;
        for Variable { name, set, .. } in VARIABLES {
            if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
                set(self, &value).map_err(|error| ConfigError(format!("{name}: {error}")))?;
            }
        }
        Ok(())
    }
}

/// `service.name` is left out: in the agent's environment it would name the agent, not a traced process.
fn resource_attributes(config: &mut Config, value: &str) -> Result<(), String> {
    let given = crate::process::identity::parse_attributes(value);
    config.resource_attributes.extend(given.into_iter().filter(|(key, _)| key != "service.name"));
    Ok(())
}

/// A sampler that is unknown here gives a warning, not an error: the variable may be meant for the
/// application.
fn sampler(config: &mut Config, value: &str) -> Result<(), String> {
    match value.to_ascii_lowercase().parse() {
        Ok(sampler) => config.sampling.sampler = sampler,
        Err(error) => config.warnings.push(format!("OTEL_TRACES_SAMPLER is ignored: {error}")),
    }
    Ok(())
}

/// As for the sampler, a bad value gives a warning.
fn ratio(config: &mut Config, value: &str) -> Result<(), String> {
    if !config.sampling.sampler.takes_ratio() {
        return Ok(());
    }
    match value.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => config.sampling.ratio = ratio,
        _ => config
            .warnings
            .push(format!("OTEL_TRACES_SAMPLER_ARG is ignored: {value:?} is not a number between 0 and 1")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_sets_a_key_of_the_configuration_and_the_reference_names_ours() {
        let reference = crate::config::reference::markdown();
        for Variable { name, key, .. } in VARIABLES {
            assert!(reference.contains(&format!("| `{key}` |")), "{name}: no key {key}");
            let is_named = reference.contains(&format!("`{name}`"));
            assert_eq!(is_named, name.starts_with("TRACER_"), "{name}");
        }
    }
}
