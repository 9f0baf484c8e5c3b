//! The command line: every flag with its help, and how flags change the configuration.

#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    net::SocketAddr,
    num::{IntErrorKind, ParseIntError},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::{Config, ConfigError, environment::own_variable},
    log::{self, Level, LogFormat},
    ports::Ports,
    problem::Problem,
    process::selector::{EXAMPLES, Rule, Selection},
    propagate::{Host, Mode},
    sink::{
        otlp::OtlpProtocol,
        terminal::{Destination, Format},
    },
    units::{Size, Time},
};

/// What `--help` ends with.
const AFTER_HELP: &str = "\
Examples:
  tracer run -- python3 app.py             start a program and trace it and its children
  tracer --port 8080                       trace whoever listens on port 8080, until Ctrl-C
  tracer --exe '*/nginx' --output json     a JSON object for each exchange of every nginx
  tracer agent --config /etc/tracer.yaml   the daemon

Exit codes:
  0   fine (tracer run: the exit status of COMMAND)
  1   failure
  2   wrong usage or configuration
  77  the kernel or the privileges do not allow it: see `tracer doctor`
  126, 127  tracer run: COMMAND cannot be run, or is not there";

/// Traces HTTP services with eBPF: spans of unmodified programs, without a restart or a change.
#[derive(Debug, Parser)]
#[command(name = "tracer", version = version(), after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    /// What to do; without one, `watch`.
    pub command: Option<Command>,
    #[command(flatten)]
    /// Flags of the watch.
    pub watch: TraceFlags,
}

/// What the binary is, in `--version`.
fn version() -> &'static str {
    if crate::kernel::has_object() {
        concat!(env!("CARGO_PKG_VERSION"), " (with kernel programs)")
    } else {
        concat!(env!("CARGO_PKG_VERSION"), " (built without kernel programs)")
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a program and trace it and its descendants, from the first request on.
    Run(RunFlags),
    /// Watch processes that run already, until Ctrl-C: `tracer` alone does the same.
    Watch(WatchFlags),
    /// Run as a daemon, by a configuration file.
    Agent(AgentFlags),
    /// Tell what this kernel and these privileges allow; with --pid, why a process is not traced.
    Doctor(DoctorFlags),
    /// Ask the running agent what it traces, what it has seen and what it has lost.
    Status(StatusFlags),
    /// Make spans from a recording: needs neither privileges nor a kernel.
    Replay(ReplayFlags),
    /// Show traces on a page: those that come by OTLP, or those of files. Needs no privileges.
    View(ViewFlags),
    /// List traces of a running agent or viewer, or of a store: the newest, the slowest, those with errors, or those
    /// that a query finds.
    Traces(TracesFlags),
    /// Draw one trace: its spans as bars over its time.
    Trace(TraceOneFlags),
    /// Show services live: rate, errors and durations of each, and of the operations of one.
    Top(TopFlags),
    /// Check a configuration file, or print the reference or the JSON Schema of the configuration.
    Config(ConfigFlags),
}

/// Which processes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which processes (kinds are ANDed, repeats of a kind ORed)")]
pub struct SelectFlags {
    /// A process, by its id.
    #[arg(long, value_name = "N", value_parser = parse_pid)]
    pub pid: Vec<u32>,
    /// Whoever listens on this TCP port: 8080, 8080-8090, or 80,443.
    #[arg(long, value_name = "PORTS")]
    pub port: Vec<Ports>,
    /// By the whole path of the executable: '*/nginx', /usr/bin/python3*.
    #[arg(long, value_name = "GLOB")]
    pub exe: Vec<String>,
    /// By the whole command line, arguments joined by spaces: '*gunicorn*shop*'.
    #[arg(long, value_name = "GLOB")]
    pub command: Vec<String>,
    /// Leave these out: pid=N, port=PORTS, exe=GLOB or command=GLOB.
    #[arg(long, value_name = "KIND=VALUE", value_parser = parse_exclude)]
    pub exclude: Vec<Rule>,
    /// service.name of the selected processes.
    #[arg(long, value_name = "NAME")]
    pub service_name: Option<String>,
}

