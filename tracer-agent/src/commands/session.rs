//! A running agent, from its start to its end: shared by `tracer`, `tracer agent` and `tracer run`.

#![forbid(unsafe_code)]

use std::{
    io::{self, IsTerminal},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use tracer_store::Store;
use tracer_viewer::Running;

use super::{
    distinct,
    flags::CommonFlags,
    outcome::{CommandOutcome, FAILURE, Failure},
};
use crate::{
    agent::{
        Agent, Ended, Options, signals,
        status::{self, Server},
    },
    config::Config,
    kernel::Switches,
    log::{self, EVERY_LINE},
    propagate::Mode,
    sink::terminal::Destination,
    viewer,
};

/// Starts the agent; `headers` says what happens to trace headers if nobody has said it.
pub(super) fn start(
    mut config: Config,
    flags: &CommonFlags,
    destination: &Destination,
    headers: Mode,
    switches: &Switches,
    store: Option<Arc<Store>>,
) -> Result<Agent, Failure> {
    let headers_are_optional = config.propagation.mode.is_none();
    config.propagation.mode.get_or_insert(headers);
    log::start(&config.log);
    for warning in config.warnings.iter().chain(&config.unused()) {
        tracing::warn!("{warning}");
    }
    signals::install();
    let out = destination.open(config.output).map_err(|error| Failure::new(FAILURE, error))?;
    let why_not = config.export.why_not();
    let style = destination.style(flags.color.resolve(destination));
    let summary = config.output.is_for_people();
    let agent = Agent::start(Options {
        config,
        out,
        style,
        summary,
        headers_are_optional,
        switches: switches.clone(),
        store,
    })?;
    if let Some(reason) = why_not {
        tracing::info!("spans are not exported: {reason}");
    }
    Ok(agent)
}

/// The store of the viewer, if one is wanted: before anything is traced.
pub(super) fn open_store(config: &Config) -> Result<Option<Arc<Store>>, Failure> {
    let store = config.viewer.enabled.then(|| config.viewer.store()).transpose();
    let store = store.map_err(|message| Failure::new(FAILURE, message))?;
    store.as_deref().inspect(|store| tell_state(store));
    Ok(store)
}

/// Tells what is wrong with a store that was opened.
pub(super) fn tell_state(store: &Store) {
    let status = store.status();
    if let Some(problem) = status.problem {
        tracing::warn!("{problem}");
    }
    if status.cut_bytes > 0 {
        tracing::warn!("{} bytes of the store are no whole frames: their spans are lost", status.cut_bytes);
    }
}

/// Makes sure that a disk has all that the store holds, and tells what it has not.
pub(super) fn settle(store: &Store) {
    if store.status().directory.is_none() {
        return;
    }
    if let Err(error) = store.flush() {
        tracing::warn!(
            "{} spans are not on disk, and end with this process: {error}",
            store.status().unwritten_spans
        );
    }
}

/// Shows what the agent puts into the store.
pub(super) fn serve_viewer(
    config: &Config,
    store: Option<Arc<Store>>,
    agent: &Agent,
) -> Result<Option<Running>, Failure> {
    let Some(store) = store else { return Ok(None) };
    // The program of `tracer run` is there already.
    signals::ignore_file_size_limit();
    let running = viewer::beside_agent(config, store, agent)
        .map_err(|error| Failure::new(FAILURE, format!("cannot show traces: {error}")))?;
    tracing::info!(target: EVERY_LINE, "the traces are shown at {}", page_of(&running));
    Ok(Some(running))
}

/// The address of the page. Its token is for a person at a terminal: logs are kept, and read by others.
pub(super) fn page_of(running: &Running) -> String {
    let url = &running.addresses().url;
    match url.split_once("?token=") {
        Some((page, _)) if !io::stderr().is_terminal() => format!("{page} (open it as {page}?token=… once)"),
        _ => url.clone(),
    }
}

/// Refuses a configuration file, an output and a recording that are the same file: before anything is started.
pub(super) fn check_files(
    config: &Config,
    flags: &CommonFlags,
    destination: &Destination,
) -> Result<(), Failure> {
    distinct::check(&[
        ("configuration", flags.config.as_deref()),
        ("output", destination.path(config.output)),
        ("recording", config.record.as_deref()),
    ])
}

/// Whether this agent can answer on its socket, if one is named: before anything is traced.
pub(super) fn check_socket(config: &Config) -> Result<(), Failure> {
    let Some(path) = &config.socket else { return Ok(()) };
    status::check_place(path).map_err(|error| cannot_answer(path, &error))
}

/// Answers on the socket, if one is named: for the agent, and for its viewer if it has one.
pub(super) fn serve_status(
    config: &Config,
    agent: &Agent,
    viewer: Option<&Running>,
) -> Result<Option<Server>, Failure> {
    let Some(path) = &config.socket else { return Ok(None) };
    let routes = status::routes(agent.status(), viewer.map(Running::routes));
    Server::start(path, routes).map(Some).map_err(|error| cannot_answer(path, &error))
}

fn cannot_answer(path: &Path, error: &io::Error) -> Failure {
    Failure::new(FAILURE, format!("cannot answer on {}: {error}", path.display()))
}

/// Ends the agent. The exit code is 1 if the output or the recording is not complete.
pub(super) fn finish(agent: Agent) -> CommandOutcome {
    let Ended { status, problems, ledger } = agent.stop();
    if let Some(summary) = ledger {
        log::report("summary", summary.has_losses(), &summary);
    }
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
    for problem in &problems {
        tracing::error!("{problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}
