//! Who is woken by which change.
//!
//! A watch by a selector that names one value (a node's pods, one Secret) sleeps through all changes that cannot concern
//! it: a thousand node agents that each watch their own pods cost a change to one of these no more than one of them
//! would. A watcher holds no queue, only the position of the first change it has to look at.
use super::Object;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// No change to look at.
const NOTHING: u64 = u64::MAX;

/// What changes may concern a watch: those of objects that have this, now or before. Wider than its selector is
/// allowed, narrower is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest<'a> {
    All,
    Namespace(&'a str),
    Name(&'a str),
    /// A value of a selectable field, by its place in [`Object::fields`].
    Field(usize, &'a str),
    /// A label with any value.
    Label(&'a str),
    LabelValue(&'a str, &'a str),
}

impl Interest<'_> {
    fn kind(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Namespace(_) => 1,
            Self::Name(_) => 2,
            Self::Field(..) => 3,
            Self::Label(_) => 4,
            Self::LabelValue(..) => 5,
        }
    }
}

const KINDS: usize = 6;

/// One watch, as those see it who wake it.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Position in the ring of the first change that it has to look at.
    next: AtomicU64,
    waker: AtomicWaker,
    /// Where it stands in its list.
    place: AtomicUsize,
    /// It alone has nothing to wait for any more.
    ended: AtomicBool,
}

impl Waiter {
    /// It has to look at the changes from `position` on; answers whether it had nothing to look at before.
    fn must_look(&self, position: u64) -> bool {
        self.next.fetch_min(position, Ordering::AcqRel) == NOTHING
    }

    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Tells this one that there will be no more changes.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake();
    }
}

/// The watches of one resource's changes.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    lists: Mutex<Lists>,
    closed: AtomicBool,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Lists {
    /// By the hash of what they are interested in: two interests of one hash only wake each other's watches.
    by_interest: HashMap<u64, Vec<Arc<Waiter>>>,
    /// How many there are by the kind of their interest, so that nobody looks for kinds that there are none of.
    count: [usize; KINDS],
}

/// A watch's place among the watchers of a resource; it ends when dropped.
#[derive(Debug)]
pub struct Subscription {
    watchers: Arc<Watchers>,
    waiter: Arc<Waiter>,
    interest: u64,
    kind: usize,
}

impl Watchers {
    pub fn subscribe(self: &Arc<Self>, interest: Interest<'_>) -> Subscription {
        let (hash, kind) = (self.hasher.hash_one(interest), interest.kind());
        let mut lists = self.lists.lock();
        lists.count[kind] += 1;
        let list = lists
            .by_interest
            .entry(hash)
            .or_insert_with(|| Vec::with_capacity(1));
        let waiter = Arc::new(Waiter {
            next: AtomicU64::new(NOTHING),
            waker: AtomicWaker::new(),
            place: AtomicUsize::new(list.len()),
            ended: AtomicBool::new(false),
        });
        list.push(waiter.clone());
        Subscription {
            watchers: self.clone(),
            waiter,
            interest: hash,
            kind,
        }
    }

    /// Notes the change at `position` for those it may concern, and puts into `to_wake` who was not awake yet.
    pub fn changed(&self, position: u64, versions: [Option<&Object>; 2], to_wake: &mut Vec<Arc<Waiter>>) {
        let lists = self.lists.lock();
        if lists.by_interest.is_empty() {
            return;
        }
        let mut concerns = |interest: Interest<'_>| {
            if lists.count[interest.kind()] > 0
                && let Some(list) = lists.by_interest.get(&self.hasher.hash_one(interest))
            {
                to_wake.extend(list.iter().filter(|waiter| waiter.must_look(position)).cloned());
            }
        };
        concerns(Interest::All);
        for object in versions.into_iter().flatten() {
            concerns(Interest::Namespace(object.namespace()));
            concerns(Interest::Name(object.name()));
            for (index, value) in object.fields().enumerate() {
                concerns(Interest::Field(index, value));
            }
            for (label, value) in object.labels() {
                concerns(Interest::Label(label));
                concerns(Interest::LabelValue(label, value));
            }
        }
    }

    /// Everybody has to look from `position` on.
    pub fn all_must_look(&self, position: u64) {
        for waiter in self.lists.lock().by_interest.values().flatten() {
            waiter.must_look(position);
            waiter.wake();
        }
    }

    /// Puts all who watch into `found`.
    pub fn collect(&self, found: &mut Vec<Arc<Waiter>>) {
        let lists = self.lists.lock();
        found.extend(lists.by_interest.values().flatten().cloned());
    }

    /// Tells everybody that there will be no more changes.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for waiter in self.lists.lock().by_interest.values().flatten() {
            waiter.wake();
        }
    }
}