/// How to trace.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "How to trace")]
pub struct CommonFlags {
    /// What is written: text (a line for each exchange), tree (each finished trace as a picture, its spans
    /// as bars over its time), json, otlp-json or none [default: tree on a terminal, else text; none for
    /// tracer agent].
    #[arg(long, value_name = "FORM")]
    pub output: Option<Format>,
    /// Write the output to a file.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Colours in the output: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Send spans by OTLP to this address, such as http://localhost:4318.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// http/protobuf, grpc or http/json.
    #[arg(long, value_name = "PROTOCOL")]
    pub otlp_protocol: Option<OtlpProtocol>,
    /// Add trace headers to the HTTP/1 requests that traced processes send: off or headers.
    #[arg(long, value_name = "WHAT")]
    pub propagation: Option<Mode>,
    /// Ports that speak HTTP/1 from the first connection on, besides those of the configuration: 9090, 9000-9090,
    /// or 80,9090.
    #[arg(long, value_name = "PORTS")]
    pub propagation_http_ports: Vec<Ports>,
    /// A host that requests to a forward proxy may name in their target and still get a header, besides those of the
    /// configuration: HOST or HOST:PORT.
    #[arg(long, value_name = "HOST")]
    pub propagation_proxied_hosts: Vec<Host>,
    /// Keep what was learned of programs in this directory, for the next start [default: $STATE_DIRECTORY, else
    /// /var/lib/tracer if it is there, for tracer agent; none for the other commands].
    #[arg(long, value_name = "DIR", value_parser = may_be_empty)]
    pub state_directory: Option<PathBuf>,
    /// Record the stream of kernel events, for `tracer replay`.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Record every byte: credentials, bodies, and protocols that are not decoded.
    #[arg(long, requires = "record")]
    pub record_raw: bool,
    /// off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<Level>,
    /// text or json.
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<LogFormat>,
    /// Answer `tracer status` on this Unix socket.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Read a configuration file first.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Show the traces on a page, by default at http://127.0.0.1:8377.
    #[arg(long, help_heading = "The viewer")]
    pub view: bool,
    /// Address of the page; implies --view. One that other machines can reach needs a token (viewer.token).
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "The viewer")]
    pub listen: Option<SocketAddr>,
    /// Keep the traces in this directory over a restart; implies --view.
    #[arg(long, value_name = "DIR", help_heading = "The viewer")]
    pub store: Option<PathBuf>,
}

/// Flags of the watch.
#[derive(Clone, Debug, Default, Args)]
pub struct TraceFlags {
    #[command(flatten)]
    /// Which processes.
    pub select: SelectFlags,
    #[command(flatten)]
    /// How.
    pub common: CommonFlags,
}

/// Flags of `tracer run`.
#[derive(Clone, Debug, Args)]
pub struct RunFlags {
    #[command(flatten)]
    /// How.
    pub common: CommonFlags,
    /// service.name of the program.
    #[arg(long, value_name = "NAME", help_heading = "The program")]
    pub service_name: Option<String>,
    /// Run the program as this user, by name or number, optionally with a group (USER:GROUP); under sudo it is the
    /// caller.
    #[arg(long, value_name = "USER", help_heading = "The program")]
    pub user: Option<String>,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Flags of `tracer watch`.
#[derive(Clone, Debug, Args)]
pub struct WatchFlags {
    #[command(flatten)]
    /// How and which.
    pub trace: TraceFlags,
}

/// Flags of `tracer agent`.
#[derive(Clone, Debug, Args)]
pub struct AgentFlags {
    #[command(flatten)]
    /// How and which.
    pub trace: TraceFlags,
}

/// Flags of `tracer doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorFlags {
    /// Why is this process not traced?
    #[arg(long, value_name = "N", value_parser = parse_pid)]
    pub pid: Option<u32>,
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Socket of the running agent.
    #[arg(long, value_name = "PATH", default_value_os_t = crate::agent::status::usual_socket())]
    pub socket: PathBuf,
}

/// Flags of `tracer status`.
#[derive(Clone, Debug, Args)]
pub struct StatusFlags {
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Socket of the running agent.
    #[arg(long, value_name = "PATH", default_value_os_t = crate::agent::status::usual_socket())]
    pub socket: PathBuf,
}

/// Flags of `tracer replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayFlags {
    /// The recording.
    pub file: PathBuf,
    /// text, tree, json, otlp-json or none [default: tree on a terminal, else text].
    #[arg(long, value_name = "FORM")]
    pub output: Option<Format>,
    /// Write the output to a file.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Colours in the output: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// Flags of `tracer view`.
