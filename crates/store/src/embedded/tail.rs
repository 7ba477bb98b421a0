//! The newest revisions in memory, shared by all watchers, and which watch is to be woken for them. It never waits for
//! a watcher: who falls out of it reads the database.
use super::batch::Committed;
use crate::{Key, StoreError, validate};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Revisions handed to a watcher at once,
const TAKE_REVISIONS_MAX: usize = 256;
/// and the bytes of events after which it is given no more of them: what lies before a slow receiver is bounded by that.
const TAKE_BYTES_MAX: usize = 512 << 10;

#[derive(Debug)]
pub(super) struct Tail {
    recent: RwLock<Recent>,
    watches: Mutex<Watches>,
    /// How far the store is durable. Set when all watches know.
    durable: AtomicU64,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Recent {
    /// Successive revisions without a gap.
    revisions: VecDeque<Arc<Committed>>,
    bytes: usize,
}

/// The watches that there are.
#[derive(Debug, Default)]
struct Watches {
    by_id: BTreeMap<u64, Watched>,
    last_id: u64,
    /// The newest revision that was shown.
    revision: u64,
    closed: bool,
}

#[derive(Debug)]
struct Watched {
    start: Key,
    end: Option<Key>,
    place: Place,
    /// It sleeps, having told everything that was shown before: it is moved on past what is not for it.
    is_asleep: bool,
    /// It is going to say how far it is anyway.
    will_tell: bool,
}

/// Where a watch is, as far as it was moved on in its sleep, and what wakes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Up to here nothing is left to tell; 0: it was never moved on.
    pub passed: Arc<AtomicU64>,
    pub woken: Arc<Notify>,
}

impl Watched {
    fn wake(&mut self) {
        self.is_asleep = false;
        self.place.woken.notify_one();
    }

    /// Shows a watch that sleeps what has come; `is_whole`: without a gap.
    fn show(&mut self, committed: &[Arc<Committed>], revision: u64, is_whole: bool) {
        let wants = |one: &Arc<Committed>| {
            let mut keys = one.events.iter().map(|event| &event.kv.key);
            keys.any(|key| validate::contains(&self.start, self.end.as_ref(), key))
        };
        if !is_whole || committed.iter().any(wants) {
            return self.wake();
        }
        self.place.passed.fetch_max(revision, Ordering::AcqRel);
        if !self.will_tell {
            self.wake();
        }
    }
}

impl Tail {
    pub(super) fn new(revision: u64, bytes_max: usize) -> Self {
        Self {
            recent: RwLock::default(),
            watches: Mutex::new(Watches {
                revision,
                ..Watches::default()
            }),
            durable: AtomicU64::new(revision),
            bytes_max,
        }
    }

    /// Shows durable revisions to the watches.
    pub(super) fn publish(&self, committed: Vec<Committed>, revision: u64) {
        let mut watches = self.watches.lock();
        let is_whole = committed
            .first()
            .is_none_or(|first| first.revision == watches.revision + 1)
            && revision == watches.revision + committed.len() as u64;
        let committed: Vec<_> = committed.into_iter().map(Arc::new).collect();
        if watches.by_id.is_empty() {
            // Nobody watches; whoever begins will find the rest in the database.
            *self.recent.write() = Recent::default();
        } else {
            let mut recent = self.recent.write();
            for one in &committed {
                recent.push(one.clone(), self.bytes_max);
            }
        }
        if revision != watches.revision {
            watches.revision = revision;
            let asleep = watches.by_id.values_mut().filter(|watched| watched.is_asleep);
            asleep.for_each(|watched| watched.show(&committed, revision, is_whole));
        }
        self.durable.store(revision, Ordering::Release);
    }

    pub(super) fn close(&self) {
        let mut watches = self.watches.lock();
        watches.closed = true;
        watches.by_id.values_mut().for_each(Watched::wake);
        *self.recent.write() = Recent::default();
    }

    /// The newest durable revision.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Takes in a watch, which is awake; answers its name, and the newest revision that was shown before it.
    pub(super) fn enter(&self, start: Key, end: Option<Key>, place: Place) -> Result<(u64, u64), StoreError> {
        let mut watches = self.watches.lock();
        if watches.closed {
            return Err(StoreError::Closed);
        }
        watches.last_id += 1;
        let id = watches.last_id;
        let watched = Watched {
            start,
            end,
            place,
            is_asleep: false,
            will_tell: false,
        };
        watches.by_id.insert(id, watched);
        Ok((id, watches.revision))
    }

    pub(super) fn leave(&self, id: u64) {
        self.watches.lock().by_id.remove(&id);
    }

    /// Lets a watch sleep, unless revision `next` is there. It is woken by what is for it, and once by what is not
    /// unless it `will_tell` how far it is anyway.
    pub(super) fn sleep(&self, id: u64, next: u64, will_tell: bool) -> Result<bool, StoreError> {
        let mut watches = self.watches.lock();
        if watches.closed {
            return Err(StoreError::Closed);
        }
        if next <= watches.revision {
            return Ok(false);
        }
        if let Some(watched) = watches.by_id.get_mut(&id) {
            watched.is_asleep = true;
            watched.will_tell = will_tell;
        }
        Ok(true)
    }

    /// From here on a watch is not moved on any more.
    pub(super) fn rise(&self, id: u64) {
        if let Some(watched) = self.watches.lock().by_id.get_mut(&id) {
            watched.is_asleep = false;
        }
    }

