//! What runs tasks of its own.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// What runs tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskRuntime {
    /// Goroutines of a Go program.
    Go,
    /// Requests of nginx, by the client's connection.
    Nginx,
    /// Tasks of CPython's asyncio.
    Python,
    /// Greenlets of CPython, as gevent and eventlet have them.
    Greenlets,
    /// Callbacks of Node's event loop.
    Node,
    /// Virtual threads of Java.
    Java,
}