#[derive(Clone, Debug, Args)]
pub struct ViewFlags {
    /// Saved traces: OTLP as JSON (one request a line, as `tracer --output otlp-json` writes it), Jaeger's JSON, either
    /// compressed by gzip or zstd, or recordings of tracer. Without files, traces are taken by OTLP.
    pub files: Vec<PathBuf>,
    /// Address of the page. One that other machines can reach needs a token.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = tracer_viewer::DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// Address where OTLP over gRPC is taken [default: 127.0.0.1:4317; none with files].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub otlp_grpc: Option<SocketAddr>,
    /// Address where OTLP over HTTP is taken [default: 127.0.0.1:4318; none with files].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub otlp_http: Option<SocketAddr>,
    /// Keep the traces in this directory over a restart; in memory only without it.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Memory that traces may take: the oldest go first.
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub memory: Size,
    /// File with the token that browsers have to know, and senders to addresses that other machines can reach (or set
    /// TRACER_VIEWER_TOKEN).
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate chain in PEM: the page is served by TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// A name by which browsers reach the page, besides localhost and its address.
    #[arg(long, value_name = "NAME")]
    pub host_name: Vec<String>,
    /// Path with which a reverse proxy passes requests on, such as /traces.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub path_prefix: String,
}

/// Where a terminal's command reads.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Where the traces are")]
pub struct SourceFlags {
    /// A viewer, by the address of its page: of `tracer agent --view`, `tracer run --view` or `tracer view`
    /// [default: http://127.0.0.1:8377].
    #[arg(long, value_name = "URL", conflicts_with = "store")]
    pub url: Option<String>,
    /// File with the token of the viewer (or set TRACER_VIEWER_TOKEN).
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    pub token_file: Option<PathBuf>,
    /// A store that no agent or viewer uses now, by its directory.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// Flags of `tracer traces`.
#[derive(Clone, Debug, Args)]
pub struct TracesFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// The slowest first; the newest without it.
    #[arg(long)]
    pub slow: bool,
    /// Only those with an error, of a span that meets the query.
    #[arg(long)]
    pub error: bool,
    /// Only those of the last time: 30s, 15m, 1h.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Time>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// A JSON object for each, on a line of its own.
    #[arg(long)]
    pub json: bool,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Words that one span of a trace must meet, as on the page: service:shop, 'duration>100ms', http.route=/orders,
    /// or text of a name. Those that begin with - (not) stand behind --.
    pub query: Vec<String>,
}

/// Flags of `tracer trace`.
#[derive(Clone, Debug, Args)]
pub struct TraceOneFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// What the page is told of the trace, as one JSON object: its spans laid out, with their own time and the
    /// critical path.
    #[arg(long, conflicts_with = "otlp_json")]
    pub json: bool,
    /// The spans as one OTLP request in JSON, on one line.
    #[arg(long)]
    pub otlp_json: bool,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Id of the trace, or how it begins: 8 digits at least.
    pub id: String,
}

/// Flags of `tracer top`.
#[derive(Clone, Debug, Args)]
pub struct TopFlags {
    #[command(flatten)]
    /// Where from.
    pub source: SourceFlags,
    /// The time that the numbers are of, up to now.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_window)]
    pub window: Time,
    /// What comes first: rate, errors, p50, p95, p99 or name.
    #[arg(long, value_name = "WHAT", default_value = "rate")]
    pub sort: SortKey,
    /// Print one JSON object, and end.
    #[arg(long)]
    pub json: bool,
    /// Colours: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Begin with the operations of this service.
    pub service: Option<String>,
}

/// By what services and operations are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    /// Most requests a second first.
    #[default]
    Rate,
    /// Most of a hundred with an error first.
    Errors,
    /// Longest median first.
    P50,
    /// Longest 95th percentile first.
    P95,
    /// Longest 99th percentile first.
    P99,
    /// By name.
    Name,
}

/// Flags of `tracer config`.
#[derive(Clone, Debug, Args)]
pub struct ConfigFlags {
    #[command(subcommand)]
    /// What to do.
    pub command: ConfigCommand,
}

/// A path, or nothing.
fn may_be_empty(path: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(PathBuf::from(path))
}

/// What `tracer config` does.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file: exit code 0, or 2 with its errors, 64 at most. An error of the YAML syntax, a key
    /// that stands twice and an error by an alias are told alone.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print the reference, as Markdown.
    Reference,
    /// Print the JSON Schema.
    Schema,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to use them there.
    pub fn resolve(self, destination: &Destination) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                destination.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        }
    }
}

