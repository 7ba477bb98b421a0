//! The recent changes of one resource, oldest first.
use super::Object;
use std::collections::VecDeque;
use std::sync::Arc;

/// Changes kept per resource. A watcher that reconnects within so many changes misses nothing;
/// one that is further behind lists again.
const RING_CHANGES_MAX: usize = 1024;
/// Bytes of superseded versions kept alive per resource, so that history of big objects stays small.
const RING_BYTES_MAX: usize = 1024 * 1024;
/// Changes handed to a watcher at once; bounds how long the cache's lock is held.
const BATCH_CHANGES_MAX: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One change: the version it made (for a deletion: the last state, at the deletion's revision).
#[derive(Debug)]
pub struct Change {
    pub kind: ChangeKind,
    pub object: Arc<Object>,
    pub previous: Option<Arc<Object>>,
}

impl Change {
    fn size(&self) -> usize {
        // What the ring alone keeps alive is about the version it replaced, or the deleted one.
        self.previous.as_ref().map_or(64, |p| p.size())
    }
}

/// The ring has moved past what was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired {
    /// The oldest revision a watch may still start from.
    pub oldest: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ring {
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    /// Position of the first change kept, counted from the server's start.
    first: u64,
    /// Every change after this revision is kept.
    oldest: u64,
}

impl Ring {
    /// One that knows what happens after `revision`.
    pub fn starting_at(revision: u64) -> Self {
        Self {
            oldest: revision,
            ..Self::default()
        }
    }

    /// Forgets everything and goes on from `revision`; readers of before are told.
    pub fn restart(&mut self, revision: u64) {
        // Positions are left free for what `precede` puts in front.
        self.first = self.end() + 1 + RING_CHANGES_MAX as u64;
        self.changes.clear();
        self.bytes = 0;
        self.oldest = revision;
    }

    pub fn push(&mut self, change: Change) {
        self.bytes += change.size();
        self.changes.push_back(Arc::new(change));
        while self.changes.len() > RING_CHANGES_MAX || (self.bytes > RING_BYTES_MAX && self.changes.len() > 1)
        {
            if let Some(gone) = self.changes.pop_front() {
                self.bytes -= gone.size();
                self.oldest = gone.object.revision;
                self.first += 1;
            }
        }
    }

    /// Puts what happened up to `revision`, where this ring was restarted, before its first change, as far as there is
    /// room: nothing that is there makes room for what is older.
    pub fn precede(&mut self, mut past: Self, revision: u64) {
        if self.oldest != revision {
            // It has moved on meanwhile: there would be a gap.
            return;
        }
        self.oldest = past.oldest;
        while let Some(change) = past.changes.pop_back() {
            let bytes = self.bytes + change.size();
            if self.changes.len() == RING_CHANGES_MAX || bytes > RING_BYTES_MAX {
                self.oldest = change.object.revision;
                return;
            }
            self.bytes = bytes;
            self.first -= 1;
            self.changes.push_front(change);
        }
    }

    /// The position of the first change after `revision`.
    pub fn position_after(&self, revision: u64) -> Result<u64, Expired> {
        if revision < self.oldest {
            return Err(Expired { oldest: self.oldest });
        }
        let index = self.changes.partition_point(|c| c.object.revision <= revision);
        Ok(self.first + index as u64)
    }

    /// The position behind the last change.
    pub fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// Changes from `position` on, a batch of them.
    pub fn read(&self, position: u64) -> Result<Vec<Arc<Change>>, Expired> {
        let Some(skip) = position.checked_sub(self.first) else {
            return Err(Expired { oldest: self.oldest });
        };
        Ok(self
            .changes
            .iter()
            .skip(skip as usize)
            .take(BATCH_CHANGES_MAX)
            .cloned()
            .collect())
    }

    /// The revision of the newest change, 0 if there was none.
    pub fn newest(&self) -> u64 {
        self.changes.back().map_or(self.oldest, |c| c.object.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;

    fn change(revision: u64) -> Change {
        let resource = resources::find("", "v1", "configmaps").unwrap();
        let stored = br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"}}"#;
        Change {
            kind: ChangeKind::Modified,
            object: Arc::new(Object::from_stored(resource, "d/c".into(), stored, revision, false).unwrap()),
            previous: None,
        }
    }

    #[test]
    fn a_reader_sees_every_change_after_its_revision() {
        let mut ring = Ring::starting_at(10);
        for revision in [11, 13, 13, 20] {
            ring.push(change(revision));
        }
        assert_eq!(ring.position_after(9), Err(Expired { oldest: 10 }));
        let at = ring.position_after(11).unwrap();
        let seen: Vec<u64> = ring.read(at).unwrap().iter().map(|c| c.object.revision).collect();
        assert_eq!(seen, [13, 13, 20]);
        assert_eq!(ring.position_after(99).unwrap(), ring.end());
    }

    fn past(since: u64, revisions: std::ops::RangeInclusive<u64>) -> Ring {
        let mut ring = Ring::starting_at(since);
        revisions.for_each(|revision| ring.push(change(revision)));
        ring
    }

    fn seen_after(ring: &Ring, revision: u64) -> Result<Vec<u64>, Expired> {
        let mut position = ring.position_after(revision)?;
        let mut seen = Vec::new();
        while position < ring.end() {
            let batch = ring.read(position)?;
            position += batch.len() as u64;
            seen.extend(batch.iter().map(|change| change.object.revision));
        }
        Ok(seen)
    }

    #[test]
    fn what_was_before_the_start_comes_before_what_follows() {
        let mut ring = Ring::default();
        ring.restart(20);
        ring.push(change(21));
        let reader = ring.position_after(20).unwrap();
        assert!(ring.position_after(15).is_err());
        ring.precede(past(12, 13..=20), 20);
        assert_eq!(seen_after(&ring, 18).unwrap(), [19, 20, 21]);
        assert_eq!(seen_after(&ring, 12).unwrap().len(), 9);
        assert_eq!(ring.position_after(11), Err(Expired { oldest: 12 }));
        // Who reads already is where it was.
        assert_eq!(ring.read(reader).unwrap()[0].object.revision, 21);
    }

    #[test]
    fn the_past_takes_the_room_that_is_left() {
        let many = RING_CHANGES_MAX as u64;
        let mut ring = Ring::default();
        ring.restart(2 * many);
        (1..=10).for_each(|more| ring.push(change(2 * many + more)));
        ring.precede(past(many, many + 1..=2 * many), 2 * many);
        assert_eq!(seen_after(&ring, many + 10).unwrap().len() as u64, many);
        assert_eq!(ring.position_after(many + 9), Err(Expired { oldest: many + 10 }));
        // One that has forgotten something since has no place for it.
        let mut ring = Ring::default();
        ring.restart(5);
        (6..=6 + many).for_each(|revision| ring.push(change(revision)));
        ring.precede(past(0, 1..=5), 5);
        assert_eq!(ring.position_after(5), Err(Expired { oldest: 6 }));
    }

    /// W07: what has left the ring is refused, never skipped.
    #[test]
    fn a_reader_that_fell_behind_is_told() {
        let mut ring = Ring::starting_at(0);
        let start = ring.position_after(0).unwrap();
        for revision in 1..=(RING_CHANGES_MAX as u64 + 5) {
            ring.push(change(revision));
        }
        assert_eq!(ring.read(start).unwrap_err(), Expired { oldest: 5 });
        assert!(ring.position_after(5).is_ok());
    }
}