impl Subscription {
    /// There is a change at `position` to look at, or will be.
    pub fn look_from(&self, position: u64) {
        self.waiter.must_look(position);
    }

    /// Takes the position of the first change to look at. Call it with the ring locked against changes, and look at all
    /// that follow, or say with [`Self::look_from`] what is left.
    pub(super) fn take(&self) -> Option<u64> {
        let position = self.waiter.next.swap(NOTHING, Ordering::AcqRel);
        (position != NOTHING).then_some(position)
    }

    /// Ready when there is something to look at: true; or nothing will ever be: false.
    pub fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.waiter.waker.register(cx.waker());
        if self.watchers.closed.load(Ordering::Acquire) || self.waiter.ended.load(Ordering::Acquire) {
            return Poll::Ready(false);
        }
        match self.waiter.next.load(Ordering::Acquire) {
            NOTHING => Poll::Pending,
            _ => Poll::Ready(true),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut lists = self.watchers.lists.lock();
        lists.count[self.kind] -= 1;
        let Some(list) = lists.by_interest.get_mut(&self.interest) else {
            return;
        };
        let place = self.waiter.place.load(Ordering::Relaxed);
        list.swap_remove(place);
        if let Some(moved) = list.get(place) {
            moved.place.store(place, Ordering::Relaxed);
        }
        if list.is_empty() {
            lists.by_interest.remove(&self.interest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;

    fn pod(name: &str, labels: &str, node: &str) -> Object {
        let resource = resources::find("", "v1", "pods").unwrap();
        let stored = format!(
            r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"d","labels":{labels}}},"spec":{{"nodeName":"{node}"}}}}"#
        );
        Object::from_stored(resource, format!("d/{name}").into(), stored.as_bytes(), 1, true).unwrap()
    }

    /// What each of these interests has to look at after a change of `object`, which replaced `previous`.
    fn woken(interests: &[Interest<'_>], object: &Object, previous: Option<&Object>) -> Vec<bool> {
        let watchers = Arc::new(Watchers::default());
        let open: Vec<Subscription> = interests.iter().map(|i| watchers.subscribe(*i)).collect();
        let mut to_wake = Vec::new();
        watchers.changed(7, [Some(object), previous], &mut to_wake);
        let woken: Vec<bool> = open.iter().map(|s| s.take() == Some(7)).collect();
        assert_eq!(to_wake.len(), woken.iter().filter(|w| **w).count(), "each once");
        woken
    }

    #[test]
    fn only_whom_a_change_may_concern_is_woken() {
        let resource = resources::find("", "v1", "pods").unwrap();
        let node = resource
            .fields
            .iter()
            .position(|f| f.name == "spec.nodeName")
            .unwrap();
        let interests = [
            Interest::All,
            Interest::Namespace("d"),
            Interest::Namespace("e"),
            Interest::Name("p"),
            Interest::Name("q"),
            Interest::Field(node, "n1"),
            Interest::Field(node, "n2"),
            Interest::Label("app"),
            Interest::Label("tier"),
            Interest::LabelValue("app", "x"),
            Interest::LabelValue("app", "y"),
        ];
        let now = pod("p", r#"{"app":"x"}"#, "n1");
        assert_eq!(
            woken(&interests, &now, None),
            [
                true, true, false, true, false, true, false, true, false, true, false
            ]
        );
        // It was on another node and had another label: who watches these sees it go.
        let before = pod("p", r#"{"app":"y"}"#, "n2");
        assert_eq!(
            woken(&interests, &now, Some(&before)),
            [
                true, true, false, true, false, true, true, true, false, true, true
            ]
        );
    }

    #[test]
    fn the_first_change_counts_until_it_is_taken() {
        let watchers = Arc::new(Watchers::default());
        let subscription = watchers.subscribe(Interest::All);
        let object = pod("p", "{}", "n");
        let mut to_wake = Vec::new();
        for position in [3, 4] {
            watchers.changed(position, [Some(&object), None], &mut to_wake);
        }
        assert_eq!(to_wake.len(), 1);
        assert_eq!((subscription.take(), subscription.take()), (Some(3), None));
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let watchers = Arc::new(Watchers::default());
        let mut open: Vec<Subscription> = (0..5).map(|_| watchers.subscribe(Interest::Name("p"))).collect();
        for place in [1, 0, 2] {
            drop(open.remove(place));
            let mut to_wake = Vec::new();
            watchers.changed(1, [Some(&pod("p", "{}", "n")), None], &mut to_wake);
            assert_eq!(to_wake.len(), open.len());
            assert!(open.iter().all(|s| s.take() == Some(1)));
        }
        drop(open);
        assert!(watchers.lists.lock().by_interest.is_empty());
        assert_eq!(watchers.lists.lock().count, [0; KINDS]);
    }
}
