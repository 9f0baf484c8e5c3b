//! A server for tests that answers as it was told.

use std::sync::{Arc, Mutex};

use super::{
    SourceError,
    http::{Http, HttpError, Question, Server, Taker},
};

/// Answers questions by a function, in parts of so many bytes.
pub(super) struct Fake<F> {
    pub(super) answer: F,
    pub(super) part: usize,
    pub(super) asked: Arc<Mutex<Vec<Question>>>,
}

impl<F: Fn(&Question) -> Result<Vec<u8>, HttpError> + Send + Sync> Http for Fake<F> {
    fn ask(&self, question: &Question, take: &mut Taker<'_>) -> Result<Result<(), SourceError>, HttpError> {
        self.asked.lock().expect("no panic").push(question.clone());
        for part in (self.answer)(question)?.chunks(self.part) {
            if let Err(error) = take(part) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

/// A server on `host`, with a login.
pub(super) fn server(authority: &str) -> Server {
    Server {
        is_tls: false,
        authority: authority.to_owned(),
        prefix: String::new(),
        login: Some(("me".to_owned(), "secret".to_owned())),
    }
}
