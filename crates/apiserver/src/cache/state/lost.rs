//! What cannot be read now, and why: storages that are shut, and single objects.
use super::super::feed::Contents;
use super::{Cache, StorageId};
use std::sync::Arc;
use tokio::sync::watch;

/// Objects of a storage that cannot be opened and are tried again: one that can tells that there is another key.
const LOST_ASKED_MAX: usize = 16;

impl Cache {
    /// Why nothing can be said about the objects of a storage, if that is so.
    pub fn why_shut(&self, id: StorageId) -> Option<Arc<str>> {
        self.state.read().storages[id.0].shut.clone()
    }

    /// The storages that are shut.
    pub(in crate::cache) fn shut(&self) -> Vec<StorageId> {
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
    pub(in crate::cache) fn lost(&self) -> Vec<(StorageId, Arc<str>)> {
        let state = self.state.read();
        let numbered = state.storages.iter().enumerate();
        let some = numbered.flat_map(|(number, storage)| {
            let keys = storage.lost.keys().take(LOST_ASKED_MAX);
            keys.map(move |key| (StorageId(number), key.clone()))
        });
        some.collect()
    }

    pub(super) fn count_shut(&self) {
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
    pub(in crate::cache) fn shut_count(&self) -> watch::Receiver<usize> {
        self.shut.subscribe()
    }

    /// Shuts a storage at this revision. Its watches are ended: what comes next, nobody can tell them.
    pub(in crate::cache) fn shut_at(&self, id: StorageId, reason: &str, revision: u64) {
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
    pub(in crate::cache) fn reopen(&self, id: StorageId, contents: Contents, revision: u64) {
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
}