fn parse_pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => format!("there is no process {text}"),
        _ => "not a number".to_owned(),
    })
}

fn parse_window(text: &str) -> Result<Time, String> {
    let time: Time = text.parse()?;
    if time.as_ns() == 0 { Err("give a time such as 30s, 1m or 1h".to_owned()) } else { Ok(time) }
}

fn parse_exclude(text: &str) -> Result<Rule, String> {
    let (kind, value) = text.split_once('=').ok_or("use KIND=VALUE, such as exe=*/curl")?;
    let number = || parse_pid(value).map_err(|error| format!("{value:?}: {error}"));
    let mut rule = Rule::default();
    match kind {
        "pid" => rule.pid.push(number()?),
        "port" => rule.port = value.parse()?,
        "exe" => rule.exe.push(value.to_owned()),
        "command" => rule.command.push(value.to_owned()),
        other => return Err(format!("{other:?} is not one of pid, port, exe, command")),
    }
    Ok(rule)
}

/// The ports of all repeats of a flag.
fn all(repeats: &[Ports]) -> Ports {
    let mut ports = Ports::default();
    repeats.iter().for_each(|repeat| ports.extend(repeat));
    ports
}

/// Problems of what flags have set, told with the names of the flags.
fn told_as_flags(problems: &[Problem]) -> Result<(), ConfigError> {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| match flag_of(&problem.key) {
            Some(flag) => format!("{flag}: {}", problem.message),
            None => problem.to_string(),
        })
        .collect();
    if lines.is_empty() { Ok(()) } else { Err(ConfigError(lines.join("\n"))) }
}

/// The flag that sets a key of the configuration; of `select` the kind decides.
fn flag_of(key: &str) -> Option<&'static str> {
    if key.starts_with("select.exclude[") {
        return Some("--exclude");
    }
    let kind = key.strip_prefix("select.include[").and_then(|rest| rest.split('.').nth(1));
    Some(match kind.map_or(key, |kind| kind.split('[').next().unwrap_or(kind)) {
        "pid" => "--pid",
        "port" => "--port",
        "exe" => "--exe",
        "command" => "--command",
        "service_name" => "--service-name",
        "output" => "--output",
        "output_file" => "--output-file",
        "export.endpoint" | "export.traces_endpoint" => "--otlp-endpoint",
        "export.protocol" => "--otlp-protocol",
        "propagation.mode" => "--propagation",
        "record" => "--record",
        "state_directory" => "--state-directory",
        "socket" => "--socket",
        "viewer.listen" => "--listen",
        "log.level" => "--log-level",
        "log.format" => "--log-format",
        _ => return None,
    })
}

impl RunFlags {
    /// The configuration, whose selectors are left out.
    ///
    /// # Errors
    /// As [`CommonFlags::configuration`]; the name of the service is empty.
    pub fn configuration(&self) -> Result<Config, ConfigError> {
        let mut config = self.common.configuration()?;
        if config.select != Selection::default() {
            let warning = "select is ignored: `tracer run` traces COMMAND and its descendants";
            config.warnings.push(warning.to_owned());
            config.select = Selection::default();
        }
        told_as_flags(
            &Selection { include: vec![self.rule(std::process::id())], ..Selection::default() }.problems(),
        )?;
        Ok(config)
    }

    /// The rule that selects the program, which is this process. The rule gives the name; children and programs that it
    /// executes are selected by descent.
    pub fn rule(&self, pid: u32) -> Rule {
        Rule { pid: vec![pid], service_name: self.service_name.clone(), ..Rule::default() }
    }
}

impl SelectFlags {
    /// The flags form one rule.
    fn rule(&self) -> Option<Rule> {
        let any =
            !(self.pid.is_empty() && self.port.is_empty() && self.exe.is_empty() && self.command.is_empty());
        any.then(|| Rule {
            pid: self.pid.clone(),
            port: all(&self.port),
            exe: self.exe.clone(),
            command: self.command.clone(),
            service_name: self.service_name.clone(),
        })
    }
}

impl CommonFlags {
    /// The configuration: file, then environment, then these flags.
    ///
    /// # Errors
    /// The file, a flag or a variable of ours makes no sense.
    pub fn configuration(&self) -> Result<Config, ConfigError> {
        self.configuration_in(&own_variable)
    }

