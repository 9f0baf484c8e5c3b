//! `tracer trace`: one trace, drawn.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use tracer_model::otlp;

use super::{
    flags::TraceOneFlags,
    outcome::{CommandOutcome, print_drawn, print_json},
    source::Source,
};
use crate::sink::{
    store::restore::restore,
    terminal::{self, Destination},
};

pub(super) fn run(flags: &TraceOneFlags) -> CommandOutcome {
    let source = Source::open(&flags.source)?;
    let id = source.find(&flags.id)?;
    let missing = || source.missing(&flags.id);
    if flags.json {
        let trace = source.laid_out(id)?.ok_or_else(missing)?;
        print_json(&format!("{}\n", serde_json::to_string(&trace).unwrap_or_default()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let spans = source.trace(id)?.ok_or_else(missing)?;
    if flags.otlp_json {
        print_json(&format!("{}\n", otlp::encode_json(&spans)))?;
    } else {
        let destination = Destination::new(None, false);
        let style = destination.style(flags.color.resolve(&destination));
        print_drawn(&terminal::picture(&restore(&spans), style))?;
    }
    Ok(ExitCode::SUCCESS)
}
