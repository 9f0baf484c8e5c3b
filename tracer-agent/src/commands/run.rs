//! `tracer run`: start a program and trace it.

#![forbid(unsafe_code)]

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::{Duration, Instant},
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
    process::launch::{self, Launched},
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
    let mut waiting = Waiting::default();
    let status = loop {
        if let Some(status) = launched.poll() {
            break status;
        }
        while let Some(signal) = signals::take() {
            launched.signal(signal);
            waiting.signal(signal);
        }
        waiting.tell(&launched);
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

/// How long descendants may go on after the program before that is told.
const SHORT_WAIT: Duration = Duration::from_secs(1);
/// Process ids that are told at most.
const MOST_PIDS: usize = 8;

/// That we wait for descendants of a program that has ended: told once, and again after each signal that would end us.
#[derive(Default)]
struct Waiting {
    /// When the program was first seen to have ended, or the last signal came after that.
    since: Option<Instant>,
    is_told: bool,
}

impl Waiting {
    fn signal(&mut self, signal: i32) {
        if signals::is_ending(signal) && self.since.is_some() {
            *self = Self { since: Some(Instant::now()), is_told: false };
        }
    }

    fn tell(&mut self, launched: &Launched) {
        if self.is_told || !launched.has_ended() {
            return;
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() < SHORT_WAIT {
            return;
        }
        self.is_told = true;
        if let Some(message) = left_behind(&launched.descendants()) {
            tracing::info!("{message}");
        }
    }
}

/// What is said of processes that go on without the program that started them.
fn left_behind(pids: &[u32]) -> Option<String> {
    let shown = pids.iter().take(MOST_PIDS).map(u32::to_string).collect::<Vec<_>>().join(" ");
    let rest = if pids.len() > MOST_PIDS { " …" } else { "" };
    match pids.len() {
        0 => None,
        1 => Some(format!(
            "the program has ended, and 1 process that it started goes on: tracing ends with it, or after kill {shown}"
        )),
        count => Some(format!(
            "the program has ended, and {count} processes that it started go on: tracing ends with the last of them, or \
             after kill {shown}{rest}"
        )),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_go_on_are_counted_and_named() {
        assert_eq!(left_behind(&[]), None);
        assert_eq!(
            left_behind(&[12]).as_deref(),
            Some(
                "the program has ended, and 1 process that it started goes on: tracing ends with it, or after kill 12"
            )
        );
        let many: Vec<u32> = (1..=9).collect();
        assert_eq!(
            left_behind(&many).as_deref(),
            Some(
                "the program has ended, and 9 processes that it started go on: tracing ends with the last of them, \
                 or after kill 1 2 3 4 5 6 7 8 …"
            )
        );
    }
}
