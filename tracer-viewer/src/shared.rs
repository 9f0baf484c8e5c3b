//! What all routes share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use tokio::{sync::Semaphore, time::timeout};
use tracer_model::answer::AgentAnswer;
use tracer_store::Store;

use crate::{counters::Counters, large::Room, problem::Problem, settings::Settings, stopping::Stopping};

/// The agent in this process, as the page asks it.
pub trait AgentSource: Send + Sync + 'static {
    /// What it sees now. It is called on a thread that may block.
    fn answer(&self) -> AgentAnswer;
}

/// What all routes share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<Store>,
    pub(crate) agent: Option<Arc<dyn AgentSource>>,
    pub(crate) counters: Arc<Counters>,
    /// Places of searches.
    searches: Arc<Semaphore>,
    /// Room for large answers.
    pub(crate) room: Room,
    /// Places of pages that follow new traces.
    pub(crate) live: Arc<Semaphore>,
    /// The place of searches for pages that follow: they must not take those of people who wait.
    pub(crate) live_search: Arc<Semaphore>,
    pub(crate) stopping: Stopping,
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        store: Arc<Store>,
        agent: Option<Arc<dyn AgentSource>>,
        counters: Arc<Counters>,
        stopping: Stopping,
    ) -> Self {
        let limits = &settings.limits;
        Self {
            searches: Arc::new(Semaphore::new(limits.searches)),
            room: Room::new(limits.answer_bytes),
            live: Arc::new(Semaphore::new(limits.live_clients)),
            live_search: Arc::new(Semaphore::new(1)),
            settings,
            store,
            agent,
            counters,
            stopping,
        }
    }

    /// Runs a search on a thread that may block, when there is a place for it. It gets its deadline.
    pub(crate) async fn search<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, Instant) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.run(1, work).await
    }

    /// The same for what makes a large answer: two at the same time at most, since each may take hundreds of MiB.
    pub(crate) async fn large<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, Instant) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let half = u32::try_from(self.settings.limits.searches.div_ceil(2)).unwrap_or(u32::MAX);
        self.run(half.max(1), work).await
    }

    async fn run<T: Send + 'static>(
        &self,
        places: u32,
        work: impl FnOnce(&Store, Instant) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let limits = &self.settings.limits;
        let waited = timeout(limits.search_wait, self.searches.clone().acquire_many_owned(places)).await;
        let Ok(Ok(place)) = waited else {
            self.counters.refused_searches.inc();
            let message = "too many searches at once: ask again in a few seconds";
            return Err(
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(Duration::from_secs(2))
            );
        };
        let (store, deadline) = (self.store.clone(), Instant::now() + limits.search_time);
        blocking(move || {
            // A client that goes away does not end the search: its place stays taken until then.
            let _place = place;
            work(&store, deadline)
        })
        .await
    }
}

/// Runs work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("a request of the viewer failed: {error}");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the viewer failed at this request; its log says more",
        )
    })
}
