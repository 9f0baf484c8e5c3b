//! `tracer` and `tracer agent`: watch processes that already run.

#![forbid(unsafe_code)]

use std::{path::PathBuf, time::Duration};

use super::{
    flags::TraceFlags,
    outcome::{CommandOutcome, FAILURE, Failure, USAGE},
    reload::reload,
    session::{check_files, check_socket, finish, open_store, serve_status, serve_viewer, settle, start},
};
use crate::{
    agent::{signals, status::DEFAULT_SOCKET},
    config::Config,
    kernel::Switches,
    log::EVERY_LINE,
    propagate::Mode,
    sink::terminal::{Destination, Format},
};

/// Watches processes until a signal; in the foreground also until the last of those that pids named has
/// ended.
pub(super) fn run(flags: &TraceFlags, daemon: bool, switches: &Switches) -> CommandOutcome {
    if daemon {
        signals::reload_on_hangup();
    }
    let mut config = flags.configuration().map_err(|error| Failure::new(USAGE, error))?;
    let destination = Destination::new(config.output_file.as_deref(), false);
    // As it was read, for a comparison with what is read later.
    let mut read = config.clone();
    if !daemon && flags.common.output.is_none() && config.output == Format::None {
        config.output = destination.format_for_people();
    }
    if daemon && config.socket.is_none() {
        config.socket = Some(DEFAULT_SOCKET.into());
    }
    if daemon && config.state_directory.is_none() {
        config.state_directory = Some(state_directory());
    }
    let only_pids = config.select.include.iter().all(|rule| !rule.pid.is_empty());
    check_files(&config, &flags.common, &destination)?;
    check_socket(&config)?;
    let store = open_store(&config)?;
    let agent = start(config.clone(), &flags.common, &destination, Mode::Off, switches, store.clone())?;
    let viewer = serve_viewer(&config, store.clone(), &agent)?;
    let _server = serve_status(&config, &agent, viewer.as_ref())?;
    if daemon {
        announce(&config);
        signals::notify_ready();
    }
    if only_pids && !daemon && agent.targets_alive() == 0 {
        finish(agent)?;
        return Err(Failure::new(
            FAILURE,
            "nothing is traced: the processes that --pid names have ended, or do not match the other selectors too",
        ));
    }
    match agent.targets_alive() {
        1 => tracing::info!("ready; 1 process is selected"),
        alive => tracing::info!("ready; {alive} processes are selected"),
    }
    while !signals::received() && !agent.output_closed() {
        if only_pids && !daemon && agent.targets_alive() == 0 {
            tracing::info!("no process that was named is traced any more");
            break;
        }
        if signals::take_reload() {
            signals::notify_reloading();
            reload(flags, &mut read, &destination, &agent);
            signals::notify_ready();
        }
        signals::wait(Duration::from_millis(200));
    }
    if daemon {
        let reason = if signals::received() { "a signal" } else { "the output was closed" };
        tracing::info!("the agent ends: {reason}");
        signals::notify_stopping();
    }
    let outcome = finish(agent);
    store.as_deref().inspect(|store| settle(store));
    outcome
}

/// Where the daemon keeps what it has learned: systemd names the directories of a unit (systemd.exec(5)).
fn state_directory() -> PathBuf {
    const DEFAULT: &str = "/var/lib/tracer";
    let named = std::env::var_os("STATE_DIRECTORY").unwrap_or_default();
    std::env::split_paths(&named).find(|path| path.is_absolute()).unwrap_or_else(|| DEFAULT.into())
}

/// Says what the daemon does, and what is off.
fn announce(config: &Config) {
    tracing::info!("tracer {}, process {}", env!("CARGO_PKG_VERSION"), std::process::id());
    for rule in &config.select.include {
        tracing::info!(target: EVERY_LINE, "traces processes with {rule}");
    }
    for rule in &config.select.exclude {
        tracing::info!(target: EVERY_LINE, "leaves out processes with {rule}");
    }
    // Why nothing is exported was said before.
    if let Ok(Some(address)) = config.export.address() {
        tracing::info!("exports spans to {address}");
    }
    let adds_headers = config.propagation.mode == Some(Mode::Headers);
    tracing::info!(
        "adds trace headers to requests: {}",
        if adds_headers { "yes" } else { "no (propagation.mode)" }
    );
}
