//! The environment variables: one table of the variables and the configuration keys that they set. The keys
//! are explained in the configuration reference.
//!
//! `OTEL_*` variables are those of the traced program as well: what cannot be honoured of them is a warning.
//! `TRACER_*` variables are meant for the agent: a wrong value is an error.

#![forbid(unsafe_code)]

use clap::ValueEnum;

use super::{Config, ConfigError};
use crate::{
    correlate::Sdk,
    percent::percent_decoded,
    process::identity::{parse_attributes, why_not_for_all},
    propagate::Mode,
    sink::otlp::config::header,
    units::Time,
};

/// A variable that sets a key of the configuration.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The key that it sets.
    pub key: &'static str,
    /// The variable is ignored if this other one was honoured.
    pub unless: Option<&'static str>,
    /// Sets the key from a value that is not empty.
    set: Setter,
}

/// Sets a key of the configuration from a value, or says what is wrong with the value.
type Setter = fn(&mut Config, &str) -> Result<Honoured, String>;

/// How much of a value counts.
enum Honoured {
    /// All of it.
    Whole,
    /// Not all of it: what is left out, and why.
    InPart(String),
}

use Honoured::{InPart, Whole};

impl Variable {
    const fn new(name: &'static str, key: &'static str, set: Setter) -> Self {
        Self { name, key, unless: None, set }
    }

    /// Is ignored if the variable `other` was honoured.
    const fn unless(self, other: &'static str) -> Self {
        Self { unless: Some(other), ..self }
    }

    /// Whether a wrong value is an error.
    fn is_ours(&self) -> bool {
        self.name.starts_with("TRACER_")
    }
}

/// Every variable, in the order in which they are applied.
pub const VARIABLES: &[Variable] = &[
    Variable::new("OTEL_EXPORTER_OTLP_ENDPOINT", "export.endpoint", |config, value| {
        config.export.endpoint = Some(value.to_owned());
        Ok(Whole)
    }),
    Variable::new("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "export.traces_endpoint", |config, value| {
        config.export.traces_endpoint = Some(value.to_owned());
        Ok(Whole)
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
        milliseconds(value).map(|time| config.export.delay = time).map(|()| Whole)
    }),
    Variable::new("OTEL_BSP_MAX_QUEUE_SIZE", "export.queue_spans", |config, value| {
        number(value).map(|spans| config.export.queue_spans = spans).map(|()| Whole)
    }),
    Variable::new("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "export.batch_spans", |config, value| {
        number(value).map(|spans| config.export.batch_spans = spans).map(|()| Whole)
    }),
    Variable::new("OTEL_TRACES_EXPORTER", "export.disabled", exporters),
    // After the exporters: it turns off what they turn on.
    Variable::new("OTEL_SDK_DISABLED", "export.disabled", |config, value| {
        match value.to_ascii_lowercase().as_str() {
            "true" => config.export.disabled = true,
            "false" => {}
            _ => return Err(format!("{value:?} is neither true nor false")),
        }
        Ok(Whole)
    }),
    Variable::new("OTEL_RESOURCE_ATTRIBUTES", "resource_attributes", resource_attributes),
    Variable::new("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "spans.known_methods", known_methods),
    Variable::new("TRACER_LOG", "log.level", |config, value| {
        value.parse().map(|level| config.log.level = level).map(|()| Whole)
    }),
    Variable::new("TRACER_OUTPUT", "output", |config, value| {
        value.parse().map(|output| config.output = output).map(|()| Whole)
    }),
    Variable::new("OTEL_TRACES_SAMPLER", "sampling.sampler", |config, value| {
        let name = value.to_ascii_lowercase();
        name.parse().map(|sampler| config.sampling.sampler = sampler).map(|()| Whole)
    }),
    // After the sampler: it decides whether the argument counts.
    Variable::new("OTEL_TRACES_SAMPLER_ARG", "sampling.ratio", ratio),
    Variable::new("TRACER_LINKS_HEADERS", "links.headers", |config, value| {
        let formats = value.split(',').map(|name| name.trim().parse()).collect::<Result<_, String>>()?;
        config.links.headers = formats;
        Ok(Whole)
    }),
    Variable::new("TRACER_SDK", "sdk", |config, value| {
        config.sdk =
            Sdk::from_str(value, false).map_err(|_| format!("{value:?} is neither adopt nor suppress"))?;
        Ok(Whole)
    }),
    Variable::new("TRACER_PROPAGATION", "propagation.mode", |config, value| {
        let mode =
            Mode::from_str(value, false).map_err(|_| format!("{value:?} is neither off nor headers"))?;
        config.propagation.mode = Some(mode);
        Ok(Whole)
    }),
    Variable::new("TRACER_STATE_DIRECTORY", "state_directory", |config, value| {
        config.state_directory = Some(value.into());
        Ok(Whole)
    }),
    Variable::new("TRACER_VIEWER_TOKEN", "viewer.token", |config, value| {
        config.viewer.token = Some(value.to_owned());
        match config.viewer.problems().into_iter().find(|problem| problem.key == "token") {
            Some(problem) => Err(problem.message),
            None => Ok(Whole),
        }
    }),
    Variable::new("TRACER_SOCKET", "socket", |config, value| {
        config.socket = Some(value.into());
        Ok(Whole)
    }),
];

