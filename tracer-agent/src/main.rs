//! The `tracer` command.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use tracer_agent::{
    agent::{
        self, Agent, Options, StartError, signals,
        status::{self, DEFAULT_SOCKET, Server},
    },
    cli::{
        Cli, Command, CommonFlags, ConfigOutput, DoctorFlags, ReplayFlags, RunFlags, StatusFlags, TraceFlags,
    },
    config::Config,
    doctor,
    kernel::{Kernel, Plan, Taken, propagation::PropagationPlan, taken},
    log,
    process::{facts::Proc, launch, selector::Rule},
    propagate::Mode,
    reference,
    sink::terminal::{Destination, Format},
};

/// Exit codes: see `--help`.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const UNSUPPORTED: u8 = 77;

/// What a command came to: the code to exit with, or an error to show first.
type Outcome = Result<ExitCode, Failure>;

struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn new(code: u8, message: impl ToString) -> Self {
        Self { message: message.to_string(), code }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match error {
            StartError::Unsupported(_) => UNSUPPORTED,
            StartError::Config(_) => USAGE,
            StartError::Other(_) => FAILURE,
        };
        Self::new(code, error)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        None => watch(&cli.watch, false),
        Some(Command::Agent(flags)) => watch(&flags.trace, true),
        Some(Command::Run(flags)) => run(flags),
        Some(Command::Doctor(flags)) => doctor(flags),
        Some(Command::Status(flags)) => show_status(flags),
        Some(Command::Replay(flags)) => replay(flags),
        Some(Command::Config(flags)) => {
            print_all(&match flags.what {
                ConfigOutput::Reference => reference::markdown(),
                ConfigOutput::Schema => reference::schema(),
            });
            Ok(ExitCode::SUCCESS)
        }
    };
    log::finish();
    outcome.unwrap_or_else(|Failure { message, code }| {
        eprintln!("tracer: {message}");
        ExitCode::from(code)
    })
}

/// Writes to standard output; a reader that has gone away is no error.
fn print_all(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Watches processes until a signal; in the foreground also until the last of those that pids named has
/// ended.
fn watch(flags: &TraceFlags, daemon: bool) -> Outcome {
    let mut config = flags.configuration().map_err(|error| Failure::new(USAGE, error))?;
    let destination = Destination::new(config.output_file.as_deref(), false);
    if !daemon && flags.common.output.is_none() && config.output == Format::None {
        config.output = Format::for_people(&destination);
    }
    if daemon && config.socket.is_none() {
        config.socket = Some(DEFAULT_SOCKET.into());
    }
    let only_pids = config.select.include.iter().all(|rule| !rule.pid.is_empty());
    let agent = start(config.clone(), &flags.common, &destination, Mode::Off)?;
    let _server = serve_status(&config, &agent, daemon)?;
    if daemon {
        signals::notify_ready();
    }
    while !signals::received() && !agent.output_closed() {
        if only_pids && !daemon && agent.targets_alive() == 0 {
            tracing::info!("the last process that was named has ended");
            break;
        }
        signals::wait(Duration::from_millis(200));
    }
    finish(agent)
}

/// Starts a program and traces it until its last descendant has ended.
fn run(flags: &RunFlags) -> Outcome {
    let mut config = flags.common.configuration().map_err(|error| Failure::new(USAGE, error))?;
    let destination = Destination::new(config.output_file.as_deref(), true);
    if flags.common.output.is_none() && config.output == Format::None {
        config.output = Format::for_people(&destination);
    }
    let mut launched = launch::launch(&flags.command, flags.user.as_deref())
        .map_err(|error| Failure::new(u8::try_from(error.exit_code()).unwrap_or(FAILURE), error))?;
    // The rule gives the name; children and programs that it executes are selected by descent.
    config.select.include =
        vec![Rule { pid: vec![launched.pid()], service_name: flags.service_name.clone(), ..Rule::default() }];
    let agent = start(config.clone(), &flags.common, &destination, Mode::Headers)?;
    let _server = serve_status(&config, &agent, false)?;
    signals::relay();
    launched
        .release()
        .map_err(|error| Failure::new(u8::try_from(error.exit_code()).unwrap_or(FAILURE), error))?;
    let status = loop {
        if let Some(status) = launched.poll() {
            break status;
        }
        while let Some(signal) = signals::take() {
            launched.signal(signal);
        }
        signals::wait(Duration::from_millis(20));
    };
    signals::stop_relaying();
    finish(agent)?;
    Ok(ExitCode::from(u8::try_from(status.0).unwrap_or(FAILURE)))
}

/// Starts the agent; `headers` says what happens to trace headers if nobody has said it.
fn start(
    mut config: Config,
    flags: &CommonFlags,
    destination: &Destination,
    headers: Mode,
) -> Result<Agent, Failure> {
    let headers_are_optional = config.propagation.mode.is_none();
    config.propagation.mode.get_or_insert(headers);
    log::start(&config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    signals::install();
    let out = destination
        .open()
        .map_err(|error| Failure::new(FAILURE, format!("cannot write the output: {error}")))?;
    let exports = config.export.endpoint().is_ok_and(|endpoint| endpoint.is_some());
    let style = destination.style(flags.color.resolve(destination));
    let summary = config.output.is_for_people();
    let agent = Agent::start(Options { config, out, style, summary, headers_are_optional })?;
    if !exports {
        tracing::info!("no OTLP endpoint is configured: spans are not exported");
    }
    Ok(agent)
}

fn serve_status(config: &Config, agent: &Agent, needed: bool) -> Result<Option<Server>, Failure> {
    let Some(path) = &config.socket else { return Ok(None) };
    match Server::start(path, agent.status()) {
        Ok(server) => Ok(Some(server)),
        Err(error) if needed => {
            Err(Failure::new(FAILURE, format!("cannot answer on {}: {error}", path.display())))
        }
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "`tracer status` will not work");
            Ok(None)
        }
    }
}

