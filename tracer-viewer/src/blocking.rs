//! Work on threads that may block.

use http::StatusCode;

use crate::problem::Problem;

/// Runs work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| failed(&error))
}

/// The answer to a request at which the viewer failed.
pub(crate) fn failed(error: &dyn std::error::Error) -> Problem {
    tracing::error!("a request of the viewer failed: {error}");
    let message = "the viewer failed at this request; its log says more";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}
