//! The configuration: a YAML file, then environment variables, then flags.

#![forbid(unsafe_code)]

pub mod environment;
mod file;
mod incidents;
mod place;
pub mod reference;
mod viewer;
mod wrong;

pub use self::{
    incidents::IncidentConfig,
    viewer::{ViewerConfig, token_in},
};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    correlate::Sdk,
    log::LogConfig,
    one_or_list,
    problem::Problem,
    process::{identity::why_not_for_all, selector::Selection},
    propagate::PropagationConfig,
    sink::{otlp::ExportConfig, terminal::Format},
    span::build::SpanConfig,
    trace_context::HeaderFormat,
    trace_context::sample::SamplingConfig,
    units::{Size, Time},
};

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which processes are traced.
    pub select: Selection,
    /// Where spans go.
    pub export: ExportConfig,
    /// What spans hold.
    pub spans: SpanConfig,
    /// How spans become traces.
    pub links: LinkConfig,
    /// How applications that trace themselves are treated. `adopt`: a client request with the application's own trace
    /// header gets the ids of that header. If the process was also seen to export spans by OTLP over HTTP, that client
    /// request gets no span here, and neither do its server requests if it was seen to trace them. `suppress`: neither
    /// such client requests nor any request of such a process get a span.
    pub sdk: Sdk,
    /// Which traces are kept.
    pub sampling: SamplingConfig,
    /// Trace headers in the requests that traced processes send.
    pub propagation: PropagationConfig,
    /// What is written of exchanges: `text`, `tree`, `json`, `otlp-json` or `none`. Without it, `tracer run`
    /// and `tracer watch` write `tree` on a terminal, else `text`.
    pub output: Format,
    /// File that the output goes to; standard error for `tracer run`, else standard output.
    pub output_file: Option<PathBuf>,
    /// Attributes that every resource gets, in place of what the process says itself or the agent finds out, such
    /// as `host.name`. Those that name one process or the agent are refused: `service.name`, `service.instance.id`,
    /// `process.pid`, `process.executable.*`, `telemetry.sdk.*`, `telemetry.distro.*`.
    pub resource_attributes: std::collections::BTreeMap<String, String>,
    /// Pages that show the traces.
    pub viewer: ViewerConfig,
    /// What is done with what the viewer finds wrong.
    pub incidents: IncidentConfig,
    /// Bounds of what is kept in memory.
    pub limits: Limits,
    /// Unix socket on which the running agent answers.
    pub socket: Option<PathBuf>,
    /// Directory in which the agent keeps what it has learned of programs, for its next start: the file
    /// `threads.json`. Without it, `tracer agent` takes `$STATE_DIRECTORY` (systemd), else `/var/lib/tracer`, if it is
    /// there, and the other commands keep nothing; an empty name keeps nothing.
    pub state_directory: Option<PathBuf>,
    /// File that the stream of kernel events is recorded to.
    pub record: Option<PathBuf>,
    /// Record every byte: credentials, bodies, and protocols that are not decoded.
    pub record_raw: bool,
    /// The agent's own log.
    pub log: LogConfig,
    /// What was ignored of the environment.
    #[serde(skip)]
    #[schemars(skip)]
    pub warnings: Vec<String>,
    /// Variables whose values the file took into `export`.
    #[serde(skip)]
    #[schemars(skip)]
    pub secret_variables: Vec<String>,
}

/// How spans become traces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Link a call to the only request that its process has open. Right unless the process makes calls
    /// of its own accord, or serves requests that are not read.
    pub sole_request: bool,
    /// Headers that link requests besides `traceparent`, the strongest first: `b3`, `jaeger`, `datadog`,
    /// `xray`, `x-request-id`.
    #[serde(deserialize_with = "one_or_list::read")]
    #[schemars(schema_with = "one_or_list::schema::<HeaderFormat>")]
    pub headers: Vec<HeaderFormat>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { sole_request: true, headers: Vec::new() }
    }
}

