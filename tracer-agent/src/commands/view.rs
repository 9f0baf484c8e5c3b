//! `tracer view`: show traces of others, or of files.

#![forbid(unsafe_code)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use tracer_model::answer::Source;
use tracer_viewer::{DEFAULT_OTLP_GRPC, DEFAULT_OTLP_HTTP, Settings, Viewer};

use super::{
    files,
    flags::ViewFlags,
    outcome::{CommandOutcome, FAILURE, Failure, USAGE},
    session::{page_of, settle, tell_state},
};
use crate::{
    agent::signals,
    config::{IncidentConfig, ViewerConfig, token_in},
    heap,
    log::{self, EVERY_LINE, LogConfig},
    problem::Problem,
    viewer::watch_settings,
};

/// Serves until a signal.
pub(super) fn run(flags: &ViewFlags) -> CommandOutcome {
    heap::share();
    log::start(&LogConfig::default());
    let config = configuration(flags)?;
    let problems = config.problems();
    if !problems.is_empty() {
        let line = |problem: &Problem| match problem.key.as_str() {
            // A command line has no place for the token itself.
            "token" => format!("--token-file or TRACER_VIEWER_TOKEN: {}", problem.message),
            _ => format!("--{problem}"),
        };
        let lines: Vec<String> = problems.iter().map(line).collect();
        return Err(Failure::new(USAGE, lines.join("\n")));
    }
    signals::ignore_file_size_limit();
    let store = config.store().map_err(|message| Failure::new(FAILURE, message))?;
    tell_state(&store);
    for path in &flags.files {
        let spans = files::take(path, &store).map_err(|message| Failure::new(FAILURE, message))?;
        tracing::info!(target: EVERY_LINE, "{}: {spans} spans", path.display());
    }
    // Until here a signal ends the process at once: a file may never end.
    signals::install();
    let source = match flags.files.is_empty() {
        true => Source { kind: "otlp".to_owned(), names: Vec::new() },
        false => {
            let names = flags.files.iter().map(|path| path.display().to_string()).collect();
            Source { kind: "files".to_owned(), names }
        }
    };
    // What is saved has no present: `tracer report` tells of it.
    let incidents = IncidentConfig {
        watch: flags.files.is_empty(),
        webhook: flags.incident_webhook.clone(),
        otlp_endpoint: flags.incident_otlp.clone(),
        ..IncidentConfig::default()
    };
    let watch = watch_settings(&incidents).map_err(|error| Failure::new(USAGE, error))?;
    let settings = config.settings(source).map_err(|error| Failure::new(USAGE, error))?;
    let settings = Settings { watch, ..settings };
    let viewer =
        Viewer::start(settings, Arc::clone(&store), None).map_err(|error| Failure::new(FAILURE, error))?;
    let addresses = viewer.addresses();
    tracing::info!(target: EVERY_LINE, "the traces are shown at {}", page_of(&viewer));
    for (protocol, address) in [("gRPC", addresses.otlp_grpc), ("HTTP", addresses.otlp_http)] {
        if let Some(address) = address {
            tracing::info!(target: EVERY_LINE, "OTLP over {protocol} is taken on {address}");
        }
    }
    while !signals::received() {
        signals::wait(Duration::from_millis(200));
    }
    viewer.stop();
    settle(&store);
    Ok(ExitCode::SUCCESS)
}

fn configuration(flags: &ViewFlags) -> Result<ViewerConfig, Failure> {
    let takes_others = flags.files.is_empty();
    let token = match &flags.token_file {
        Some(path) => Some(token_in(path).map_err(|message| Failure::new(USAGE, message))?),
        None => std::env::var("TRACER_VIEWER_TOKEN").ok().filter(|token| !token.is_empty()),
    };
    Ok(ViewerConfig {
        enabled: true,
        listen: flags.listen,
        otlp_grpc: flags.otlp_grpc.or(takes_others.then_some(DEFAULT_OTLP_GRPC)),
        otlp_http: flags.otlp_http.or(takes_others.then_some(DEFAULT_OTLP_HTTP)),
        memory: flags.memory,
        store: flags.store.clone(),
        token,
        tls_certificate: flags.tls_certificate.clone(),
        tls_key: flags.tls_key.clone(),
        tls_client_ca: flags.tls_client_ca.clone(),
        host_names: flags.host_name.clone(),
        path_prefix: flags.path_prefix.clone(),
    })
}