fn finish(agent: Agent) -> Outcome {
    let status = agent.stop();
    if let Some(export) = status.export
        && export.sent < export.queued
    {
        let left = export.queued - export.sent;
        tracing::warn!(
            queued = export.queued,
            sent = export.sent,
            left,
            last_error = export.last_error,
            "not every span was delivered"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn doctor(flags: &DoctorFlags) -> Outcome {
    if let Some(pid) = flags.pid {
        let agent = status::ask(&flags.socket).ok();
        let lines = doctor::explain(pid, &Proc::default(), agent.as_ref());
        print_all(&if flags.json {
            format!("{}\n", serde_json::json!({ "pid": pid, "lines": lines }))
        } else {
            lines.join("\n") + "\n"
        });
        return Ok(ExitCode::SUCCESS);
    }
    let environment = doctor::Environment { root: "/".into(), probe: Some(probe) };
    let findings = doctor::check(&environment);
    print_all(&if flags.json {
        format!("{}\n", serde_json::to_string_pretty(&findings).unwrap_or_default())
    } else {
        doctor::text(&findings)
    });
    let works = findings.iter().all(|finding| finding.verdict != doctor::Verdict::Missing);
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::from(UNSUPPORTED) })
}

/// Loads and attaches the kernel programs with nothing selected, and lets them go.
fn probe() -> Result<doctor::Probe, String> {
    let selectors = tracer_agent::process::selector::Selectors::default();
    let mut plan = tracer_agent::process::discovery::plan(&selectors, 1 << 16);
    let load = |plan: &Plan| -> Result<Taken, String> {
        Kernel::load(plan).map(|kernel| taken(&kernel)).map_err(|error| error.to_string())
    };
    let programs = load(&plan)?;
    plan.propagation = Some(PropagationPlan::default());
    Ok(doctor::Probe { programs, with_headers: load(&plan) })
}

fn show_status(flags: &StatusFlags) -> Outcome {
    let status = status::ask(&flags.socket).map_err(|error| {
        let path = flags.socket.display();
        Failure::new(
            FAILURE,
            format!("no agent answers on {path}: {error}; is it running, and are you its user?"),
        )
    })?;
    print_all(&if flags.json {
        format!("{}\n", serde_json::to_string_pretty(&status).unwrap_or_default())
    } else {
        status.to_string()
    });
    Ok(ExitCode::SUCCESS)
}

fn replay(flags: &ReplayFlags) -> Outcome {
    let destination = Destination::new(flags.output_file.as_deref(), false);
    let out = destination
        .open()
        .map_err(|error| Failure::new(FAILURE, format!("cannot write the output: {error}")))?;
    let format = flags.output.unwrap_or_else(|| Format::for_people(&destination));
    let style = destination.style(flags.color.resolve(&destination));
    agent::replay(&flags.file, format, out, style).map_err(|error| Failure::new(FAILURE, error))?;
    Ok(ExitCode::SUCCESS)
}