    fn configuration_in(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let read = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::from_file);
        // The file has said it, and the flag wins.
        if let Some(format) = self.log_format {
            log::set_format(format);
        }
        let mut config = read?;
        let flagged = self.apply(&mut config);
        log::set_format(config.log.format);
        // Those of the file were told before.
        told_as_flags(&config.problems())?;
        config.apply_environment(variable, &flagged)?;
        Ok(config)
    }

    /// Sets the keys that flags set, and returns them.
    fn apply(&self, config: &mut Config) -> Vec<&'static str> {
        let mut flagged = Vec::new();
        if let Some(output) = self.output {
            config.output = output;
            flagged.push("output");
        }
        if let Some(endpoint) = &self.otlp_endpoint {
            config.export.endpoint = Some(endpoint.clone());
            config.export.traces_endpoint = None;
            config.export.disabled = false;
            flagged.extend(["export.endpoint", "export.traces_endpoint", "export.disabled"]);
        }
        if let Some(protocol) = self.otlp_protocol {
            config.export.protocol = protocol;
            flagged.push("export.protocol");
        }
        let paths = [
            ("output_file", &self.output_file, &mut config.output_file),
            ("record", &self.record, &mut config.record),
            ("state_directory", &self.state_directory, &mut config.state_directory),
            ("socket", &self.socket, &mut config.socket),
        ];
        for (key, flag, field) in paths {
            if flag.is_some() {
                field.clone_from(flag);
                flagged.push(key);
            }
        }
        if let Some(listen) = self.listen {
            config.viewer.listen = listen;
            flagged.push("viewer.listen");
        }
        if self.store.is_some() {
            config.viewer.store.clone_from(&self.store);
            flagged.push("viewer.store");
        }
        config.viewer.enabled |= self.view || self.listen.is_some() || self.store.is_some();
        if self.propagation.is_some() {
            config.propagation.mode = self.propagation;
            flagged.push("propagation.mode");
        }
        config.propagation.proxied_hosts.extend(self.propagation_proxied_hosts.iter().cloned());
        config.propagation.http_ports.extend(&all(&self.propagation_http_ports));
        config.record_raw |= self.record_raw;
        if let Some(level) = self.log_level {
            config.log.level = level;
            flagged.push("log.level");
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
            flagged.push("log.format");
        }
        flagged
    }
}

