//! Whether a history has one order: that of the revisions, which must respect time and give every
//! read its value. Pure, but for reading the log.
use crate::clients::{Call, Kind, Outcome};
use etcd_client::{Client, EventType, WatchOptions};
use std::collections::{BTreeMap, HashMap};

/// All changes there are, by revision: key and value, no value for a deletion.
#[derive(Debug, Default)]
pub struct Log(BTreeMap<i64, Vec<(String, Option<String>)>>);

impl Log {
    /// Reads the history from a store at rest.
    pub async fn read(url: &str) -> Self {
        let mut client = Client::connect([url], None).await.unwrap();
        let now = client.get("x", None).await.unwrap().header().unwrap().revision();
        let options = WatchOptions::new().with_all_keys().with_start_revision(1);
        let mut stream = client.watch_client().watch("", Some(options)).await.unwrap();
        let mut log = Self::default();
        while log.0.last_key_value().map_or(1, |(at, _)| *at) < now {
            for event in stream.message().await.unwrap().unwrap().events() {
                let kv = event.kv().unwrap();
                let value = match event.event_type() {
                    EventType::Put => Some(kv.value_str().unwrap().to_owned()),
                    EventType::Delete => None,
                };
                let change = (kv.key_str().unwrap().to_owned(), value);
                log.0.entry(kv.mod_revision()).or_default().push(change);
            }
        }
        log.0.values_mut().for_each(|changes| changes.sort());
        log
    }

    pub fn revisions(&self) -> u64 {
        self.0.len() as u64
    }

    pub fn begins_with(&self, seen: &[(i64, String, Option<String>)]) -> Result<(), String> {
        let all = self.0.iter().flat_map(|(at, changes)| {
            changes
                .iter()
                .map(|(key, value)| (*at, key.clone(), value.clone()))
        });
        for (expected, found) in all.zip(seen) {
            if expected != *found {
                return Err(format!("a watch was told {found:?} instead of {expected:?}"));
            }
        }
        Ok(())
    }

    /// Value and revision of a key after everything up to `at`.
    fn value_at(&self, key: &str, at: i64) -> Option<(String, i64)> {
        for (revision, changes) in self.0.range(..=at).rev() {
            if let Some((_, value)) = changes.iter().find(|(changed, _)| changed == key) {
                return value.clone().map(|value| (value, *revision));
            }
        }
        None
    }
}

/// Checks everything that clients were told against the log.
pub fn history(calls: &[Call], log: &Log) -> Result<(), String> {
    dense(log)?;
    let mut by_value: HashMap<&str, &Call> = HashMap::new();
    for call in calls {
        if let Kind::Put { value, .. } | Kind::Swap { value, .. } | Kind::Pair { value, .. } = &call.kind {
            by_value.insert(value, call);
        }
    }
    let mut written: HashMap<&str, i64> = HashMap::new();
    for (at, changes) in &log.0 {
        for (_, value) in changes {
            let Some(value) = value else { continue };
            if !by_value.contains_key(value.as_str()) {
                return Err(format!("revision {at} has the value {value}, which nobody wrote"));
            }
            if let Some(before) = written.insert(value, *at)
                && before != *at
            {
                return Err(format!("{value} was written at {before} and again at {at}"));
            }
        }
    }
    for call in calls {
        if let Some(outcome) = &call.outcome {
            told(call, outcome, log).map_err(|why| format!("{why}: {call:?}"))?;
        }
    }
    time(calls, &written)
}

/// Every revision has changes.
fn dense(log: &Log) -> Result<(), String> {
    for (expected, found) in (2..).zip(log.0.keys()) {
        if expected != *found {
            return Err(format!("revision {expected} is missing, {found} follows"));
        }
    }
    Ok(())
}

fn told(call: &Call, outcome: &Outcome, log: &Log) -> Result<(), String> {
    let at = outcome.revision;
    let changes = log.0.get(&at).map(Vec::as_slice).unwrap_or_default();
    let has = |key: &str, value: Option<&str>| {
        changes
            .iter()
            .any(|(changed, new)| changed == key && new.as_deref() == value)
    };
    let is_so = match &call.kind {
        Kind::Put { key, value } => changes.len() == 1 && has(key, Some(value)),
        Kind::Pair { keys, value } => changes.len() == 2 && keys.iter().all(|key| has(key, Some(value))),
        Kind::Delete { key } if outcome.changed => changes.len() == 1 && has(key, None),
        Kind::Delete { key } => log.value_at(key, at).is_none(),
        Kind::Get { key } => log.value_at(key, at) == outcome.found,
        Kind::Swap { key, value, expected } => {
            let before = if outcome.changed { at - 1 } else { at };
            let held = log.value_at(key, before).map_or(0, |(_, at)| at) == *expected;
            held == outcome.changed
                && if outcome.changed {
                    changes.len() == 1 && has(key, Some(value))
                } else {
                    log.value_at(key, at) == outcome.found
                }
        }
    };
    if is_so {
        Ok(())
    } else {
        Err(format!("the log has {changes:?} at {at}"))
    }
}