/// Attributes that name the process in whose environment they stand.
const IDENTITY: [&str; 2] = ["service.name", "service.instance.id"];

/// The value of a variable of this process. Bytes that are not UTF-8 become U+FFFD.
pub fn own_variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

impl Config {
    /// Applies the environment variables, besides those whose keys are among `flagged`: flags win. What cannot
    /// be honoured of an `OTEL_*` variable becomes a warning. The configuration before must be valid.
    ///
    /// # Errors
    /// A value of a `TRACER_*` variable makes no sense; the message names the variable.
    pub fn apply_environment(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
        flagged: &[&str],
    ) -> Result<(), ConfigError> {
        let mut honoured: Vec<&str> = Vec::new();
        for known in VARIABLES.iter().filter(|known| !flagged.contains(&known.key)) {
            let Variable { name, unless, .. } = known;
            if unless.is_some_and(|other| honoured.contains(&other)) {
                continue;
            }
            let value = variable(name).map(|value| value.trim().to_owned());
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            match self.with_variable(known, &value) {
                Ok((config, outcome)) => {
                    *self = config;
                    honoured.push(name);
                    if let InPart(left_out) = outcome {
                        self.warnings.push(format!("{name} is honoured in part: {left_out}"));
                    }
                }
                Err(error) if known.is_ours() => return Err(ConfigError(format!("{name}: {error}"))),
                Err(error) => self.warnings.push(format!("{name} is ignored: {error}")),
            }
        }
        Ok(())
    }

    /// Warns of what names the agent in its environment and is not given to the processes that it traces, unless
    /// these have the same environment.
    pub fn warn_of_own_identity(&mut self, variable: &dyn Fn(&str) -> Option<String>) {
        const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
        for (key, _) in parse_attributes(&variable(NAME).unwrap_or_default()) {
            if let Some(reason) = why_not_for_all(&key).filter(|_| IDENTITY.contains(&key.as_str())) {
                self.warnings.push(format!("{key} in {NAME} is ignored: {reason}"));
            }
        }
    }

    /// The configuration with the value of a variable, if it is valid then.
    fn with_variable(&self, variable: &Variable, value: &str) -> Result<(Self, Honoured), String> {
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err("the value is not UTF-8".to_owned());
        }
        let mut config = self.clone();
        let outcome = (variable.set)(&mut config, value)?;
        match config.problems().into_iter().next() {
            Some(problem) => Err(problem.message),
            None => Ok((config, outcome)),
        }
    }
}

