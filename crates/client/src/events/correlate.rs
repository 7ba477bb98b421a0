//! Folds repeated events, so that a failing loop makes one Event with a count instead of thousands.
//! Pure: time comes in with the occurrences.
//!
//! Three rules, in this order: the eleventh different message of one reason within ten minutes is
//! folded into a combined event; an event seen before only raises its count; a source may tell
//! about one object 25 times, then once in five minutes.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use super::recent::Recent;
use super::{EventType, Occurrence, event_name};

/// Different messages of one reason on one object before they are folded.
const SIMILAR_MAX: usize = 10;
/// Messages further apart than this are not similar.
const SIMILAR_WITHIN_SECONDS: i64 = 600;
/// Writes about one object that may follow each other without a pause.
const SPAM_BURST: f64 = 25.0;
/// Then one write in this time.
const SPAM_REFILL_SECONDS: f64 = 300.0;
/// Remembered entries of each kind.
const REMEMBERED_MAX: usize = 4096;
const COMBINED_PREFIX: &str = "(combined from similar events): ";

/// Who tells.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub component: String,
    pub host: Option<String>,
}

/// An Event to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Telling {
    pub object: ObjectReference,
    pub event_type: EventType,
    pub reason: String,
    pub message: String,
    pub annotations: BTreeMap<String, String>,
    pub name: String,
    pub count: i32,
    pub first: Timestamp,
    pub last: Timestamp,
    /// Where to forget it, if the server refuses it.
    pub key: EventKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EventKey {
    subject: Subject,
    field_path: Option<String>,
    event_type: EventType,
    reason: String,
    /// The topic of an event whose message changes; `None` for a combined event, whose does too.
    message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subject {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    api_version: Option<String>,
}

impl Subject {
    fn of(object: &ObjectReference) -> Self {
        Self {
            kind: object.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            api_version: object.api_version.clone(),
        }
    }
}

#[derive(Debug)]
struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Seen {
    name: String,
    first: Timestamp,
    count: i32,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    refilled: Timestamp,
}

/// Remembers what was told.
#[derive(Debug)]
pub(super) struct Correlator {
    similar: Recent<(Subject, EventType, String), Similar>,
    seen: Recent<EventKey, Seen>,
    buckets: Recent<Subject, Bucket>,
}

impl Correlator {
    pub(super) fn new() -> Self {
        Self {
            similar: Recent::new(REMEMBERED_MAX),
            seen: Recent::new(REMEMBERED_MAX),
            buckets: Recent::new(REMEMBERED_MAX),
        }
    }

    /// What to write: a new Event when the count is 1, otherwise a change of the one with that
    /// name; `None` when the object had its share.
    pub(super) fn correlate(&mut self, occurrence: Occurrence) -> Option<Telling> {
        let Occurrence {
            object,
            event_type,
            reason,
            message,
            topic,
            annotations,
            at,
        } = occurrence;
        let subject = Subject::of(&object);
        let combined = topic.is_none() && self.is_one_too_many(&subject, event_type, &reason, &message, at);
        let message = if combined {
            format!("{COMBINED_PREFIX}{message}")
        } else {
            message
        };
        let key = EventKey {
            subject: subject.clone(),
            field_path: if combined { None } else { object.field_path.clone() },
            event_type,
            reason: reason.clone(),
            message: (!combined).then(|| topic.clone().unwrap_or_else(|| message.clone())),
        };
        let seen = self.seen.entry(key.clone(), || Seen {
            name: event_name(&object, at),
            first: at,
            count: 0,
        });
        seen.count = seen.count.saturating_add(1);
        let telling = Telling {
            event_type,
            reason,
            message,
            annotations,
            name: seen.name.clone(),
            count: seen.count,
            first: seen.first,
            last: at,
            key,
            object,
        };
        (topic.is_some() || self.may_tell(subject, at)).then_some(telling)
    }

    /// Forgets an Event that the server doesn't have, so that its next occurrence is written anew.
    pub(super) fn forget(&mut self, key: &EventKey) {
        self.seen.remove(key);
    }

    fn is_one_too_many(
        &mut self,
        subject: &Subject,
        event_type: EventType,
        reason: &str,
        message: &str,
        at: Timestamp,
    ) -> bool {
        let key = (subject.clone(), event_type, reason.to_owned());
        let similar = self.similar.entry(key, || Similar {
            messages: HashSet::new(),
            last: at,
        });
        if at.as_second() - similar.last.as_second() > SIMILAR_WITHIN_SECONDS {
            similar.messages.clear();
        }
        similar.last = at;
        if similar.messages.contains(message) {
            return false;
        }
        if similar.messages.len() >= SIMILAR_MAX {
            return true;
        }
        similar.messages.insert(message.to_owned());
        false
    }

    fn may_tell(&mut self, subject: Subject, at: Timestamp) -> bool {
        let bucket = self.buckets.entry(subject, || Bucket {
            tokens: SPAM_BURST,
            refilled: at,
        });
        let seconds = at.duration_since(bucket.refilled).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + seconds / SPAM_REFILL_SECONDS).min(SPAM_BURST);
        bucket.refilled = at;
        let may = bucket.tokens >= 1.0;
        if may {
            bucket.tokens -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(correlator: &mut Correlator, message: &str, second: i64) -> Option<(String, i32, String)> {
        let occurrence = Occurrence {
            object: super::super::node_reference("n1"),
            event_type: EventType::Normal,
            reason: "Starting".into(),
            message: message.into(),
            topic: None,
            annotations: BTreeMap::new(),
            at: Timestamp::from_second(second).unwrap(),
        };
        correlator
            .correlate(occurrence)
            .map(|telling| (telling.name, telling.count, telling.message))
    }

    #[test]
    fn a_repeated_event_keeps_its_name_and_counts() {
        let mut correlator = Correlator::new();
        let (name, count, _) = told(&mut correlator, "m", 1).unwrap();
        assert_eq!((name.as_str(), count), ("n1.3b9aca00", 1));
        assert_eq!(told(&mut correlator, "m", 5).unwrap(), (name, 2, "m".into()));
        assert_eq!(told(&mut correlator, "other", 5).unwrap().1, 1);
    }

    #[test]
    fn more_than_ten_similar_events_in_ten_minutes_become_one() {
        let mut correlator = Correlator::new();
        for n in 0..10 {
            assert_eq!(
                told(&mut correlator, &format!("m{n}"), n).unwrap().2,
                format!("m{n}")
            );
        }
        let (name, count, message) = told(&mut correlator, "m10", 10).unwrap();
        assert_eq!(
            (count, message.as_str()),
            (1, "(combined from similar events): m10")
        );
        let again = told(&mut correlator, "m11", 11).unwrap();
        assert_eq!((again.0, again.1), (name, 2));
        assert_eq!(told(&mut correlator, "m12", 11 + 601).unwrap().2, "m12");
    }

    #[test]
    fn one_object_gets_twenty_five_events_then_one_in_five_minutes() {
        let mut correlator = Correlator::new();
        let at_once = (0..100)
            .filter(|_| told(&mut correlator, "m", 0).is_some())
            .count();
        assert_eq!(at_once, 25);
        assert!(told(&mut correlator, "m", 299).is_none());
        let (_, count, _) = told(&mut correlator, "m", 301).unwrap();
        assert_eq!(count, 102, "the untold ones are counted");
        assert!(told(&mut correlator, "m", 302).is_none());
    }

    #[test]
    fn a_topic_is_one_event_with_the_newest_message_and_spared_from_limits() {
        let mut correlator = Correlator::new();
        (0..100).for_each(|_| drop(told(&mut correlator, "m", 0)));
        let mut about = |message: &str| {
            let occurrence = Occurrence {
                object: super::super::node_reference("n1"),
                event_type: EventType::Normal,
                reason: "Starting".into(),
                message: message.into(),
                topic: Some("taint".into()),
                annotations: BTreeMap::new(),
                at: Timestamp::from_second(1).unwrap(),
            };
            let telling = correlator.correlate(occurrence).unwrap();
            (telling.name, telling.count, telling.message)
        };
        let (name, ..) = about("3 nodes");
        assert_eq!(about("4 nodes"), (name, 2, "4 nodes".into()));
    }
}