/// A call that began after another was answered stands behind it in the order of revisions.
fn time(calls: &[Call], written: &HashMap<&str, i64>) -> Result<(), String> {
    struct Point<'c> {
        at: i64,
        writes: bool,
        call: &'c Call,
    }
    let mut points: Vec<Point<'_>> = Vec::new();
    for call in calls {
        let value = match &call.kind {
            Kind::Put { value, .. } | Kind::Swap { value, .. } | Kind::Pair { value, .. } => Some(value),
            Kind::Delete { .. } | Kind::Get { .. } => None,
        };
        let logged = value.and_then(|value| written.get(value.as_str()));
        let at = match (&call.outcome, logged) {
            (Some(outcome), _) => outcome.revision,
            // Nobody knows when it ended, but it cannot have happened before it began.
            (None, Some(at)) => *at,
            (None, None) => continue,
        };
        let writes = call.outcome.as_ref().is_none_or(|outcome| outcome.changed);
        points.push(Point { at, writes, call });
    }
    let mut ends: Vec<&Point<'_>> = points
        .iter()
        .filter(|point| point.call.outcome.is_some())
        .collect();
    ends.sort_by_key(|point| point.call.end);
    let mut starts: Vec<&Point<'_>> = points.iter().collect();
    starts.sort_by_key(|point| point.call.start);
    let mut ended = ends.into_iter().peekable();
    let mut highest: Option<&Point<'_>> = None;
    for point in starts {
        while let Some(before) = ended.next_if(|before| before.call.end < point.call.start) {
            if highest.is_none_or(|highest| before.at > highest.at) {
                highest = Some(before);
            }
        }
        if let Some(before) = highest
            && (point.at < before.at || (point.writes && point.at == before.at))
        {
            return Err(format!(
                "{:?} stands before the earlier {:?}",
                point.call, before.call
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn call(start: u64, end: u64, kind: Kind, outcome: Option<Outcome>, zero: Instant) -> Call {
        Call {
            start: zero + Duration::from_millis(start),
            end: zero + Duration::from_millis(end),
            kind,
            outcome,
        }
    }

    fn put(value: &str) -> Kind {
        Kind::Put {
            key: "a".into(),
            value: value.into(),
        }
    }

    fn get() -> Kind {
        Kind::Get { key: "a".into() }
    }

    fn wrote(revision: i64) -> Option<Outcome> {
        Some(Outcome {
            revision,
            changed: true,
            found: None,
        })
    }

    fn read(revision: i64, found: Option<(&str, i64)>) -> Option<Outcome> {
        let found = found.map(|(value, at)| (value.to_owned(), at));
        Some(Outcome {
            revision,
            changed: false,
            found,
        })
    }

    fn log(values: &[&str]) -> Log {
        let changes = values
            .iter()
            .map(|value| vec![("a".to_owned(), Some((*value).to_owned()))]);
        Log((2..).zip(changes).collect())
    }

    /// The checker itself finds what it is there for.
    #[test]
    fn histories_without_one_order_are_refused() {
        let zero = Instant::now();
        let one = |outcome| call(0, 10, put("1"), outcome, zero);
        let cases: Vec<(&str, Vec<Call>, Log, bool)> = vec![
            (
                "a write and its read",
                vec![one(wrote(2)), call(20, 30, get(), read(2, Some(("1", 2))), zero)],
                log(&["1"]),
                true,
            ),
            ("a lost write", vec![one(wrote(2))], log(&[]), false),
            (
                "an unanswered write that is there",
                vec![one(None)],
                log(&["1"]),
                true,
            ),
            ("an unanswered write that is not", vec![one(None)], log(&[]), true),
            ("a write done twice", vec![one(wrote(2))], log(&["1", "1"]), false),
            ("a value of nobody", vec![one(wrote(2))], log(&["1", "x"]), false),
            (
                "a stale read",
                vec![one(wrote(2)), call(20, 30, get(), read(1, None), zero)],
                log(&["1"]),
                false,
            ),
            (
                "a read of the past while it was so",
                vec![one(wrote(2)), call(5, 30, get(), read(1, None), zero)],
                log(&["1"]),
                true,
            ),
            (
                "a wrong value",
                vec![one(wrote(2)), call(20, 30, get(), read(2, Some(("2", 2))), zero)],
                log(&["1"]),
                false,
            ),
            (
                "writes against time",
                vec![one(wrote(3)), call(20, 30, put("2"), wrote(2), zero)],
                log(&["2", "1"]),
                false,
            ),
        ];
        for (what, calls, log, expected) in cases {
            assert_eq!(history(&calls, &log).is_ok(), expected, "{what}");
        }
    }
}
