//! What the cache holds, and how it is read.
use super::feed::Contents;
use super::labels;
use super::reached::Reached;
use super::ring::Ring;
use super::storage::{Applied, Storage};
use super::watchers::{Interest, Subscription, Waiter};
use super::{Change, Expired, Object};
use crate::custom::Registry;
use crate::resources::{self, Resource};
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a read waits for a revision the server has not reached (upstream's 3 s).
const FUTURE_WAIT: Duration = Duration::from_secs(3);
/// Objects of a storage that cannot be opened and are tried again: one that can tells that there is another key.
const LOST_ASKED_MAX: usize = 16;

/// Names the storage of one resource inside the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StorageId(pub(super) usize);

/// Objects of one resource at one revision.
pub struct Snapshot {
    pub objects: Vec<Arc<Object>>,
    pub revision: u64,
}

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

    pub fn get(&self, id: StorageId, key: &str) -> Option<Arc<Object>> {
        self.state.read().storages[id.0].objects.get(key).cloned()
    }

    /// Whether an object is there in this version.
    pub fn is_at(&self, id: StorageId, key: &str, revision: u64) -> bool {
        self.get(id, key)
            .is_some_and(|object| object.revision == revision)
    }

    /// One object of a resource; `namespace` counts only where the resource has one.
    pub fn object(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.get(self.storage(resource)?, &resource.key(namespace, name))
    }

    /// One object of the core group.
    pub fn core_object(&self, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.object(resources::find("", "v1", plural)?, namespace, name)
    }

    /// The objects of a resource of the core group in a namespace (`""`: all), by name.
    pub fn core_objects(&self, plural: &str, namespace: &str) -> Vec<Arc<Object>> {
        self.objects_in("", plural, namespace)
    }

    /// All objects of a resource, by name.
    pub fn values_of(&self, group: &str, plural: &str) -> Vec<Value> {
        let objects = self.objects_of(group, plural);
        objects.iter().map(|object| object.value()).collect()
    }

    /// The same as they are kept: to look at a part of each.
    pub fn objects_of(&self, group: &str, plural: &str) -> Vec<Arc<Object>> {
        self.objects_in(group, plural, "")
    }

    fn objects_in(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Object>> {
        let storage = resources::find(group, "v1", plural).and_then(|resource| self.storage(resource));
        storage
            .map(|id| self.snapshot(id, namespace).objects)
            .unwrap_or_default()
    }

    /// Objects of a namespace (`""`: all) that are wanted, and the revision they were seen at.
    pub fn snapshot_where(
        &self,
        id: StorageId,
        namespace: &str,
        wanted: impl Fn(&Object) -> bool,
    ) -> Snapshot {
        let state = self.state.read();
        Snapshot {
            objects: state.storages[id.0]
                .iter_under(namespace)
                .filter(|object| wanted(object))
                .cloned()
                .collect(),
            revision: state.revision,
        }
    }

    /// Objects of a namespace (`""`: all), and the revision they were seen at.
    pub fn snapshot(&self, id: StorageId, namespace: &str) -> Snapshot {
        let state = self.state.read();
        Snapshot {
            objects: state.storages[id.0].under(namespace),
            revision: state.revision,
        }
    }

    /// One object, as a snapshot.
    pub fn snapshot_of_key(&self, id: StorageId, key: &str) -> Snapshot {
        let state = self.state.read();
        Snapshot {
            objects: state.storages[id.0]
                .objects
                .get(key)
                .cloned()
                .into_iter()
                .collect(),
            revision: state.revision,
        }
    }

    /// Pods bound to a node, by the index.
    pub fn snapshot_of_node(&self, id: StorageId, namespace: &str, node: &str) -> Snapshot {
        let state = self.state.read();
        let storage = &state.storages[id.0];
        Snapshot {
            objects: storage.of_keys(storage.on_node(node), namespace),
            revision: state.revision,
        }
    }

    /// Objects of a namespace whose label has one of these values, by an index; `None` where looking at every object
    /// will do.
    pub fn snapshot_labelled(
        &self,
        id: StorageId,
        namespace: &str,
        label: &str,
        values: &[String],
    ) -> Option<Snapshot> {
        {
            let state = self.state.read();
            let storage = &state.storages[id.0];
            if storage.objects.len() < labels::OBJECTS_MIN {
                return None;
            }
            if let Some(index) = storage.by_label.get(label) {
                return Some(Snapshot {
                    objects: storage.of_keys(index.keys(values), namespace),
                    revision: state.revision,
                });
            }
            if !storage.by_label.has_room() {
                return None;
            }
        }
        let mut state = self.state.write();
        let revision = state.revision;
        let storage = &mut state.storages[id.0];
        // Another may have made it meanwhile.
        if storage.by_label.get(label).is_none() {
            storage.by_label.build(label, &storage.objects);
        }
        let index = storage.by_label.get(label)?;
        Some(Snapshot {
            objects: storage.of_keys(index.keys(values), namespace),
            revision,
        })
    }

    /// Objects now, with the position from which changes follow without a gap.
    pub fn snapshot_and_position(&self, id: StorageId, namespace: &str) -> (Snapshot, u64) {
        let state = self.state.read();
        let storage = &state.storages[id.0];
        let snapshot = Snapshot {
            objects: storage.under(namespace),
            revision: state.revision,
        };
        (snapshot, storage.ring.end())
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

    /// Why nothing can be said about the objects of a storage, if that is so.
    pub fn why_shut(&self, id: StorageId) -> Option<Arc<str>> {
        self.state.read().storages[id.0].shut.clone()
    }

    /// The storages that are shut.
    pub(super) fn shut(&self) -> Vec<StorageId> {
        let state = self.state.read();
        let numbered = state.storages.iter().enumerate();
        let shut = numbered.filter(|(_, storage)| storage.shut.is_some());
        shut.map(|(number, _)| StorageId(number)).collect()
    }

    /// Why an object that is stored cannot be read, if that is so.
    pub fn why_lost(&self, id: StorageId, key: &str) -> Option<Arc<str>> {
        self.state.read().storages[id.0].lost.get(key).cloned()
    }

    /// The key of some object of a namespace (`""`: all) that is stored and cannot be read, and why.
    pub fn some_lost(&self, id: StorageId, namespace: &str) -> Option<(Arc<str>, Arc<str>)> {
        let state = self.state.read();
        let (key, reason) = state.storages[id.0].some_lost(namespace)?;
        Some((key.clone(), reason.clone()))
    }

    /// Keys of objects that cannot be read, a few of each storage.
    pub(super) fn lost(&self) -> Vec<(StorageId, Arc<str>)> {
        let state = self.state.read();
        let numbered = state.storages.iter().enumerate();
        let some = numbered.flat_map(|(number, storage)| {
            let keys = storage.lost.keys().take(LOST_ASKED_MAX);
            keys.map(move |key| (StorageId(number), key.clone()))
        });
        some.collect()
    }

    fn count_shut(&self) {
        let count = {
            let state = self.state.read();
            let storages = state.storages.iter();
            storages
                .filter(|s| s.shut.is_some() || !s.lost.is_empty())
                .count()
        };
        self.shut.send_replace(count);
    }

    /// How many storages are shut or lack objects, as that changes.
    pub(super) fn shut_count(&self) -> watch::Receiver<usize> {
        self.shut.subscribe()
    }

    /// Shuts a storage at this revision. Its watches are ended: what comes next, nobody can tell them.
    pub(super) fn shut_at(&self, id: StorageId, reason: &str, revision: u64) {
        let watchers = {
            let mut state = self.state.write();
            let storage = &mut state.storages[id.0];
            storage.shut = Some(reason.into());
            storage.ring.restart(revision);
            storage.watchers.clone()
        };
        watchers.all_must_look(0);
        self.count_shut();
    }

    /// Opens a storage with all that is stored at this revision, which the cache has applied.
    pub(super) fn reopen(&self, id: StorageId, contents: Contents, revision: u64) {
        {
            let mut state = self.state.write();
            let storage = &mut state.storages[id.0];
            storage.empty(revision);
            let objects = contents.objects.into_iter();
            storage.fill(objects.map(|(_, object)| Arc::new(object)).collect());
            let lost = contents.lost.into_iter();
            storage.lost = lost.map(|(_, key, reason)| (key, reason.into())).collect();
            storage.changed.send_replace(revision);
            // Those that lasted while only some of it could not be opened begin anew.
            storage.watchers.all_must_look(0);
        }
        self.count_shut();
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
