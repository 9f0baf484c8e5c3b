//! Large answers that somebody reads: whoever asks for the same meanwhile gets the same bytes, once in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use axum::body::Body;
use tracer_model::span::TraceId;

use crate::{
    large::{Parts, Writer},
    problem::Problem,
};

/// What an answer is of: a trace with as many spans, in this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) trace_id: TraceId,
    pub(crate) spans: u32,
    pub(crate) form: &'static str,
}

/// Large answers that somebody reads.
#[derive(Default)]
pub(crate) struct Answers(Mutex<HashMap<Key, Weak<Parts>>>);

impl Answers {
    /// The answer, if somebody reads it.
    pub(crate) fn body(&self, key: &Key) -> Option<Body> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key)?.upgrade().filter(|parts| !parts.have_ended()).map(Parts::body)
    }

    /// The body of a new answer. Others that ask for it get it too, if it is large.
    pub(crate) fn add(&self, key: Key, writer: Writer) -> Result<Body, Problem> {
        if writer.is_small() {
            return writer.body();
        }
        let parts = writer.parts()?;
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, parts| parts.strong_count() > 0);
        answers.insert(key, Arc::downgrade(&parts));
        Ok(Parts::body(parts))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use axum::body::to_bytes;
    use http_body_util::BodyExt;

    use super::*;
    use crate::room::{Counts, Room};

    const KEY: Key = Key { trace_id: TraceId([1; 16]), spans: 1, form: "a" };

    fn room(give_way_time: Duration) -> (Room, Counts) {
        let counts = Counts::default();
        (Room::new(300 * 1024, give_way_time, counts.clone()), counts)
    }

    fn written(room: &Room, bytes: usize) -> Writer {
        Writer::filled(room, |writer| writer.write_all(&vec![7; bytes])).unwrap()
    }

    #[tokio::test]
    async fn readers_of_one_answer_hold_it_once() {
        let (room, counts) = room(Duration::from_secs(3600));
        let answers = Answers::default();
        assert!(answers.body(&KEY).is_none());
        let mut first = answers.add(KEY, written(&room, 200 * 1024)).unwrap();
        first.frame().await.unwrap().unwrap();
        let others: Vec<Body> = (0..24).map(|_| answers.body(&KEY).expect("somebody reads it")).collect();
        assert_eq!(counts.held.get(), 256 * 1024);
        assert!(answers.body(&Key { form: "b", ..KEY }).is_none());
        drop(first);
        for other in others {
            assert_eq!(to_bytes(other, usize::MAX).await.unwrap(), vec![7; 200 * 1024]);
        }
        assert_eq!(counts.held.get(), 0);
        assert!(answers.body(&KEY).is_none(), "nobody reads it any more");
    }

    #[tokio::test]
    async fn an_answer_whose_readers_all_stand_still_gives_way() {
        let (room, counts) = room(Duration::ZERO);
        let answers = Answers::default();
        let mut first = answers.add(KEY, written(&room, 200 * 1024)).unwrap();
        let second = answers.body(&KEY).unwrap();
        first.frame().await.unwrap().unwrap();
        let other = Key { form: "b", ..KEY };
        let third = answers.add(other, written(&room, 250 * 1024)).unwrap();
        assert!(answers.body(&KEY).is_none());
        assert_eq!((counts.held.get(), counts.displaced.get()), (256 * 1024, 1));
        assert!(to_bytes(first, usize::MAX).await.is_err() && to_bytes(second, usize::MAX).await.is_err());
        assert_eq!(to_bytes(third, usize::MAX).await.unwrap().len(), 250 * 1024);
    }

    #[tokio::test]
    async fn a_small_answer_is_not_kept() {
        let (room, counts) = room(Duration::ZERO);
        let answers = Answers::default();
        let body = answers.add(KEY, written(&room, 1000)).unwrap();
        assert!(answers.body(&KEY).is_none() && counts.held.get() == 0);
        assert_eq!(to_bytes(body, 1000).await.unwrap().len(), 1000);
    }
}
