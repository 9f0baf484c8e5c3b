//! The environment variables: one table of the variables and the configuration keys that they set. The keys
//! are explained in the configuration reference.

#![forbid(unsafe_code)]

use clap::ValueEnum;

use super::{Config, ConfigError};
use crate::{correlate::Sdk, process::identity::parse_attributes, propagate::Mode, units::Time};

/// A variable that sets a key of the configuration.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The key that it sets.
    pub key: &'static str,
    /// The variable is ignored if this other one has a value.
    pub unless: Option<&'static str>,
    /// Sets the key from a value that is not empty.
    set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Variable {
    const fn new(
        name: &'static str,
        key: &'static str,
        set: fn(&mut Config, &str) -> Result<(), String>,
    ) -> Self {
        Self { name, key, unless: None, set }
    }

    /// Is ignored if the variable `other` has a value.
    const fn unless(self, other: &'static str) -> Self {
        Self { unless: Some(other), ..self }
    }
}

/// Every variable, in the order in which they are applied.
pub const VARIABLES: &[Variable] = &[
    Variable::new("OTEL_EXPORTER_OTLP_ENDPOINT", "export.endpoint", |config, value| {
        config.export.endpoint = Some(value.to_owned());
        Ok(())
    }),
    Variable::new("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "export.traces_endpoint", |config, value| {
        config.export.traces_endpoint = Some(value.to_owned());
        Ok(())
    }),
    Variable::new("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "export.protocol", protocol),
    Variable::new("OTEL_EXPORTER_OTLP_PROTOCOL", "export.protocol", protocol)
        .unless("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    Variable::new("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "export.compression", compression),
    Variable::new("OTEL_EXPORTER_OTLP_COMPRESSION", "export.compression", compression)
        .unless("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"),
    Variable::new("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "export.timeout", timeout),
    Variable::new("OTEL_EXPORTER_OTLP_TIMEOUT", "export.timeout", timeout)
        .unless("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
    // Both count; a header of the second replaces that of the first.
    Variable::new("OTEL_EXPORTER_OTLP_HEADERS", "export.headers", headers),
    Variable::new("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "export.headers", headers),
    Variable::new("OTEL_BSP_SCHEDULE_DELAY", "export.delay", |config, value| {
        milliseconds(value).map(|time| config.export.delay = time)
    }),
    Variable::new("OTEL_BSP_MAX_QUEUE_SIZE", "export.queue_spans", |config, value| {
        number(value).map(|spans| config.export.queue_spans = spans)
    }),
    Variable::new("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "export.batch_spans", |config, value| {
        number(value).map(|spans| config.export.batch_spans = spans)
    }),
    Variable::new("OTEL_TRACES_EXPORTER", "export.disabled", |config, value| match value {
        "none" => {
            config.export.disabled = true;
            Ok(())
        }
        "otlp" => Ok(()),
        other => Err(format!("{other:?} is not one of otlp, none")),
    }),
    Variable::new("OTEL_SDK_DISABLED", "export.disabled", |config, value| {
        config.export.disabled |= value.eq_ignore_ascii_case("true");
        Ok(())
    }),
    Variable::new("OTEL_RESOURCE_ATTRIBUTES", "resource_attributes", resource_attributes),
    Variable::new("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "spans.known_methods", |config, value| {
        config.spans.known_methods = value.split(',').map(|name| name.trim().to_owned()).collect();
        Ok(())
    }),
    Variable::new("TRACER_LOG", "log.level", |config, value| {
        value.parse().map(|level| config.log.level = level)
    }),
    Variable::new("TRACER_OUTPUT", "output", |config, value| {
        value.parse().map(|output| config.output = output)
    }),
    Variable::new("OTEL_TRACES_SAMPLER", "sampling.sampler", sampler),
    // After the sampler: it decides whether the argument counts.
    Variable::new("OTEL_TRACES_SAMPLER_ARG", "sampling.ratio", ratio),
    Variable::new("TRACER_LINKS_HEADERS", "links.headers", |config, value| {
        let formats = value.split(',').map(|name| name.trim().parse()).collect::<Result<_, String>>()?;
        config.links.headers = formats;
        Ok(())
    }),
    Variable::new("TRACER_SDK", "sdk", |config, value| {
        config.sdk =
            Sdk::from_str(value, false).map_err(|_| format!("{value:?} is neither adopt nor suppress"))?;
        Ok(())
    }),
    Variable::new("TRACER_PROPAGATION", "propagation.mode", |config, value| {
        let mode =
            Mode::from_str(value, false).map_err(|_| format!("{value:?} is neither off nor headers"))?;
        config.propagation.mode = Some(mode);
        Ok(())
    }),
    Variable::new("TRACER_SOCKET", "socket", |config, value| {
        config.socket = Some(value.into());
        Ok(())
    }),
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
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        for Variable { name, unless, set, .. } in VARIABLES {
            if unless.is_some_and(|other| given(other).is_some()) {
                continue;
            }
            if let Some(value) = given(name) {
                set(self, &value).map_err(|error| ConfigError(format!("{name}: {error}")))?;
            }
        }
        Ok(())
    }
}

fn protocol(config: &mut Config, value: &str) -> Result<(), String> {
    value.parse().map(|protocol| config.export.protocol = protocol)
}

fn compression(config: &mut Config, value: &str) -> Result<(), String> {
    value.parse().map(|compression| config.export.compression = compression)
}

fn timeout(config: &mut Config, value: &str) -> Result<(), String> {
    milliseconds(value).map(|time| config.export.timeout = time)
}

fn headers(config: &mut Config, value: &str) -> Result<(), String> {
    config.export.headers.extend(parse_attributes(value));
    Ok(())
}

fn milliseconds(value: &str) -> Result<Time, String> {
    value.parse().map(Time::from_ms).map_err(|_| format!("{value:?} is not a number of milliseconds"))
}

fn number(value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| format!("{value:?} is not a number"))
}

/// `service.name` is left out: in the agent's environment it would name the agent, not a traced process.
fn resource_attributes(config: &mut Config, value: &str) -> Result<(), String> {
    let given = parse_attributes(value);
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
    use crate::sink::otlp::{ExportConfig, config::Compression};

    fn from(variables: &[(&str, &str)]) -> Result<ExportConfig, String> {
        let mut config = Config::default();
        let get =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        config.apply_environment(&get).map_err(|error| error.to_string())?;
        Ok(config.export)
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
