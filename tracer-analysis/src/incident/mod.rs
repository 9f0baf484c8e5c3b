//! What the analyses find, as incidents: each cause once, from its first onset to its end.

mod explain;
mod watch;

pub use explain::explain;
pub use watch::{Change, Incident, IncidentState, IncidentsAnswer, Limits, Watch};
