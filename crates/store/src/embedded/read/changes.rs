//! Reading what has happened.
use super::Tables;
use crate::embedded::fault::Fault;
use crate::embedded::format::{self, LogEntry, Raw, State};
use crate::embedded::versions::{Past, Stored};
use crate::{Event, EventKind, Key, KeyValue, Revision, StoreError, validate};
use redb::ReadableTable;
use std::collections::HashMap;

/// Which changes to read, and how much at once.
#[derive(Clone, Debug)]
pub(in crate::embedded) struct Changes {
    pub start: Key,
    pub end: Option<Key>,
    /// First revision to look at.
    pub from: u64,
    /// Stop after the revision with which this many bytes of events are reached.
    pub bytes_max: usize,
    /// Stop after the revision with which this many log entries have been looked at.
    pub entries_max: usize,
}

/// Reads history: the events, and the last revision that was looked at in full.
pub(in crate::embedded) fn changes(
    tables: Tables<'_, impl ReadableTable<Raw, Raw>, impl ReadableTable<Raw, Raw>>,
    state: &State,
    wanted: &Changes,
) -> Result<(Vec<Event>, u64), Fault> {
    if wanted.from < state.compacted {
        return Err(Fault::Refused(StoreError::Compacted {
            requested: Revision(wanted.from),
            oldest: Revision(state.compacted),
        }));
    }
    let first = format::log_position(wanted.from, 0);
    let mut found = Vec::new();
    let mut through = state.revision;
    let (mut bytes, mut entries, mut in_revision) = (0, 0, wanted.from);
    for entry in tables.log.range(first.as_slice()..)? {
        let (position, row) = entry?;
        let revision = format::log_revision(position.value())?;
        if revision != in_revision {
            if bytes >= wanted.bytes_max || entries >= wanted.entries_max {
                through = revision - 1;
                break;
            }
            in_revision = revision;
        }
        entries += 1;
        let logged = LogEntry::decode(position.value(), row.value())?;
        if !validate::contains(&wanted.start, wanted.end.as_ref(), logged.key) {
            continue;
        }
        // What a key becomes is about as long as what it was.
        bytes += size_of::<Event>() + 2 * row.value().len();
        found.push(Change {
            revision,
            kind: logged.kind,
            key: logged.key.into(),
            previous: logged.previous,
            replaced: logged
                .replaced
                .map(|replaced| Stored::new(&replaced, logged.previous)),
        });
    }
    Ok((events(tables, state, found)?, through))
}

/// A change without what the key has become.
struct Change {
    revision: u64,
    kind: EventKind,
    key: Key,
    previous: u64,
    replaced: Option<Stored>,
}

/// Adds what the keys have become: from the end, since each change of a key tells what it found.
fn events(
    tables: Tables<'_, impl ReadableTable<Raw, Raw>, impl ReadableTable<Raw, Raw>>,
    state: &State,
    changes: Vec<Change>,
) -> Result<Vec<Event>, Fault> {
    let mut past = Past::new(tables.keys, tables.log);
    let mut later: HashMap<Key, Stored> = HashMap::new();
    let mut events = Vec::with_capacity(changes.len());
    for change in changes.into_iter().rev() {
        let Change {
            revision,
            kind,
            key,
            previous,
            replaced,
        } = change;
        let found = later
            .remove(&key)
            .filter(|version| version.mod_revision == revision);
        let version = match (kind, found) {
            (EventKind::Delete, _) => Stored::deletion(revision),
            (EventKind::Put, Some(version)) => version,
            (EventKind::Put, None) => past.exactly(&key, revision)?,
        };
        let previous = match &replaced {
            // Like etcd's, it is gone with the compaction.
            _ if previous == 0 || revision <= state.compacted => None,
            Some(replaced) => replaced.alive(&key),
            None => past
                .as_of(&key, previous)?
                .filter(|version| version.mod_revision == previous)
                .and_then(|version| version.alive(&key)),
        };
        events.push(Event {
            kind,
            kv: version.to_key_value(&key),
            previous,
        });
        if let Some(replaced) = replaced {
            later.insert(key, replaced);
        }
    }
    events.reverse();
    Ok(events)
}

/// About how much memory an event holds.
pub(in crate::embedded) fn event_bytes(event: &Event) -> usize {
    let key_value = |kv: &KeyValue| size_of::<KeyValue>() + kv.key.len() + kv.value.len();
    key_value(&event.kv) + event.previous.as_ref().map_or(0, key_value)
}
