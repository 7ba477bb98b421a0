//! What the cache holds.
mod lost;
mod snapshots;

pub use snapshots::Snapshot;

use super::feed::Contents;
use super::reached::Reached;
use super::ring::Ring;
use super::storage::{Applied, Storage};
use super::watchers::{Interest, Subscription, Waiter};
use super::{Change, Expired, Object};
use crate::custom::Registry;
use crate::resources::{self, Resource};
use parking_lot::RwLock;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a read waits for a revision the server has not reached (upstream's 3 s).
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// Names the storage of one resource inside the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StorageId(pub(super) usize);

struct State {
    revision: u64,
    /// The revision that everything was read at.
    loaded: u64,
    storages: Vec<Storage>,
    by_prefix: HashMap<&'static str, StorageId>,
    /// Watches end as soon as they have told what there is.
    is_closed: bool,
}

/// See the crate's `cache` module.
pub struct Cache {
    state: RwLock<State>,
    /// The store's revision that has been applied.
    revision: watch::Sender<u64>,
    /// The same, for who waits for a certain one.
    reached: Reached,
    /// The revision of the last start before which everything is known that will be known.
    recalled: watch::Sender<u64>,
    /// How many storages are shut, or lack objects that cannot be opened.
    shut: watch::Sender<usize>,
    custom: Registry,
}

impl Cache {
    pub fn new() -> Self {
        let cache = Self {
            state: RwLock::new(State {
                revision: 0,
                loaded: 0,
                storages: Vec::new(),
                by_prefix: HashMap::new(),
                is_closed: false,
            }),
            revision: watch::Sender::new(0),
            reached: Reached::default(),
            recalled: watch::Sender::new(0),
            shut: watch::Sender::new(0),
            custom: Registry::default(),
        };
        for resource in resources::all().iter().filter(|r| r.owns_storage()) {
            cache.declare(resource);
        }
        cache
    }

    /// The custom resources of the definitions in the cache.
    pub fn custom(&self) -> &Registry {
        &self.custom
    }

    /// Makes room for a resource's objects. If there is room under its prefix already, they take its form: that of
    /// another version, for a custom resource.
    pub(super) fn declare(&self, resource: &'static Resource) {
        let mut state = self.state.write();
        let revision = state.revision;
        if let Some(id) = state.by_prefix.get(resource.storage).copied() {
            state.storages[id.0].take_form(resource);
            return;
        }
        let id = StorageId(state.storages.len());
        state.by_prefix.insert(resource.storage, id);
        let storage = Storage::new(resource, revision);
        if state.is_closed {
            storage.watchers.close();
        }
        state.storages.push(storage);
    }

    /// Lets all objects of a resource be read as it says now: it has other defaults.
    pub(super) fn renew(&self, resource: &Resource) {
        if let Some(id) = self.storage(resource) {
            self.state.write().storages[id.0].renew();
        }
    }

    /// Puts objects in the place of the same versions of them that were read otherwise. That is no change of theirs:
    /// nobody is told.
    pub(super) fn refresh(&self, objects: Vec<(StorageId, Object)>) {
        let mut state = self.state.write();
        for (id, object) in objects {
            if let Some(present) = state.storages[id.0].objects.get_mut(&object.key)
                && present.revision == object.revision
            {
                *present = Arc::new(object);
            }
        }
    }

    /// The storage of a resource; resources that are views of another share it.
    pub fn storage(&self, resource: &Resource) -> Option<StorageId> {
        self.state.read().by_prefix.get(resource.storage).copied()
    }

    /// Splits a store key into its storage and the key below it.
    pub(super) fn locate<'k>(&self, key: &'k str) -> Option<(StorageId, &'static Resource, &'k str)> {
        let rest = key.strip_prefix(resources::ROOT)?;
        // Some prefixes have two parts (`services/specs`); none is the beginning of another.
        let one = rest.find('/')?;
        let two = rest[one + 1..].find('/').map(|at| one + 1 + at);
        let state = self.state.read();
        for end in [Some(one), two].into_iter().flatten() {
            if let Some(id) = state.by_prefix.get(&rest[..end]) {
                let resource = state.storages[id.0].resource;
                return Some((*id, resource, &rest[end + 1..]));
            }
        }
        None
    }

    /// The resource whose form a storage's objects have.
    pub fn resource(&self, id: StorageId) -> &'static Resource {
        self.state.read().storages[id.0].resource
    }

    pub fn revision(&self) -> u64 {
        self.state.read().revision
    }

    /// The store's revisions as they are applied.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Waits until everything up to `revision` has been applied.
    pub async fn reach(&self, revision: u64) {
        self.reached.wait(revision).await;
    }

    /// Waits for a revision a client named, which may never come: `Err` holds the current one.
    pub async fn reach_soon(&self, revision: u64) -> Result<(), u64> {
        tokio::time::timeout(FUTURE_WAIT, self.reach(revision))
            .await
            .map_err(|_| self.revision())
    }

    /// Where a watch that has seen `revision` continues. Soon after a start it waits for what was before that.
    pub async fn position_after(&self, id: StorageId, revision: u64) -> Result<u64, Expired> {
        let (position, loaded) = {
            let state = self.state.read();
            (state.storages[id.0].ring.position_after(revision), state.loaded)
        };
        if position.is_ok() {
            return position;
        }
        let mut recalled = self.recalled.subscribe();
        // The sender lives as long as the cache.
        let _ = recalled.wait_for(|recalled| *recalled >= loaded).await;
        self.state.read().storages[id.0].ring.position_after(revision)
    }

    /// Puts what happened before `loaded`, the revision that everything was read at, in front of what has happened
    /// since. With nothing, it remains unknown.
    pub(super) fn recall(&self, past: HashMap<StorageId, Ring>, loaded: u64) {
        let mut state = self.state.write();
        if state.loaded == loaded {
            for (id, past) in past {
                state.storages[id.0].ring.precede(past, loaded);
            }
        }
        drop(state);
        self.recalled.send_if_modified(|recalled| {
            let grew = loaded > *recalled;
            *recalled = loaded.max(*recalled);
            grew
        });
    }

    /// The revision that everything was read at.
    pub(super) fn loaded(&self) -> u64 {
        self.state.read().loaded
    }

    /// The storages there are.
    pub(super) fn storages(&self) -> impl Iterator<Item = StorageId> + use<> {
        (0..self.state.read().storages.len()).map(StorageId)
    }

    /// A batch of the changes that a watch has to look at, and the revision the cache had when they were read.
    pub fn changes(
        &self,
        id: StorageId,
        subscription: &Subscription,
    ) -> Result<(Vec<Arc<Change>>, u64), Expired> {
        let state = self.state.read();
        let ring = &state.storages[id.0].ring;
        let Some(position) = subscription.take() else {
            return Ok((Vec::new(), state.revision));
        };
        let changes = ring.read(position)?;
        let next = position + changes.len() as u64;
        if next < ring.end() {
            subscription.look_from(next);
        }
        Ok((changes, state.revision))
    }

    /// A place for a watch among those that changes wake. It looks at nothing that is not said to it.
    pub fn watch(&self, id: StorageId, interest: Interest<'_>) -> Subscription {
        let watchers = self.state.read().storages[id.0].watchers.clone();
        watchers.subscribe(interest)
    }

    /// All who watch anything.
    pub(super) fn waiters(&self) -> Vec<Arc<Waiter>> {
        let mut found = Vec::new();
        for storage in &self.state.read().storages {
            storage.watchers.collect(&mut found);
        }
        found
    }

    /// Ends all watches, and those that begin later: who has them is to go elsewhere.
    pub fn close_for_good(&self) {
        let mut state = self.state.write();
        state.is_closed = true;
        for storage in &state.storages {
            storage.watchers.close();
        }
    }

    /// Ends the watches of one resource: its objects are seen otherwise from now on. Others may begin.
    pub(super) fn end_watches(&self, resource: &Resource) {
        let mut state = self.state.write();
        if state.is_closed {
            return;
        }
        if let Some(id) = state.by_prefix.get(resource.storage).copied() {
            std::mem::take(&mut state.storages[id.0].watchers).close();
        }
    }

    /// How many objects there are of each resource.
    pub fn counts(&self) -> Vec<(&'static Resource, usize)> {
        let state = self.state.read();
        let storages = state.storages.iter();
        storages.map(|s| (s.resource, s.objects.len())).collect()
    }

    /// The revision of the last change to one of these resources.
    pub fn last_change(&self, ids: impl IntoIterator<Item = StorageId>) -> u64 {
        let state = self.state.read();
        let newest = ids.into_iter().map(|id| state.storages[id.0].ring.newest());
        newest.max().unwrap_or_default()
    }

    /// Wakes on changes of one resource.
    pub fn subscribe(&self, id: StorageId) -> watch::Receiver<u64> {
        self.state.read().storages[id.0].changed.subscribe()
    }

    /// Wakes on changes of a resource; `None` if there is none of that name.
    pub fn changes_of(&self, group: &str, plural: &str) -> Option<watch::Receiver<u64>> {
        let storage = self.storage(resources::find(group, "v1", plural)?)?;
        Some(self.subscribe(storage))
    }

    /// Sets the state read at start.
    pub(super) fn load(&self, contents: Contents, revision: u64) {
        let Contents { objects, shut, lost } = contents;
        let mut state = self.state.write();
        state.revision = revision;
        state.loaded = revision;
        for storage in &mut state.storages {
            storage.empty(revision);
        }
        let mut by_storage: HashMap<usize, Vec<Arc<Object>>> = HashMap::new();
        for (id, object) in objects {
            by_storage.entry(id.0).or_default().push(Arc::new(object));
        }
        for (id, objects) in by_storage {
            state.storages[id].fill(objects);
        }
        for (id, reason) in shut {
            state.storages[id.0].shut = Some(reason.into());
        }
        for (id, key, reason) in lost {
            state.storages[id.0].lost.insert(key, reason.into());
        }
        drop(state);
        self.count_shut();
        self.revision.send_replace(revision);
        self.reached.set(revision);
        for storage in &self.state.read().storages {
            storage.changed.send_replace(revision);
            // The past is forgotten; they will find that out.
            storage.watchers.all_must_look(0);
        }
    }

    /// Applies all changes up to `revision` at once.
    pub(super) fn apply(&self, changes: Vec<(StorageId, Applied)>, revision: u64) {
        let mut touched = BTreeSet::new();
        let mut to_wake: Vec<Arc<Waiter>> = Vec::new();
        let is_losing = changes
            .iter()
            .any(|(_, change)| matches!(change, Applied::Lost { .. }));
        {
            let mut state = self.state.write();
            state.revision = state.revision.max(revision);
            for (id, change) in changes {
                if state.storages[id.0].change(change, &mut to_wake) {
                    touched.insert(id.0);
                }
            }
        }
        if is_losing || *self.shut.borrow() > 0 {
            self.count_shut();
        }
        let is_further = self.revision.send_if_modified(|seen| {
            let grew = revision > *seen;
            *seen = revision.max(*seen);
            grew
        });
        if is_further {
            self.reached.set(revision);
        }
        to_wake.iter().for_each(|waiter| waiter.wake());
        let state = self.state.read();
        for id in touched {
            state.storages[id].changed.send_replace(revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn no_watch_begins_after_the_end_of_all() {
        let cache = Cache::new();
        let ends = |watch: &Subscription| {
            watch.poll_changed(&mut Context::from_waker(Waker::noop())) == Poll::Ready(false)
        };
        let kind = |plural: &str| resources::find("", "v1", plural).unwrap();
        let begin = |plural: &str| cache.watch(cache.storage(kind(plural)).unwrap(), Interest::All);
        let early = begin("pods");
        cache.end_watches(kind("pods"));
        let next = begin("pods");
        assert!(ends(&early) && !ends(&next), "others may begin");
        cache.close_for_good();
        cache.end_watches(kind("pods"));
        for (watch, when) in [
            (next, "before"),
            (begin("pods"), "after"),
            (begin("nodes"), "another"),
        ] {
            assert!(ends(&watch), "{when}");
        }
    }
}
