//! Which processes: flags that form a rule.

#![forbid(unsafe_code)]

use std::num::{IntErrorKind, ParseIntError};

use clap::Args;

use crate::{ports::Ports, process::selector::Rule};

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

impl SelectFlags {
    /// The flags form one rule.
    pub(super) fn rule(&self) -> Option<Rule> {
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

pub(super) fn parse_pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => format!("there is no process {text}"),
        _ => "not a number".to_owned(),
    })
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
pub(super) fn all(repeats: &[Ports]) -> Ports {
    let mut ports = Ports::default();
    repeats.iter().for_each(|repeat| ports.extend(repeat));
    ports
}
