//! The configuration of correlation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::trace_context::sample::Sampler;

/// How links are made.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Link a client request to the only server request that its process has in flight.
    pub sole_request: bool,
    /// What is done where an application traces itself.
    pub sdk: Sdk,
    /// OTLP exports get spans.
    pub otlp_exports: bool,
    /// Client requests get trace headers: the kernel programs decide on some links before the agent can.
    pub propagates: bool,
    /// Which traces are kept.
    pub sampler: Sampler,
}

/// What is done where an application traces itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Sdk {
    /// A call that carries a trace header of the application's own gets the ids of that header. It gets no span if its
    /// process was seen to export spans itself, nor do that process's requests if it exports spans of them, or if their
    /// traces go on in such headers.
    #[default]
    Adopt,
    /// Such a call gets no span, nor does anything of a process that was seen to export spans itself.
    Suppress,
}
