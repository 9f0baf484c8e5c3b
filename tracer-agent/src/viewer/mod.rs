//! The viewer beside an agent: pages that show the traces of this host.

#![forbid(unsafe_code)]

mod abilities;
mod advice;
mod agent_source;
mod cost;
mod listening;
mod notify;
mod remedy;

use std::sync::Arc;

use tracer_model::answer::Source;
use tracer_store::Store;
use tracer_viewer::{Running, Settings, Viewer};

use self::agent_source::ThisAgent;
pub use self::notify::watch_settings;
use crate::{agent::Agent, config::Config, heap};

/// Serves the traces that the agent puts into this store.
///
/// # Errors
/// An address is in use, or the settings cannot be used.
pub fn beside_agent(config: &Config, store: Arc<Store>, agent: &Agent) -> Result<Running, String> {
    heap::share();
    let selectors = config.select.include.iter().map(ToString::to_string).collect();
    let agent = Arc::new(ThisAgent::new(agent.status(), selectors, agent.programs().clone()));
    let source = Source { kind: "agent".to_owned(), names: Vec::new() };
    let watch = watch_settings(&config.incidents)?;
    let settings = config.viewer.settings(source).map(|settings| Settings { watch, ..settings });
    settings
        .and_then(|settings| Viewer::start(settings, store, Some(agent)))
        .map_err(|error| error.to_string())
}
