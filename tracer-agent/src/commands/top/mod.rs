//! `tracer top`: services and their operations, live.

#![forbid(unsafe_code)]

mod feed;
mod rows;
mod screen;
mod state;
mod table;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use self::{
    feed::{ask, nothing},
    rows::{Sort, shown},
    state::State,
    table::Table,
};
use super::{
    flags::TopFlags,
    outcome::{CommandOutcome, print_drawn, print_json},
    source::Source,
};
use crate::{
    outside::escaped,
    sink::terminal::{Destination, escape::ascii, style::Palette},
};

pub(super) fn run(flags: &TopFlags) -> CommandOutcome {
    let source = Source::open(&flags.source)?;
    let window_us = flags.window.as_ns() / 1000;
    let destination = Destination::new(None, false);
    let style = destination.style(flags.color.resolve(&destination));
    let sort = Sort::new(flags.sort);
    if flags.json {
        let seen = ask(&source, flags.service.as_deref(), window_us)?;
        print_json(&format!("{}\n", seen.json()))?;
    } else if io::stdin().is_terminal() && io::stdout().is_terminal() {
        // An error that a person can mend is told before the screen is taken.
        let seen = ask(&source, flags.service.as_deref(), window_us)?;
        let state = State::new(sort, flags.service.clone());
        screen::show(source, flags.window, state, seen, style)?;
    } else {
        let seen = ask(&source, flags.service.as_deref(), window_us)?;
        let rows = shown(&seen.rows, "", sort);
        if rows.is_empty() {
            eprintln!("tracer: {}", escaped(&nothing(&source.name(), &flags.window.to_string(), &seen)));
        } else {
            let table = Table::new(&rows, sort, seen.service.is_some(), (style.columns)());
            let text = table.text(&rows, Palette(style.color));
            print_drawn(&if style.ascii { ascii(&text) } else { text })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