    /// The revisions from `from` on; `None` when the tail does not reach back that far.
    pub(super) fn since(&self, from: u64) -> Option<Vec<Arc<Committed>>> {
        let recent = self.recent.read();
        let first = recent.revisions.front()?.revision;
        let skip = from.checked_sub(first)? as usize;
        let mut bytes = 0;
        let fits = |one: &&Arc<Committed>| {
            let before = bytes;
            bytes += one.bytes;
            before < TAKE_BYTES_MAX
        };
        let found: Vec<_> = recent
            .revisions
            .iter()
            .skip(skip)
            .take(TAKE_REVISIONS_MAX)
            .take_while(fits)
            .cloned()
            .collect();
        (!found.is_empty()).then_some(found)
    }
}

impl Recent {
    fn push(&mut self, committed: Arc<Committed>, bytes_max: usize) {
        if let Some(last) = self.revisions.back()
            && last.revision + 1 != committed.revision
        {
            // A commit whose fate was learnt late went past us.
            *self = Self::default();
        }
        self.bytes += committed.bytes;
        self.revisions.push_back(committed);
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
    use crate::{Event, EventKind, KeyValue, Revision};
    use futures::FutureExt;

    fn committed(revision: u64) -> Committed {
        Committed {
            revision,
            events: Vec::new(),
            bytes: 10,
        }
    }

    fn changing(revision: u64, key: &str) -> Committed {
        let kv = KeyValue {
            key: key.into(),
            value: bytes::Bytes::new(),
            create_revision: Revision(revision),
            mod_revision: Revision(revision),
            version: 1,
            lease: None,
        };
        let event = Event {
            kind: EventKind::Put,
            kv,
            previous: None,
        };
        Committed {
            events: vec![event],
            ..committed(revision)
        }
    }

    fn revisions(tail: &Tail, from: u64) -> Option<Vec<u64>> {
        let found = tail.since(from)?;
        Some(found.iter().map(|one| one.revision).collect())
    }

    fn watch(tail: &Tail, key: &str) -> (u64, Place) {
        let place = Place::default();
        let (id, _) = tail.enter(key.into(), None, place.clone()).unwrap();
        (id, place)
    }

    #[test]
    fn a_watcher_takes_no_more_at_once_than_it_may_hold() {
        let tail = Tail::new(1, usize::MAX);
        watch(&tail, "a");
        let large = |revision| Committed {
            bytes: TAKE_BYTES_MAX / 2,
            ..committed(revision)
        };
        tail.publish((2..10).map(large).collect(), 9);
        assert_eq!(revisions(&tail, 2), Some(vec![2, 3]));
        assert_eq!(revisions(&tail, 9), Some(vec![9]));
        tail.publish((10..1000).map(committed).collect(), 999);
        assert_eq!(revisions(&tail, 10).unwrap().len(), TAKE_REVISIONS_MAX);
    }

    #[test]
    fn the_tail_is_bounded_and_never_has_a_gap() {
        let tail = Tail::new(1, 35);
        tail.publish(vec![committed(2)], 2);
        assert_eq!(revisions(&tail, 2), None, "nobody watched");
        watch(&tail, "a");
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
        assert_eq!(tail.durable(), 9);
    }

    #[test]
    fn a_watch_sleeps_through_what_is_not_for_it_and_nothing_else() {
        let tail = Tail::new(1, 1000);
        let (id, place) = watch(&tail, "a");
        let is_woken = || place.woken.notified().now_or_never().is_some();
        let passed = || place.passed.load(Ordering::Acquire);
        assert!(tail.sleep(id, 2, true).unwrap());
        tail.publish(vec![changing(2, "b"), changing(3, "c")], 3);
        tail.publish(Vec::new(), 3);
        assert_eq!((is_woken(), passed()), (false, 3));
        tail.publish(vec![changing(4, "b"), changing(5, "a")], 5);
        assert_eq!((is_woken(), passed()), (true, 3));
        assert!(!tail.sleep(id, 4, true).unwrap(), "4 and 5 are there");
        // Awake, it is not moved on: it may be anywhere.
        tail.publish(vec![changing(6, "b")], 6);
        assert_eq!((is_woken(), passed()), (false, 3));
        // It is woken once to tell how far it is.
        assert!(tail.sleep(id, 7, false).unwrap());
        tail.publish(vec![changing(7, "b")], 7);
        assert_eq!((is_woken(), passed()), (true, 7));
        // Nobody knows what was between.
        assert!(tail.sleep(id, 8, true).unwrap());
        tail.publish(vec![changing(9, "b")], 9);
        assert_eq!((is_woken(), passed()), (true, 7));
        assert!(!tail.sleep(id, 8, true).unwrap());
        assert!(tail.sleep(id, 10, true).unwrap());
        tail.rise(id);
        tail.publish(vec![changing(10, "b")], 10);
        assert_eq!((is_woken(), passed()), (false, 7));
        assert!(tail.sleep(id, 11, true).unwrap());
        tail.close();
        assert!(is_woken());
        assert!(matches!(tail.sleep(id, 11, true), Err(StoreError::Closed)));
    }

    #[test]
    fn a_watch_of_what_is_yet_to_come_is_not_moved_back() {
        let tail = Tail::new(1, 1000);
        let (id, place) = watch(&tail, "a");
        place.passed.store(99, Ordering::Release);
        assert!(tail.sleep(id, 100, true).unwrap());
        tail.publish(vec![changing(2, "b")], 2);
        assert_eq!(place.passed.load(Ordering::Acquire), 99);
    }
}