fn protocol(config: &mut Config, value: &str) -> Result<Honoured, String> {
    value.to_ascii_lowercase().parse().map(|protocol| config.export.protocol = protocol).map(|()| Whole)
}

fn compression(config: &mut Config, value: &str) -> Result<Honoured, String> {
    let name = value.to_ascii_lowercase();
    name.parse().map(|compression| config.export.compression = compression).map(|()| Whole)
}

fn timeout(config: &mut Config, value: &str) -> Result<Honoured, String> {
    milliseconds(value).map(|time| config.export.timeout = time).map(|()| Whole)
}

fn headers(config: &mut Config, value: &str) -> Result<Honoured, String> {
    entries(value, |name, value| {
        header(&name, &value)?;
        // Names of headers have no case: the later value counts, however it is written.
        config.export.headers.retain(|known, _| !known.eq_ignore_ascii_case(&name));
        config.export.headers.insert(name, value);
        Ok(())
    })
}

/// Takes the entries of a list `key=value,key=value`, whose values are percent-encoded. The messages show no
/// value.
fn entries(
    list: &str,
    mut take: impl FnMut(String, String) -> Result<(), String>,
) -> Result<Honoured, String> {
    let mut left_out = Vec::new();
    let mut taken = 0;
    for (index, entry) in list.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty()) {
        let key_and_value = entry.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        let outcome = match key_and_value.filter(|(key, value)| !key.is_empty() && !value.is_empty()) {
            Some((key, value)) => take(key.to_owned(), percent_decoded(value)),
            None => Err(format!("entry {} is not key=value", index + 1)),
        };
        match outcome {
            Ok(()) => taken += 1,
            Err(error) => left_out.push(error),
        }
    }
    in_part(taken, left_out)
}

/// What came of a list of which `taken` entries count.
fn in_part(taken: usize, left_out: Vec<String>) -> Result<Honoured, String> {
    match (taken, left_out.is_empty()) {
        (_, true) => Ok(Whole),
        (0, false) => Err(left_out.join("; ")),
        (_, false) => Ok(InPart(left_out.join("; "))),
    }
}

fn milliseconds(value: &str) -> Result<Time, String> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let time = format!("{value}ms").parse();
    if digits { time } else { Err(format!("{value:?} is not a number of milliseconds")) }
}

fn number(value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| format!("{value:?} is not a number of spans"))
}

/// A list of exporters; those besides OTLP are the application's.
fn exporters(config: &mut Config, value: &str) -> Result<Honoured, String> {
    let names: Vec<String> = value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let others: Vec<String> = names
        .iter()
        .filter(|name| !name.is_empty() && !matches!(name.as_str(), "otlp" | "none"))
        .map(|name| format!("{name:?} is not one of otlp, none"))
        .collect();
    match (has("otlp"), has("none")) {
        (true, false) => config.export.disabled = false,
        (false, true) => config.export.disabled = true,
        (true, true) => return Err("it names otlp and none".to_owned()),
        (false, false) => {}
    }
    in_part(usize::from(has("otlp") || has("none")), others)
}

/// `service.name` and `service.instance.id` would name the agent, not a traced process: they are left out, and a
/// program that has the same variable gets them.
fn resource_attributes(config: &mut Config, value: &str) -> Result<Honoured, String> {
    entries(value, |key, value| {
        if IDENTITY.contains(&key.as_str()) {
            return Ok(());
        }
        if let Some(reason) = why_not_for_all(&key) {
            return Err(format!("{key}: {reason}"));
        }
        config.resource_attributes.insert(key, value);
        Ok(())
    })
}

fn known_methods(config: &mut Config, value: &str) -> Result<Honoured, String> {
    let (mut methods, mut left_out) = (Vec::new(), Vec::new());
    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match http::Method::from_bytes(name.as_bytes()) {
            Ok(_) => methods.push(name.to_owned()),
            Err(_) => left_out.push(format!("{name:?} is not a method")),
        }
    }
    let taken = methods.len();
    if taken > 0 {
        config.spans.known_methods = methods;
    }
    in_part(taken, left_out)
}

