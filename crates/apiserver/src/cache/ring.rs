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
    #[cfg(test)]
    fn starting_at(revision: u64) -> Self {
        Self {
            oldest: revision,
            ..Self::default()
        }
    }

    /// Forgets everything and goes on from `revision`; readers of before are told.
    pub fn restart(&mut self, revision: u64) {
        self.first = self.end() + 1;
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
