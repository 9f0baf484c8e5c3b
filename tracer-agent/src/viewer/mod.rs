//! The viewer beside an agent: pages that show the traces of this host.

#![forbid(unsafe_code)]

mod abilities;
mod advice;
mod agent_source;
mod cost;
mod listening;
mod remedy;

use std::sync::Arc;

use tracer_model::answer::Source;
use tracer_store::Store;
use tracer_viewer::{Running, Viewer, ViewerError};

use self::agent_source::ThisAgent;
use crate::{agent::Agent, config::Config, heap};

/// Serves the traces that the agent puts into this store.
///
/// # Errors
/// An address is in use, or the settings cannot be used.
pub fn beside_agent(config: &Config, store: Arc<Store>, agent: &Agent) -> Result<Running, ViewerError> {
    heap::share();
    let selectors = config.select.include.iter().map(ToString::to_string).collect();
    let agent = Arc::new(ThisAgent::new(agent.status(), selectors, agent.programs().clone()));
    let source = Source { kind: "agent".to_owned(), names: Vec::new() };
    Viewer::start(config.viewer.settings(source)?, store, Some(agent))
}