/// Bounds of what is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Size of the ring between kernel and agent: a power of two.
    pub ring: Size,
    /// Connections that are followed at once.
    pub connections: usize,
    /// Memory for messages that are not complete or wait for their response, of all connections together.
    pub message_memory: Size,
    /// How long a request waits for its response.
    pub exchange_timeout: Time,
    /// How long the agent takes to send what is left when it ends.
    pub shutdown: Time,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ring: Size(8 << 20),
            connections: 65_536,
            message_memory: Size(64 << 20),
            exchange_timeout: Time::from_ms(300_000),
            shutdown: Time::from_ms(5_000),
        }
    }
}

impl Limits {
    /// The values that cannot be used.
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let ring = self.ring.0;
        if !ring.is_power_of_two() || !(1 << 16..=1 << 30).contains(&ring) {
            problems.push(Problem::new("ring", "the size must be a power of two between 64KiB and 1GiB"));
        }
        if self.connections == 0 {
            problems.push(Problem::new("connections", "\"0\" is not a whole number of at least 1"));
        }
        if self.message_memory.0 < 1 << 20 {
            problems.push(Problem::new("message_memory", "1MiB is the least"));
        }
        if self.exchange_timeout.0.is_zero() {
            let message = "0 would end every request before its response";
            problems.push(Problem::new("exchange_timeout", message));
        }
        problems
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ConfigError {
    /// Problems as an error, one a line.
    fn of(problems: &[Problem]) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Err(Self(lines.join("\n")))
    }
}