impl TraceFlags {
    /// The configuration with the selectors of the flags.
    ///
    /// # Errors
    /// As [`CommonFlags::configuration`]; no process is named.
    pub fn configuration(&self) -> Result<Config, ConfigError> {
        let mut config = self.common.configuration()?;
        config.warn_of_own_identity(&own_variable);
        let flags = Selection {
            include: self.select.rule().into_iter().collect(),
            exclude: self.select.exclude.clone(),
        };
        told_as_flags(&flags.problems())?;
        if flags.include.is_empty() && self.select.service_name.is_some() {
            let warning = "--service-name is ignored: it needs --pid, --port, --exe or --command";
            config.warnings.push(warning.to_owned());
        }
        config.select.include.extend(flags.include);
        config.select.exclude.extend(flags.exclude);
        if config.select.include.is_empty() {
            return Err(ConfigError(EXAMPLES.to_owned()));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_form_one_rule() {
        let cli =
            Cli::parse_from(["tracer", "--exe", "*/a", "--exe", "*/b", "--port", "80", "--exclude", "pid=7"]);
        let config = cli.watch.configuration().expect("valid");
        assert_eq!(config.select.include.len(), 1);
        assert_eq!(config.select.include[0].exe, ["*/a", "*/b"]);
        assert_eq!(config.select.include[0].port, [80].into());
        assert_eq!(config.select.exclude[0].pid, [7]);
    }

    #[test]
    fn flags_win_over_the_environment() {
        let Cli { watch, .. } = Cli::parse_from(["tracer", "--pid", "1", "--otlp-endpoint", "http://flag"]);
        let variable = |name: &str| match name {
            "OTEL_TRACES_EXPORTER" => Some("none".to_owned()),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => Some("http://variable".to_owned()),
            _ => None,
        };
        let config = watch.common.configuration_in(&variable).expect("valid");
        let address = config.export.address().expect("valid").map(|address| address.to_string());
        assert_eq!(address.as_deref(), Some("http://flag/v1/traces"));
        assert_eq!(config.export.why_not(), None);
    }

    #[test]
    fn ports_are_one_a_range_or_a_list_in_every_flag() {
        let cli = Cli::parse_from([
            "tracer",
            "--port",
            "8080-8082",
            "--port",
            "80,443",
            "--exclude",
            "port=9000-9001",
            "--propagation-http-ports",
            "9090,9100-9101",
        ]);
        let config = cli.watch.configuration().expect("valid");
        assert_eq!(config.select.include[0].port.iter().collect::<Vec<_>>(), [8080, 8081, 8082, 80, 443]);
        assert_eq!(config.select.exclude[0].port.iter().collect::<Vec<_>>(), [9000, 9001]);
        let http = &config.propagation.http_ports;
        assert!([80, 9090, 9100, 9101].into_iter().all(|port| http.contains(port)) && !http.contains(9091));
        for wrong in ["70000", "0", "abc", "90-80", ""] {
            let parsed = Cli::try_parse_from(["tracer", "--port", wrong]);
            let error = parsed.expect_err("no port").to_string();
            let allowed =
                "allowed is a port from 1 to 65535, a range such as 8080-8090, or a list such as 80,443\n";
            assert!(error.contains(allowed), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_is_told_with_its_flag() {
        for (arguments, start) in [
            (&["--port", "abc"][..], "error: invalid value 'abc' for '--port <PORTS>': "),
            (&["--exclude", "port=abc"], "error: invalid value 'port=abc' for '--exclude <KIND=VALUE>': "),
            (&["--pid", "abc"], "error: invalid value 'abc' for '--pid <N>': not a number\n"),
            (
                &["--pid", "99999999999"],
                "error: invalid value '99999999999' for '--pid <N>': there is no process",
            ),
            (&["--pid", "0"], "--pid: there is no process 0"),
            (&["--exe", "*/a", "--exe", "[x"], "--exe: \"[x\": "),
            (&["--command", "[x"], "--command: \"[x\": "),
            (&["--exclude", "exe=[x"], "--exclude: \"[x\": "),
            (&["--pid", "1", "--service-name", ""], "--service-name: the name is empty"),
            (&["--pid", "1", "--otlp-endpoint", "https://a"], "--otlp-endpoint: \"https://a\": TLS"),
        ] {
            let parsed = Cli::try_parse_from(["tracer"].iter().chain(arguments));
            let error = match parsed {
                Err(error) => error.to_string(),
                Ok(cli) => cli.watch.configuration().expect_err("wrong").to_string(),
            };
            assert!(error.starts_with(start), "{arguments:?}: {error}");
        }
        let cli = Cli::parse_from(["tracer", "run", "--service-name", " ", "--", "true"]);
        let Some(Command::Run(flags)) = cli.command else { panic!("a run") };
        let error = flags.configuration().expect_err("wrong").to_string();
        assert!(error.starts_with("--service-name: the name is empty"), "{error}");
    }

    #[test]
    fn what_a_command_does_not_use_of_the_configuration_is_told() {
        let file = std::env::temp_dir().join(format!("tracer-unused-{}.yaml", std::process::id()));
        std::fs::write(&file, "select: {include: [{port: 80}]}\n").expect("written");
        let name = file.to_string_lossy();
        let cli = Cli::parse_from(["tracer", "run", "--config", &name, "--", "true"]);
        let Some(Command::Run(flags)) = cli.command else { panic!("a run") };
        let config = flags.configuration().expect("valid");
        assert!(config.warnings.iter().any(|warning| warning.starts_with("select is ignored: ")));
        assert_eq!(config.select, Selection::default());
        let cli = Cli::parse_from(["tracer", "--config", &name, "--service-name", "a"]);
        let config = cli.watch.configuration().expect("valid");
        assert!(config.warnings.iter().any(|warning| warning.starts_with("--service-name is ignored: ")));
        std::fs::remove_file(file).expect("removed");
    }

    #[test]
    fn the_watch_has_a_name_in_the_help() {
        assert!(
            Cli::command().render_help().to_string().contains("\n  watch   Watch processes that run already")
        );
        let cli = Cli::parse_from(["tracer", "watch", "--pid", "7"]);
        let Some(Command::Watch(flags)) = cli.command else { panic!("a watch") };
        assert_eq!(flags.trace.configuration().expect("valid").select.include[0].pid, [7]);
    }

    #[test]
    fn a_selector_is_required() {
        let cli = Cli::parse_from(["tracer", "agent"]);
        let Some(Command::Agent(flags)) = cli.command else { panic!("an agent") };
        let error = flags.trace.configuration().expect_err("no selector").to_string();
        assert_eq!(error.matches("\n  tracer ").count(), 4, "{error}");
    }
}
