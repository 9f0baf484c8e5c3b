//! Tells others of incidents, on a thread of its own: a receiver that is slow or gone holds nothing up.

#![forbid(unsafe_code)]

mod log_record;

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use serde_json::json;
use tracer_analysis::incident::Change;
use tracer_viewer::{Notify, WatchSettings};

use crate::{client::Poster, config::IncidentConfig};

/// Messages that wait. What does not fit is lost, and the log says so.
const QUEUE: usize = 64;

/// Pauses before a message is tried again; after the last it is lost, and the log says so.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];

/// Makes a message of a change.
type Encode = fn(&Change) -> Vec<u8>;

/// One receiver of messages.
struct Target {
    sender: SyncSender<Vec<u8>>,
    shown: String,
    encode: Encode,
}

impl Notify for Target {
    fn changed(&self, change: &Change) {
        match self.sender.try_send((self.encode)(change)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::warn!(
                "{} is not told of incident {}: {QUEUE} messages to it wait already",
                self.shown,
                change.incident().number
            ),
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("{} is told of no incidents any more: its thread has ended", self.shown);
            }
        }
    }
}

/// How the viewer looks for incidents, and whom it tells.
///
/// # Errors
/// An address cannot be used, or there is no thread.
pub fn watch_settings(config: &IncidentConfig) -> Result<WatchSettings, String> {
    let mut notified: Vec<Arc<dyn Notify>> = Vec::new();
    let targets: [(Option<String>, Encode); 2] =
        [(config.webhook.clone(), webhook), (config.logs_address(), log_record::encode)];
    for (url, encode) in targets {
        let Some(url) = url.filter(|_| config.watch) else { continue };
        let poster = config.poster(&url)?;
        let shown = poster.shown().to_owned();
        let (sender, receiver) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("incidents".to_owned())
            .spawn(move || send(&poster, &receiver))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        notified.push(Arc::new(Target { sender, shown, encode }));
    }
    Ok(WatchSettings { enabled: config.watch, notified })
}

/// Sends until nobody has anything to tell any more.
fn send(poster: &Poster, messages: &Receiver<Vec<u8>>) {
    for message in messages {
        let mut pauses = PAUSES.iter();
        while let Err(error) = poster.post("application/json", &message) {
            match pauses.next() {
                Some(pause) => thread::sleep(*pause),
                None => {
                    tracing::warn!("an incident is not told to others: {error}");
                    break;
                }
            }
        }
    }
}

/// The message to a webhook: what happened, a text for people, and all that is known.
fn webhook(change: &Change) -> Vec<u8> {
    let incident = change.incident();
    let text = format!("incident {} {}: {}", incident.number, change.name(), incident.finding.sentence);
    json!({"event": change.name(), "text": text, "incident": incident}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use tracer_analysis::{answer::Finding, incident::Incident};

    use super::*;

    #[test]
    fn a_webhook_gets_a_text_and_all_that_is_known() {
        let finding = Finding { sentence: "shop \"is\" slow".to_owned(), ..Finding::default() };
        let change = Change::Opened(Incident { number: 7, finding, ..Incident::default() });
        let message: serde_json::Value = serde_json::from_slice(&webhook(&change)).expect("JSON");
        assert_eq!(message["event"], "opened");
        assert_eq!(message["text"], "incident 7 opened: shop \"is\" slow");
        assert_eq!(message["incident"]["finding"]["sentence"], "shop \"is\" slow");
    }

    #[test]
    fn nobody_is_told_unless_it_is_said() {
        let none = watch_settings(&IncidentConfig::default()).expect("settings");
        assert!(none.enabled && none.notified.is_empty());
        let webhook = Some("http://127.0.0.1:1/".to_owned());
        let one = watch_settings(&IncidentConfig { webhook, ..IncidentConfig::default() }).expect("settings");
        assert_eq!(one.notified.len(), 1);
    }
}
