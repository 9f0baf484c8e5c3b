//! Commands that trace: `tracer`, `tracer watch`, `tracer agent` and `tracer run`.

#![forbid(unsafe_code)]

use std::ffi::OsString;

use clap::Args;

use super::{
    common::{CommonFlags, told_as_flags},
    select::SelectFlags,
};
use crate::{
    config::{Config, ConfigError, environment::own_variable},
    process::selector::{EXAMPLES, Rule, Selection},
};

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
