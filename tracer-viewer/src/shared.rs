//! What all routes share.

use std::{
    future::Future,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::body::Body;
use http::StatusCode;
use tokio::{
    sync::{AcquireError, Semaphore, oneshot},
    time::timeout,
};
use tracer_model::{answer::AgentAnswer, span::TraceId};
use tracer_store::Store;

use crate::{
    answers::{Answers, Key},
    blocking::{blocking, failed},
    counters::Counters,
    large::{Writer, must_fit},
    problem::Problem,
    room::Room,
    settings::Settings,
    stopping::Stopping,
    watch::Watcher,
};

/// A trace of no more spans is no large answer: it takes a few MiB.
const FEW_SPANS: u32 = 1000;

/// Bytes that a span takes in an answer at least.
const SPAN_BYTES: usize = 256;

/// The agent in this process, as the page asks it.
pub trait AgentSource: Send + Sync + 'static {
    /// What it sees now. It is called on a thread that may block.
    fn answer(&self) -> AgentAnswer;

    /// What a person can do to see a first trace, a sentence each. It is called on a thread that may block.
    fn advice(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What all routes share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<Store>,
    pub(crate) agent: Option<Arc<dyn AgentSource>>,
    pub(crate) counters: Arc<Counters>,
    /// Places of searches.
    searches: Arc<Semaphore>,
    /// The place of making large answers.
    large: Arc<Semaphore>,
    /// Large answers that somebody reads.
    answers: Arc<Answers>,
    /// Room for large answers.
    pub(crate) room: Room,
    /// Places of pages that follow new traces.
    pub(crate) live: Arc<Semaphore>,
    /// The place of searches for pages that follow: they must not take those of people who wait.
    pub(crate) live_search: Arc<Semaphore>,
    /// Looks for faults.
    pub(crate) watcher: Arc<Watcher>,
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
            large: Arc::new(Semaphore::new(1)),
            answers: Arc::default(),
            room: Room::new(limits.answer_bytes, limits.give_way_time, counters.answers.clone()),
            live: Arc::new(Semaphore::new(limits.live_clients)),
            live_search: Arc::new(Semaphore::new(1)),
            watcher: Arc::new(Watcher::new(settings.watch.clone(), counters.clone())),
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
        self.run(work).await
    }

    /// The same for an answer that holds a whole trace in some form. One of many spans waits until no other such is made, and
    /// goes to all who ask for it while somebody reads it. None if there is no such trace.
    pub(crate) async fn of_trace(
        &self,
        trace_id: TraceId,
        form: &'static str,
        make: impl FnOnce(&Store, &Room) -> Result<Option<Writer>, Problem> + Send + 'static,
    ) -> Result<Option<Body>, Problem> {
        let (store, room, answers) = (self.store.clone(), self.room.clone(), self.answers.clone());
        let spans = blocking(move || store.trace_spans(trace_id)).await?;
        let key = Key { trace_id, spans, form };
        if let Some(body) = answers.body(&key) {
            return Ok(Some(body));
        }
        must_fit(&room, (spans as usize).saturating_mul(SPAN_BYTES))?;
        let made = move |store: &Store, _| {
            // Whoever was before may have made it.
            if let Some(body) = answers.body(&key) {
                return Ok(Some(body));
            }
            make(store, &room)?.map(|writer| answers.add(key, writer)).transpose()
        };
        if spans <= FEW_SPANS { self.run(made).await? } else { self.large(made).await? }
    }

    /// The same for what makes a large answer, which takes hundreds of MiB while it is made: one at a time, on a thread that
    /// ends with it, whose memory the next one takes.
    pub(crate) async fn large<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, Instant) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.place(async {
            let alone = self.large.clone().acquire_owned().await?;
            Ok((alone, self.searches.clone().acquire_owned().await?))
        });
        let place = place.await?;
        let (store, deadline) = (self.store.clone(), Instant::now() + self.settings.limits.search_time);
        let (sender, receiver) = oneshot::channel();
        let make = move || {
            let _place = place;
            let _ = sender.send(work(&store, deadline));
        };
        let thread = thread::Builder::new().name("viewer-large".to_owned()).spawn(make);
        thread.map_err(|error| failed(&error))?;
        receiver.await.map_err(|error| failed(&error))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, Instant) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.place(self.searches.clone().acquire_owned()).await?;
        let (store, deadline) = (self.store.clone(), Instant::now() + self.settings.limits.search_time);
        blocking(move || {
            // A client that goes away does not end the search: its place stays taken until then.
            let _place = place;
            work(&store, deadline)
        })
        .await
    }

    /// Waits for a place, for a while.
    async fn place<P>(&self, place: impl Future<Output = Result<P, AcquireError>>) -> Result<P, Problem> {
        if let Ok(Ok(place)) = timeout(self.settings.limits.search_wait, place).await {
            return Ok(place);
        }
        self.counters.refused_searches.inc();
        let message = "too many searches at once: ask again in a few seconds";
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(Duration::from_secs(2)))
    }
}