fn ratio(config: &mut Config, value: &str) -> Result<Honoured, String> {
    if config.sampling.sampler.takes_ratio() {
        let ratio = value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        config.sampling.ratio = ratio.ok_or_else(|| format!("{value:?} is not a number between 0 and 1"))?;
    }
    Ok(Whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::otlp::{ExportConfig, OtlpProtocol, config::Compression};

    fn applied(variables: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        let get =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        config.apply_environment(&get, &[]).expect("no variable of ours");
        config
    }

    fn endpoint(variables: &[(&str, &str)]) -> String {
        let address = applied(variables).export.address();
        let address = address.map(|address| address.map(|address| address.uri().to_string()));
        address.map_or_else(|error| error, |address| address.unwrap_or_else(|| "none".to_owned()))
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
    }

    #[test]
    fn the_form_for_traces_wins_if_it_can_be_honoured() {
        let config = applied(&[
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "200"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=x%20y"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "A=2"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "smoke"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ]);
        assert_eq!(config.export.timeout, Time::from_ms(200));
        assert_eq!(config.export.headers["A"], "2");
        assert_eq!(config.export.headers["b"], "x y");
        assert_eq!(config.export.headers.len(), 2);
        assert_eq!(config.export.compression, Compression::Zstd);
        assert_eq!(config.export.protocol, OtlpProtocol::Grpc);
        assert_eq!(
            config.warnings,
            [
                r#"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is ignored: "smoke" is not one of grpc, http/protobuf, http/json"#
            ]
        );
    }

    #[test]
    fn a_value_of_opentelemetry_that_cannot_be_honoured_is_one_warning_and_changes_nothing() {
        for (name, value, expected) in [
            ("OTEL_TRACES_EXPORTER", "console", "\"console\" is not one of otlp, none"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "\"zipkin\" is not one of otlp, none"),
            ("OTEL_TRACES_EXPORTER", "otlp,none", "it names otlp and none"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a", "TLS is not supported yet"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://a", "the scheme is ftp"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:99999", "port 99999"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://a/v1/traces", "TLS is not supported yet"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "\"10s\" is not a number of milliseconds"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1", "is not a number of milliseconds"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "a request needs time"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "99999999999999999999", "is too long: at most 8760h"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "at least 1 span"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "at least 1 span"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http", "\"http\" is not one of grpc, http/protobuf, http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "deflate", "\"deflate\" is not one of none, gzip, zstd"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "entry 1 is not key=value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret", "\"a b\" is not a name of a header"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0A", "the value of a has characters"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "content-type=a", "content-type is set by the exporter"),
            ("OTEL_BSP_SCHEDULE_DELAY", "5s", "is not a number of milliseconds"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "\"many\" is not a number of spans"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1", "is not a number of spans"),
            ("OTEL_SDK_DISABLED", "yes", "\"yes\" is neither true nor false"),
            ("OTEL_RESOURCE_ATTRIBUTES", "nonsense", "entry 1 is not key=value"),
            ("OTEL_RESOURCE_ATTRIBUTES", "process.pid=1", "process.pid: the agent sets it for each process"),
            ("OTEL_RESOURCE_ATTRIBUTES", "telemetry.sdk.name=me", "telemetry.sdk.name: it names what made"),
            ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET POST", "\"GET POST\" is not a method"),
            ("OTEL_TRACES_SAMPLER", "xray", "\"xray\" is not one of always_on"),
            ("OTEL_TRACES_SAMPLER", "\u{fffd}", "is not UTF-8"),
        ] {
            let config = applied(&[(name, value)]);
            let warnings = config.warnings.join("\n");
            assert!(warnings.starts_with(&format!("{name} is ignored: ")), "{name}={value}: {warnings}");
            assert!(warnings.contains(expected), "{name}={value}: {warnings}");
            assert!(!warnings.contains("secret"), "{warnings}");
            assert_eq!((config.warnings.len(), config.problems()), (1, Vec::new()), "{warnings}");
            assert_eq!(Config { warnings: Vec::new(), ..config }, Config::default(), "{name}={value}");
        }
    }

    #[test]
    fn what_can_be_honoured_of_a_list_is() {
        let config = applied(&[
            ("OTEL_TRACES_EXPORTER", "console, OTLP"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,nonsense,b=2,"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=shop,,x"),
            ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET,P T,PURGE"),
        ]);
        assert_eq!(config.export.address().map(|address| address.is_some()), Ok(true));
        assert_eq!(config.export.headers.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(config.resource_attributes.keys().collect::<Vec<_>>(), ["team"]);
        assert_eq!(config.spans.known_methods, ["GET", "PURGE"]);
        let warnings: Vec<&str> = config.warnings.iter().map(String::as_str).collect();
        assert_eq!(
            warnings,
            [
                "OTEL_EXPORTER_OTLP_HEADERS is honoured in part: entry 2 is not key=value",
                r#"OTEL_TRACES_EXPORTER is honoured in part: "console" is not one of otlp, none"#,
                "OTEL_RESOURCE_ATTRIBUTES is honoured in part: entry 3 is not key=value",
                r#"OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS is honoured in part: "P T" is not a method"#,
            ]
        );
    }

    #[test]
    fn what_names_the_agent_is_not_given_to_the_processes_that_it_traces() {
        let variable = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,service.instance.id=b,host.name=c");
        let mut config = applied(&[variable]);
        assert_eq!(config.resource_attributes.keys().collect::<Vec<_>>(), ["host.name"]);
        assert_eq!(config.warnings, [""; 0], "`tracer run` gives them to the program");
        config.warn_of_own_identity(&|name| (name == variable.0).then(|| variable.1.to_owned()));
        let starts = ["service.name in OTEL_RESOURCE_ATTRIBUTES is ignored", "service.instance.id in OTEL_"];
        assert!(config.warnings.iter().zip(starts).all(|(warning, start)| warning.starts_with(start)));
        assert_eq!(config.warnings.len(), 2);
    }

    #[test]
    fn a_variable_of_ours_that_makes_no_sense_is_an_error() {
        let mut config = Config::default();
        let get = |name: &str| (name == "TRACER_LOG").then(|| "loud".to_owned());
        let error = config.apply_environment(&get, &[]).expect_err("wrong").to_string();
        assert!(error.starts_with("TRACER_LOG: \"loud\""), "{error}");
        assert_eq!(config.apply_environment(&get, &["log.level"]).map_err(|error| error.to_string()), Ok(()));
    }

    #[test]
    fn flags_win_over_variables() {
        let flagged = ["export.endpoint", "export.traces_endpoint", "export.disabled"];
        let mut config = Config {
            export: ExportConfig { endpoint: Some("http://flag".to_owned()), ..ExportConfig::default() },
            ..Config::default()
        };
        let get = |name: &str| match name {
            "OTEL_TRACES_EXPORTER" => Some("none".to_owned()),
            "OTEL_SDK_DISABLED" => Some("true".to_owned()),
            "OTEL_EXPORTER_OTLP_ENDPOINT" | "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => {
                Some("https://variable".to_owned())
            }
            _ => None,
        };
        config.apply_environment(&get, &flagged).expect("not looked at");
        let address = config.export.address().expect("valid").expect("an address");
        assert_eq!((address.to_string().as_str(), config.warnings.len()), ("http://flag/v1/traces", 0));
    }

    #[test]
    fn every_variable_sets_a_key_of_the_configuration_and_the_reference_names_it() {
        let reference = crate::config::reference::markdown();
        for Variable { name, key, .. } in VARIABLES {
            assert!(reference.contains(&format!("| `{key}` |")), "{name}: no key {key}");
            assert!(reference.contains(&format!("| `{name}` | `{key}`")), "{name}");
        }
    }
}
