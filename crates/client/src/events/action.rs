//! Events of the `events.k8s.io/v1` form: what was tried (the action) and how it ended.
//!
//! An identical event within six minutes becomes a series: the second occurrence is written at
//! once, later ones only when the series was last written six minutes ago.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use orlop_api::names;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::recent::Recent;
use super::{EventType, QUEUE_MAX, event_name, namespace_of};

/// How long a series stays open after its last occurrence, and the least time between its writes.
const SERIES_SECONDS: i64 = 360;
/// After so long without another occurrence they are written.
const CALM: Duration = Duration::from_millis(200);
/// An occurrence is not held back for longer.
const HELD_MAX: Duration = Duration::from_secs(2);
/// Remembered series.
const REMEMBERED_MAX: usize = 1024;
/// Longest note, in bytes; longer ones are cut and end in ` ...`.
const NOTE_BYTES_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    event_type: EventType,
    reason: &'static str,
    action: &'static str,
    note: String,
}

#[derive(Debug)]
struct Action {
    key: Key,
    regarding: ObjectReference,
    related: Option<ObjectReference>,
    at: Timestamp,
}

#[derive(Debug)]
struct Series {
    name: String,
    count: i32,
    last: Timestamp,
    written: Timestamp,
}

/// Records events.k8s.io/v1 Events. Cheap to clone; recording never waits.
#[derive(Clone, Debug)]
pub struct ActionRecorder {
    queue: mpsc::Sender<Action>,
}

impl ActionRecorder {
    /// A recorder that writes through `client` as `controller` (its instance: `<controller>-<host>`).
    pub fn new(client: kube::Client, controller: &str, host: &str) -> Self {
        let (queue, actions) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(
            client,
            controller.to_owned(),
            format!("{controller}-{host}"),
            actions,
        ));
        Self { queue }
    }

    /// Tells how `action` on `regarding` ended. Dropped when too many others are waiting.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        event_type: EventType,
        reason: &'static str,
        action: &'static str,
        note: &str,
    ) {
        self.record(regarding, None, event_type, reason, action, note);
    }

    /// The same of an action that was taken for the sake of another object, `related`.
    pub fn event_of_two(
        &self,
        regarding: &ObjectReference,
        related: &ObjectReference,
        event_type: EventType,
        reason: &'static str,
        action: &'static str,
        note: &str,
    ) {
        self.record(regarding, Some(related), event_type, reason, action, note);
    }

    fn record(
        &self,
        regarding: &ObjectReference,
        related: Option<&ObjectReference>,
        event_type: EventType,
        reason: &'static str,
        action: &'static str,
        note: &str,
    ) {
        let key = Key {
            uid: regarding.uid.clone(),
            name: regarding.name.clone(),
            namespace: regarding.namespace.clone(),
            event_type,
            reason,
            action,
            note: cut(note),
        };
        let action = Action {
            key,
            regarding: regarding.clone(),
            related: related.cloned(),
            at: Timestamp::now(),
        };
        if self.queue.try_send(action).is_err() {
            tracing::debug!(reason, "event queue is full, an event is lost");
        }
    }
}

/// `note` within [`NOTE_BYTES_MAX`].
fn cut(note: &str) -> String {
    const END: &str = " ...";
    if note.len() <= NOTE_BYTES_MAX {
        return note.to_owned();
    }
    let beginning = names::cut(note, NOTE_BYTES_MAX - END.len());
    format!("{beginning}{END}")
}

/// Takes what is to be told, until nothing more has come for a while: in a burst of work its own writes come first.
/// Whether there will be more.
async fn hold(actions: &mut mpsc::Receiver<Action>, held: &mut VecDeque<Action>) -> bool {
    let Some(first) = actions.recv().await else {
        return false;
    };
    held.push_back(first);
    let latest = Instant::now() + HELD_MAX;
    while held.len() < QUEUE_MAX {
        let calm = latest.min(Instant::now() + CALM);
        match timeout_at(calm, actions.recv()).await {
            Ok(Some(action)) => held.push_back(action),
            Ok(None) | Err(_) => break,
        }
    }
    true
}

async fn run(
    client: kube::Client,
    controller: String,
    instance: String,
    mut actions: mpsc::Receiver<Action>,
) {
    let mut open: Recent<Key, Option<Series>> = Recent::new(REMEMBERED_MAX);
    let mut held = VecDeque::new();
    loop {
        if held.is_empty() && !hold(&mut actions, &mut held).await {
            return;
        }
        let Some(action) = held.pop_front() else { continue };
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace_of(&action.regarding));
        let slot = open.entry(action.key.clone(), || None);
        let result = match slot {
            Some(series) if action.at.as_second() - series.last.as_second() < SERIES_SECONDS => {
                series.count = series.count.saturating_add(1);
                series.last = action.at;
                let due = action.at.as_second() - series.written.as_second() >= SERIES_SECONDS;
                if series.count == 2 || due {
                    series.written = action.at;
                    continue_series(&api, series).await
                } else {
                    Ok(())
                }
            }
            slot => {
                let name = event_name(&action.regarding, action.at);
                let event = event(&controller, &instance, &name, &action);
                *slot = Some(Series {
                    name,
                    count: 1,
                    last: action.at,
                    written: action.at,
                });
                api.create(&PostParams::default(), &event).await.map(drop)
            }
        };
        if let Err(error) = result {
            open.remove(&action.key);
            tracing::debug!(reason = action.key.reason, %error, "event not written");
        }
    }
}

async fn continue_series(api: &Api<Event>, series: &Series) -> Result<(), kube::Error> {
    let patch = json!({"series": {"count": series.count, "lastObservedTime": MicroTime(series.last)}});
    api.patch(&series.name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .map(drop)
}

fn event(controller: &str, instance: &str, name: &str, action: &Action) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace_of(&action.regarding)),
            ..ObjectMeta::default()
        },
        regarding: Some(action.regarding.clone()),
        related: action.related.clone(),
        type_: Some(action.key.event_type.as_str().to_owned()),
        reason: Some(action.key.reason.to_owned()),
        action: Some(action.key.action.to_owned()),
        note: Some(action.key.note.clone()),
        event_time: Some(MicroTime(action.at)),
        reporting_controller: Some(controller.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_to_1024_bytes() {
        assert_eq!(cut("short"), "short");
        let long = cut(&"é".repeat(600));
        assert!(
            long.len() <= NOTE_BYTES_MAX && long.ends_with("é ..."),
            "{}",
            long.len()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_told_when_it_is_over_or_after_two_seconds() {
        let action = || Action {
            key: Key {
                uid: None,
                name: None,
                namespace: None,
                event_type: EventType::Normal,
                reason: "Scheduled",
                action: "Binding",
                note: String::new(),
            },
            regarding: ObjectReference::default(),
            related: None,
            at: Timestamp::UNIX_EPOCH,
        };
        let (sender, mut actions) = mpsc::channel(QUEUE_MAX);
        let send = |count: usize| {
            let sender = sender.clone();
            async move {
                for _ in 0..count {
                    sender.send(action()).await.unwrap();
                    tokio::time::sleep(CALM / 2).await;
                }
            }
        };
        for (sent, told) in [(3, 3..=3), (40, 19..=22)] {
            let mut held = VecDeque::new();
            tokio::join!(send(sent), async {
                assert!(hold(&mut actions, &mut held).await);
                assert!(told.contains(&held.len()), "{} of {sent}", held.len());
            });
            while actions.try_recv().is_ok() {}
        }
    }
}
