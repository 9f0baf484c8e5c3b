//! The command line: every flag with its help, and how flags change the configuration.

#![forbid(unsafe_code)]

mod ask;
mod color;
mod common;
mod compare;
mod map;
mod select;
mod side;
mod slow;
mod trace;
mod traces;
mod view;

use clap::{Parser, Subcommand};

pub use self::{
    ask::{ConfigCommand, ConfigFlags, DoctorFlags, ReplayFlags, StatusFlags},
    color::Color,
    common::CommonFlags,
    compare::CompareFlags,
    map::{MapFlags, MapFormat},
    select::SelectFlags,
    side::{SideSpec, SideText, window_between},
    slow::SlowFlags,
    trace::{AgentFlags, RunFlags, TraceFlags, WatchFlags},
    traces::{ReportFlags, SortKey, SourceFlags, TopFlags, TraceOneFlags, TracesFlags},
    view::ViewFlags,
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
  3   tracer report --fail-on-finding: something was found; tracer map --check: a difference;
      tracer compare --fail-on-worse: something became worse
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
    /// Tell what is wrong: which service became slow or fails, since when and because of what, and what would help.
    Report(ReportFlags),
    /// Tell who depends on whom: as a table, for other tools, or beside what was declared.
    Map(MapFlags),
    /// Tell what changed between two windows, two versions of a service, or two files: what became slower, fails more often,
    /// calls more, is new or gone.
    Compare(CompareFlags),
    /// Tell why some requests of an operation are slow: how they differ from the rest. Without --operation, list operations by
    /// what their slow requests lose.
    Slow(SlowFlags),
    /// Show services live: rate, errors and durations of each, and of the operations of one.
    Top(TopFlags),
    /// Check a configuration file, or print the reference or the JSON Schema of the configuration.
    Config(ConfigFlags),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::process::selector::Selection;

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
    fn an_address_that_others_reach_takes_its_token_from_a_file_or_the_environment() {
        const OTHERS: [&str; 5] = ["tracer", "--pid", "1", "--listen", "0.0.0.0:8377"];
        let token = |cli: Cli, variable: Option<&str>| {
            let variable = |name: &str| variable.filter(|_| name == "TRACER_VIEWER_TOKEN").map(str::to_owned);
            let config = cli.watch.common.configuration_in(&variable).map_err(|error| error.to_string())?;
            Ok::<_, String>(config.viewer.token)
        };
        let error = token(Cli::parse_from(OTHERS), None).expect_err("no token");
        assert!(error.starts_with("--listen: other machines can reach this address"), "{error}");
        let of_environment = "from-the-environment-24-0";
        assert_eq!(token(Cli::parse_from(OTHERS), Some(of_environment)), Ok(Some(of_environment.to_owned())));
        let error =
            token(Cli::parse_from(["tracer", "--pid", "1", "--view"]), Some("short")).expect_err("short");
        assert!(error.starts_with("TRACER_VIEWER_TOKEN: "), "{error}");

        let file = std::env::temp_dir().join(format!("tracer-token-{}", std::process::id()));
        let name = file.to_string_lossy().into_owned();
        let with_file = || Cli::parse_from(OTHERS.iter().copied().chain(["--token-file", &name]));
        let error = token(with_file(), Some(of_environment)).expect_err("no file");
        assert!(error.starts_with("--token-file: cannot read the token in "), "{error}");
        std::fs::write(&file, "short\n").expect("written");
        let error = token(with_file(), None).expect_err("short");
        assert!(error.starts_with("--token-file: "), "{error}");
        std::fs::write(&file, "from-the-file-of-length-24\n").expect("written");
        let told = token(with_file(), Some(of_environment));
        assert_eq!(told, Ok(Some("from-the-file-of-length-24".to_owned())), "the flag wins");
        std::fs::remove_file(file).expect("removed");
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
            Cli::command()
                .render_help()
                .to_string()
                .contains("\n  watch    Watch processes that run already")
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
