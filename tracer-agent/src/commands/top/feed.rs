//! New numbers again and again, from a thread that waits for them: the screen does not.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    time::Duration,
};

use serde::Serialize;
use tracer_model::answer::{ServiceAnswer, ServicesAnswer, Window};

use super::{
    super::{outcome::Failure, source::Source},
    rows::{self, Row},
};

/// Numbers are asked for so often.
const EVERY: Duration = Duration::from_secs(1);

/// What a source says.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Services(ServicesAnswer),
    Service(ServiceAnswer),
}

/// What was seen at one time.
pub(super) struct Seen {
    /// The service whose operations these are; none for the services.
    pub(super) service: Option<String>,
    pub(super) rows: Vec<Row>,
    pub(super) window: Window,
    answer: Answer,
}

impl Seen {
    /// These rows, as if a source had said them.
    #[cfg(test)]
    pub(super) fn of(service: Option<&str>, rows: Vec<Row>) -> Self {
        let answer = Answer::Services(ServicesAnswer::default());
        Self { service: service.map(str::to_owned), rows, window: Window::default(), answer }
    }

    /// The answer of the API.
    pub(super) fn json(&self) -> String {
        // Keys are text, and numbers that JSON has not become null.
        serde_json::to_string(&self.answer).unwrap_or_default()
    }
}

/// Asks for the numbers of the last stretch of time.
pub(super) fn ask(source: &Source, service: Option<&str>, window_us: u64) -> Result<Seen, Failure> {
    let window = source.window(window_us)?;
    let Some(name) = service else {
        let answer = source.services(window)?;
        return Ok(Seen {
            service: None,
            rows: rows::of_services(&answer),
            window,
            answer: Answer::Services(answer),
        });
    };
    // A service of which nothing is left has no operations.
    let answer =
        source.service(name, window)?.unwrap_or_else(|| ServiceAnswer { window, ..ServiceAnswer::default() });
    Ok(Seen {
        service: Some(name.to_owned()),
        rows: rows::of_operations(&answer),
        window,
        answer: Answer::Service(answer),
    })
}

/// What is wanted now.
#[derive(Default)]
struct Wanted {
    service: Option<String>,
    /// Since the last question.
    is_new: bool,
    has_ended: bool,
}

/// The way to the thread.
pub(super) struct Feed {
    wanted: Arc<(Mutex<Wanted>, Condvar)>,
    /// One answer waits at most: the thread waits until it is taken.
    answers: Receiver<Result<Seen, String>>,
}

impl Feed {
    /// Starts the thread.
    pub(super) fn start(source: Source, service: Option<String>, window_us: u64) -> io::Result<Self> {
        let wanted = Arc::new((Mutex::new(Wanted { service, ..Wanted::default() }), Condvar::new()));
        let (sender, answers) = sync_channel(1);
        let of_thread = Arc::clone(&wanted);
        std::thread::Builder::new()
            .name("tracer-top".to_owned())
            .spawn(move || feed(&source, window_us, &of_thread, &sender))?;
        Ok(Self { wanted, answers })
    }

    /// From now on the operations of this service, or the services.
    pub(super) fn want(&self, service: Option<String>) {
        self.change(|wanted| {
            wanted.service = service;
            wanted.is_new = true;
        });
    }

    /// The last answer that has come, if one has.
    ///
    /// # Errors
    /// The thread has failed: none will come.
    pub(super) fn take(&self) -> io::Result<Option<Result<Seen, String>>> {
        let mut last = None;
        loop {
            match self.answers.try_recv() {
                Ok(answer) => last = Some(answer),
                Err(TryRecvError::Empty) => return Ok(last),
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("the thread that asks for numbers has failed"));
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        let (wanted, changed) = &*self.wanted;
        change(&mut wanted.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_one();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.change(|wanted| wanted.has_ended = true);
    }
}

fn feed(
    source: &Source,
    window_us: u64,
    wanted: &(Mutex<Wanted>, Condvar),
    answers: &SyncSender<Result<Seen, String>>,
) {
    let (lock, changed) = wanted;
    loop {
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = |wanted: &mut Wanted| !wanted.is_new && !wanted.has_ended;
        let (mut guard, _) =
            changed.wait_timeout_while(guard, EVERY, is_quiet).unwrap_or_else(PoisonError::into_inner);
        if guard.has_ended {
            return;
        }
        guard.is_new = false;
        let service = guard.service.clone();
        drop(guard);
        let seen = ask(source, service.as_deref(), window_us).map_err(|failure| failure.message);
        if answers.send(seen).is_err() {
            return;
        }
    }
}

/// Why there is no row.
pub(super) fn nothing(source: &str, window: &str, seen: &Seen) -> String {
    match &seen.service {
        Some(service) => format!(
            "{source} has no span of {service:?} in the last {window}: --window 1h looks further back"
        ),
        None => format!("{source} has no spans of the last {window}: --window 1h looks further back"),
    }
}
