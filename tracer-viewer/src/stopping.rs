//! The end of the viewer, as its tasks see it.

use tokio::sync::watch;

/// Tells when the viewer stops.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// What tells it, and what is told.
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether the viewer stops.
    pub(crate) fn is_now(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the viewer stops.
    pub(crate) async fn wait(&mut self) {
        // A sender that is gone has stopped too.
        let _ = self.0.wait_for(|stops| *stops).await;
    }
}
