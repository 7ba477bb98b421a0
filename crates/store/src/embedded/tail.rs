//! The newest revisions in memory, shared by all watchers. It never blocks the writer: who falls out
//! of it reads the database.
use super::batch::Committed;
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// Revisions handed to a watcher at once.
const TAKE_REVISIONS_MAX: usize = 256;

/// How far the store is durable, as watchers learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Durable {
    pub revision: u64,
    pub closed: bool,
}

#[derive(Debug)]
pub(super) struct Tail {
    recent: RwLock<Recent>,
    durable: watch::Sender<Durable>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Recent {
    /// Successive revisions without a gap.
    revisions: VecDeque<Arc<Committed>>,
    bytes: usize,
}

impl Tail {
    pub(super) fn new(revision: u64, bytes_max: usize) -> Self {
        Self {
            recent: RwLock::default(),
            durable: watch::Sender::new(Durable {
                revision,
                closed: false,
            }),
            bytes_max,
        }
    }

    /// Shows durable revisions to the watchers.
    pub(super) fn publish(&self, committed: Vec<Committed>, revision: u64) {
        let mut recent = self.recent.write();
        if self.durable.receiver_count() == 0 {
            // Nobody watches; whoever begins will find the rest in the database.
            *recent = Recent::default();
        } else {
            for one in committed {
                recent.push(one, self.bytes_max);
            }
        }
        drop(recent);
        self.durable.send_if_modified(|durable| {
            let moved = durable.revision != revision;
            durable.revision = revision;
            moved
        });
    }

    pub(super) fn close(&self) {
        self.durable.send_modify(|durable| durable.closed = true);
        *self.recent.write() = Recent::default();
    }

    pub(super) fn durable(&self) -> Durable {
        *self.durable.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    /// The revisions from `from` on; `None` when the tail does not reach back that far.
    pub(super) fn since(&self, from: u64) -> Option<Vec<Arc<Committed>>> {
        let recent = self.recent.read();
        let first = recent.revisions.front()?.revision;
        let skip = from.checked_sub(first)? as usize;
        let found: Vec<_> = recent
            .revisions
            .iter()
            .skip(skip)
            .take(TAKE_REVISIONS_MAX)
            .cloned()
            .collect();
        (!found.is_empty()).then_some(found)
    }
}

impl Recent {
    fn push(&mut self, committed: Committed, bytes_max: usize) {
        if let Some(last) = self.revisions.back()
            && last.revision + 1 != committed.revision
        {
            // A commit whose fate was learnt late went past us.
            *self = Self::default();
        }
        self.bytes += committed.bytes;
        self.revisions.push_back(Arc::new(committed));
        while self.bytes > bytes_max {
            let Some(oldest) = self.revisions.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(revision: u64) -> Committed {
        Committed {
            revision,
            events: Vec::new(),
            bytes: 10,
        }
    }

    fn revisions(tail: &Tail, from: u64) -> Option<Vec<u64>> {
        let found = tail.since(from)?;
        Some(found.iter().map(|one| one.revision).collect())
    }

    #[test]
    fn the_tail_is_bounded_and_never_has_a_gap() {
        let tail = Tail::new(1, 35);
        tail.publish(vec![committed(2)], 2);
        assert_eq!(revisions(&tail, 2), None, "nobody watched");
        let _watcher = tail.subscribe();
        tail.publish(vec![committed(3), committed(4)], 4);
        tail.publish(vec![committed(5), committed(6)], 6);
        assert_eq!(revisions(&tail, 3), None, "35 bytes hold three of them");
        assert_eq!(revisions(&tail, 4), Some(vec![4, 5, 6]));
        assert_eq!(revisions(&tail, 6), Some(vec![6]));
        assert_eq!(revisions(&tail, 7), None);
        tail.publish(vec![committed(8)], 8);
        assert_eq!(revisions(&tail, 6), None, "7 is not in memory");
        assert_eq!(revisions(&tail, 8), Some(vec![8]));
        tail.publish(vec![committed(9)], 9);
        assert_eq!(tail.durable().revision, 9);
    }
}
