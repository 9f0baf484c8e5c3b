//! How to trace: flags of every command that traces, and how they change the configuration.

#![forbid(unsafe_code)]

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use tracer_viewer::Token;

use super::{color::Color, select::all};
use crate::{
    config::{Config, ConfigError, environment::own_variable, token_in},
    log::{self, Level, LogFormat},
    ports::Ports,
    problem::Problem,
    propagate::{Host, Mode},
    sink::{otlp::OtlpProtocol, terminal::Format},
};

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
    /// Address of the page; implies --view. One that other machines can reach needs a token (--token-file).
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "The viewer")]
    pub listen: Option<SocketAddr>,
    /// File with the token, of 24 characters or more, that browsers have to know (or set TRACER_VIEWER_TOKEN).
    #[arg(long, value_name = "FILE", help_heading = "The viewer")]
    pub token_file: Option<PathBuf>,
    /// Keep the traces in this directory over a restart; implies --view.
    #[arg(long, value_name = "DIR", help_heading = "The viewer")]
    pub store: Option<PathBuf>,
}

impl CommonFlags {
    /// The configuration: file, then environment, then these flags.
    ///
    /// # Errors
    /// The file, a flag or a variable of ours makes no sense.
    pub fn configuration(&self) -> Result<Config, ConfigError> {
        self.configuration_in(&own_variable)
    }

    pub(super) fn configuration_in(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let read = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::from_file);
        // The file has said it, and the flag wins.
        if let Some(format) = self.log_format {
            log::set_format(format);
        }
        let mut config = read?;
        let mut flagged = self.apply(&mut config);
        flagged.extend(self.apply_token(&mut config, variable)?);
        log::set_format(config.log.format);
        // Those of the file were told before.
        told_as_flags(&config.problems())?;
        config.apply_environment(variable, &flagged)?;
        Ok(config)
    }

    /// Sets the token, and returns its key if the flag has set it. An address may need the token: that of the environment
    /// counts before the address is judged. One that cannot be used is told later, with the variable.
    fn apply_token(
        &self,
        config: &mut Config,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<&'static str>, ConfigError> {
        if let Some(path) = &self.token_file {
            let token = token_in(path).map_err(|message| ConfigError(format!("--token-file: {message}")))?;
            config.viewer.token = Some(token);
            return Ok(Some("viewer.token"));
        }
        let token = variable("TRACER_VIEWER_TOKEN").map(|token| token.trim().to_owned());
        if let Some(token) = token.filter(|token| Token::new(token).is_ok()) {
            config.viewer.token = Some(token);
        }
        Ok(None)
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

/// A path, or nothing.
fn may_be_empty(path: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(PathBuf::from(path))
}

/// Problems of what flags have set, told with the names of the flags.
pub(super) fn told_as_flags(problems: &[Problem]) -> Result<(), ConfigError> {
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
        "viewer.token" => "--token-file",
        "log.level" => "--log-level",
        "log.format" => "--log-format",
        _ => return None,
    })
}