impl Config {
    /// The values that cannot be used.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> =
            self.export.problems().into_iter().map(|problem| problem.within("export")).collect();
        problems.extend(self.limits.problems().into_iter().map(|problem| problem.within("limits")));
        problems.extend(self.viewer.problems().into_iter().map(|problem| problem.within("viewer")));
        problems.extend(self.incidents.problems().into_iter().map(|problem| problem.within("incidents")));
        problems.extend(self.spans.problems().into_iter().map(|problem| problem.within("spans")));
        problems.extend(self.select.problems());
        problems.extend(self.resource_attributes.keys().filter_map(|key| {
            Some(Problem::new(format!("resource_attributes.{key}"), why_not_for_all(key)?))
        }));
        problems.extend(self.sampling.problem().map(|problem| problem.within("sampling")));
        problems
    }

    /// What is set and has no effect, because of another key.
    pub fn unused(&self) -> Vec<String> {
        let mut unused = Vec::new();
        if self.output_file.is_some() && self.output == Format::None {
            unused.push("output_file is ignored: output is none".to_owned());
        }
        if self.record_raw && self.record.is_none() {
            unused.push("record_raw is ignored: record names no file".to_owned());
        }
        if self.incidents.tells() && !(self.viewer.enabled && self.incidents.watch) {
            unused.push("incidents: nobody is told, since nothing is looked for: turn viewer.enabled and incidents.watch on".to_owned());
        }
        unused.extend(self.select.unused());
        unused
    }

    /// # Errors
    /// The values that cannot be used, one a line.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::of(&self.problems())
    }

    /// The JSON Schema of a configuration file.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_sampler_comes_from_the_standard_variables() {
        let mut config = Config::default();
        let variables = |name: &str| match name {
            "OTEL_TRACES_SAMPLER" => Some("traceidratio".to_owned()),
            "OTEL_TRACES_SAMPLER_ARG" => Some("0.25".to_owned()),
            _ => None,
        };
        config.apply_environment(&variables, &[]).expect("valid");
        assert_eq!(config.sampling.sampler().threshold(), 3 << 54);
        assert!(config.check().is_ok());
        // Those of the application that is run are no reason not to run it.
        for (sampler, argument, warnings) in [
            ("often", "0.5", 1),
            ("xray", "endpoint=http://a:2000", 1),
            ("ALWAYS_ON", "endpoint=http://a:2000", 0),
            ("ParentBased_TraceIdRatio", "half", 1),
            ("traceidratio", "2", 1),
        ] {
            let mut config = Config::default();
            let variables = |name: &str| match name {
                "OTEL_TRACES_SAMPLER" => Some(sampler.to_owned()),
                "OTEL_TRACES_SAMPLER_ARG" => Some(argument.to_owned()),
                _ => None,
            };
            config.apply_environment(&variables, &[]).expect("ignored");
            assert_eq!((config.warnings.len(), config.sampling.ratio), (warnings, 1.0), "{sampler}");
        }
        config.sampling.ratio = 2.0;
        assert!(config.check().is_err());
    }

    #[test]
    fn headers_that_link_come_from_the_file_and_the_variable() {
        let mut config =
            Config::from_yaml("links:\n  headers: [xray, x-request-id]\n", &none).expect("valid");
        assert_eq!(config.links.headers, [HeaderFormat::Xray, HeaderFormat::XRequestId]);
        let variable =
            |text: &'static str| move |name: &str| (name == "TRACER_LINKS_HEADERS").then(|| text.to_owned());
        config.apply_environment(&variable("b3, jaeger"), &[]).expect("valid");
        assert_eq!(config.links.headers, [HeaderFormat::B3, HeaderFormat::Jaeger]);
        let error = config.apply_environment(&variable("b3,zipkin"), &[]).expect_err("unknown").to_string();
        assert!(error.starts_with("TRACER_LINKS_HEADERS: \"zipkin\" is not one of b3,"), "{error}");
    }

    #[test]
    fn what_is_done_with_sdks_comes_from_the_file_and_the_variable() {
        let mut config = Config::from_yaml("sdk: suppress\n", &none).expect("valid");
        assert_eq!((config.sdk, Config::default().sdk), (Sdk::Suppress, Sdk::Adopt));
        let variable = |text: &'static str| move |name: &str| (name == "TRACER_SDK").then(|| text.to_owned());
        config.apply_environment(&variable("adopt"), &[]).expect("valid");
        assert_eq!(config.sdk, Sdk::Adopt);
        let error = config.apply_environment(&variable("ignore"), &[]).expect_err("unknown").to_string();
        assert_eq!(error, "TRACER_SDK: \"ignore\" is neither adopt nor suppress");
    }

    #[test]
    fn a_file_is_read_and_what_it_leaves_out_has_its_default() {
        let text = "select:\n  include:\n    - exe: ['*/nginx']\n      service_name: edge\nexport:\n  endpoint: http://localhost:4318\n  timeout: 3s\nlimits:\n  ring: 4MiB\n";
        let config = Config::from_yaml(text, &none).expect("valid");
        assert_eq!(config.select.include[0].exe, ["*/nginx"]);
        assert_eq!(config.export.timeout, Time::from_ms(3_000));
        assert_eq!(config.limits.ring, Size(4 << 20));
        assert_eq!(config.limits.connections, Limits::default().connections);
        assert_eq!(Config::from_yaml("# nothing\n", &none).expect("valid"), Config::default());
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place_and_the_nearest_one() {
        let error = Config::from_yaml("output: text\nexport:\n  endpont: x\n", &none)
            .expect_err("unknown")
            .to_string();
        assert!(error.starts_with("3:3: "), "{error}");
        assert!(error.contains("unknown key `endpont`, did you mean `endpoint`?"), "{error}");
        let error =
            Config::from_yaml("limits:\n  exchange_timeout: soon\n", &none).expect_err("bad").to_string();
        assert!(error.contains("is not a time such as"), "{error}");
    }

    #[test]
    fn variables_are_replaced_and_cannot_add_structure() {
        let variables = |name: &str| match name {
            "HOST" => Some("http://a:4318".to_owned()),
            "EVIL" => Some("x\nlimits:\n  connections: 1".to_owned()),
            _ => None,
        };
        let read = |text: &str| Config::from_yaml(text, &variables);
        let config = read("export:\n  endpoint: ${env:HOST}/x\n").expect("valid");
        assert_eq!(config.export.endpoint.as_deref(), Some("http://a:4318/x"));
        let config = read("output_file: ${env:EVIL}\n").expect("a string");
        assert_eq!(config.output_file, Some(PathBuf::from("x\nlimits:\n  connections: 1")));
        assert_eq!(config.limits, Limits::default());
        for inside in
            ["a${env:EVIL}", "a-${env:EVIL}", "a - ${env:EVIL}", "\"${env:EVIL}\"", "{a: ${env:EVIL}"]
        {
            assert!(read(&format!("output_file: {inside}\n")).is_err(), "{inside}");
        }
        let config = read("select:\n  include:\n    - exe: [x]\n      command:\n        - ${env:EVIL}\n")
            .expect("an item");
        assert_eq!(config.select.include[0].command, ["x\nlimits:\n  connections: 1"]);
        let config = read("export:\n  endpoint: ${env:NONE:-http://d:1}\n").expect("valid");
        assert_eq!(config.export.endpoint.as_deref(), Some("http://d:1"));
        let error = read("export:\n  endpoint: ${env:NONE}\n").expect_err("unset").to_string();
        assert_eq!(error, "2:13: the environment variable NONE is not set");
        assert_eq!(read("socket: a$$b\n").expect("valid").socket, Some(PathBuf::from("a$b")));
    }

    #[test]
    fn variables_that_became_credentials_are_known() {
        let variables = |name: &str| Some(format!("of-{name}"));
        let text = "export:\n  endpoint: http://${env:USER_AT}@a:4318/${env:PATH_AT}\n  headers:\n    authorization: Bearer ${env:TOKEN}\nsocket: ${env:SOCKET}\n";
        let config = Config::from_yaml(text, &variables).expect("valid");
        assert_eq!(config.secret_variables, ["USER_AT", "TOKEN"]);
    }

    #[test]
    fn comments_are_left_alone() {
        for comment in ["# ${env:NONE}", "socket: a # ${env:NONE}", "socket: 'it''s # here' # ${env:NONE}"] {
            assert!(Config::from_yaml(comment, &none).is_ok(), "{comment}");
        }
        let error =
            Config::from_yaml("socket: \"a # ${env:NONE}\"", &none).expect_err("no comment").to_string();
        assert!(error.starts_with("1:14: "), "{error}");
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let unused = |text: &str| Config::from_yaml(text, &none).expect(text).unused();
        assert_eq!(unused("output_file: /a\nrecord_raw: true\n").len(), 2);
        let excluded = "select: {exclude: [{port: 80, service_name: a}]}\n";
        assert_eq!(
            unused(excluded),
            ["select.exclude[0].service_name is ignored: what is excluded has no name"]
        );
        assert_eq!(unused("output: text\noutput_file: /a\nrecord: /b\nrecord_raw: true\n"), [""; 0]);
        let globs = unused("select: {include: [{exe: [nginx, '*nginx', /nginx, 'ngin[x]']}]}\n");
        assert_eq!(globs.len(), 1);
        assert!(
            globs[0].starts_with("exe \"nginx\" matches no process: ") && globs[0].ends_with("'*/nginx'")
        );
    }

    #[test]
    fn one_value_stands_for_a_list_of_it_in_every_key() {
        let read = |text: &str| Config::from_yaml(text, &none).expect(text);
        let one = "select: {include: [{pid: 4, exe: '*/nginx', command: a}]}\nspans: {known_methods: GET, routes: /a, redact_query_keys: k, request_headers: x-a, response_headers: x-b}\nlinks: {headers: b3}\npropagation: {allow: 10.0.0.0/8, deny: 10.1.0.0/16, proxied_hosts: a}\n";
        let list = "select: {include: [{pid: [4], exe: ['*/nginx'], command: [a]}]}\nspans: {known_methods: [GET], routes: [/a], redact_query_keys: [k], request_headers: [x-a], response_headers: [x-b]}\nlinks: {headers: [b3]}\npropagation: {allow: [10.0.0.0/8], deny: [10.1.0.0/16], proxied_hosts: [a]}\n";
        assert_eq!(read(one), read(list));
    }

    #[test]
    fn a_configuration_survives_a_recording() {
        let mut config = Config::default();
        config.select.include.push(crate::process::selector::Rule { pid: vec![5], ..Default::default() });
        let json = serde_json::to_value(&config).expect("serializable");
        assert_eq!(serde_json::from_value::<Config>(json).expect("readable"), config);
    }
}
