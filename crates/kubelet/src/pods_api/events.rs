//! What changed between two lists of the node's pods. Pure.
use super::messages::{EventType, WatchPodsEvent};
use crate::pods::PodRecord;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a watcher was told of, by UID.
pub type Seen = BTreeMap<String, Arc<PodRecord>>;

/// One thing to tell.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventType,
    pub record: Arc<PodRecord>,
}

impl Event {
    /// As a message, with the pod as `encode` writes it.
    pub fn message(&self, encode: impl Fn(&Pod) -> Vec<u8>) -> WatchPodsEvent {
        WatchPodsEvent {
            event_type: self.kind as i32,
            pod: encode(&self.record.pod),
        }
    }
}

/// Brings `seen` to what there is `now`, and tells what that took.
pub fn changes(seen: &mut Seen, now: &[Arc<PodRecord>]) -> Vec<Event> {
    let event = |kind, record: &Arc<PodRecord>| Event {
        kind,
        record: record.clone(),
    };
    let is_there = |uid: &String| now.iter().any(|record| record.uid == *uid);
    let gone = seen.iter().filter(|(uid, _)| !is_there(uid));
    let mut events: Vec<Event> = gone
        .map(|(_, record)| event(EventType::Deleted, record))
        .collect();
    for record in now {
        match seen.get(&record.uid) {
            None => events.push(event(EventType::Added, record)),
            Some(known) if Arc::ptr_eq(known, record) || known.pod == record.pod => {}
            Some(_) => events.push(event(EventType::Modified, record)),
        }
    }
    *seen = now
        .iter()
        .map(|record| (record.uid.clone(), record.clone()))
        .collect();
    events
}
