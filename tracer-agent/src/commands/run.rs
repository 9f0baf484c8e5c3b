//! `tracer run`: start a program and trace it.

#![forbid(unsafe_code)]

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use tracer_viewer::Running;

use super::{
    flags::RunFlags,
    outcome::{CommandOutcome, FAILURE, Failure, USAGE},
    session::{check_files, finish, open_store, serve_status, serve_viewer, settle, start},
};
use crate::{
    agent::signals,
    kernel::Switches,
    process::launch,
    propagate::Mode,
    sink::terminal::{Destination, Format},
};

/// Starts a program and traces it until its last descendant has ended.
pub(super) fn run(flags: &RunFlags, switches: &Switches) -> CommandOutcome {
    let mut config = flags.configuration().map_err(|error| Failure::new(USAGE, error))?;
    let destination = Destination::new(config.output_file.as_deref(), true);
    if flags.common.output.is_none() && config.output == Format::None {
        config.output = destination.format_for_people();
    }
    check_files(&config, &flags.common, &destination)?;
    let store = open_store(&config)?;
    let mut launched = launch::launch(&flags.command, flags.user.as_deref(), &config.secret_variables)
        .map_err(|error| Failure::new(u8::try_from(error.exit_code()).unwrap_or(FAILURE), error))?;
    config.select.include = vec![flags.rule(launched.pid())];
    let agent = start(config.clone(), &flags.common, &destination, Mode::Headers, switches, store.clone())?;
    let viewer = serve_viewer(&config, store.clone(), &agent)?;
    // COMMAND is not refused because of a socket that the environment may have named.
    let _server =
        serve_status(&config, &agent, viewer.as_ref()).unwrap_or_else(|Failure { message, .. }| {
            tracing::warn!("{message}");
            None
        });
    signals::relay(launched.has_session());
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
    if let Some(viewer) = viewer {
        keep_showing(&viewer);
    }
    signals::stop_relaying();
    // Whatever became of the output, the exit status is that of the program.
    let _ = finish(agent)?;
    store.as_deref().inspect(|store| settle(store));
    Ok(ExitCode::from(u8::try_from(status.0).unwrap_or(FAILURE)))
}

/// The program has ended: a person at a terminal can go on looking at its traces.
fn keep_showing(viewer: &Running) {
    if !io::stderr().is_terminal() {
        return;
    }
    tracing::info!("the program has ended; its traces are shown at {} until Ctrl-C", viewer.addresses().url);
    while !signals::take().is_some_and(signals::is_ending) {
        signals::wait(Duration::from_millis(200));
    }
}
