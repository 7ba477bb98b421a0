//! Tells when a configMap or secret that pods use changes.
//!
//! One watch per object, begun with the first pod that uses it and ended with the last; its pods are due when it changes.
use super::due::Due;
use crate::environment::local::{Changes, LocalObjects};
use crate::environment::objects::ObjectKind;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Where an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Api,
    Node,
}

type Key = (ObjectKind, String, String, Place);

/// The watches there are.
pub struct Watched {
    client: Option<Client>,
    due: Due,
    entries: Arc<Mutex<HashMap<Key, Entry>>>,
}

struct Entry {
    uids: BTreeSet<String>,
    /// The version that all of them have seen; `None`: not there.
    seen: Option<String>,
    task: tokio::task::AbortHandle,
}

impl Watched {
    pub fn new(client: Option<Client>, due: Due) -> Self {
        Self {
            client,
            due,
            entries: Arc::default(),
        }
    }

    /// Watches an object for a pod that has just read version `seen` of it.
    pub fn watch(&self, uid: &str, kind: ObjectKind, namespace: &str, name: &str, seen: Option<String>) {
        let Some(client) = self.client.clone() else { return };
        let key = (kind, namespace.to_owned(), name.to_owned(), Place::Api);
        let mut entries = self.entries.lock();
        if self.joins(&mut entries, &key, uid, &seen) {
            return;
        }
        let (entries_of_task, due) = (self.entries.clone(), self.due.clone());
        let of_task = key.clone();
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let task = match kind {
            ObjectKind::ConfigMap => {
                let api = Api::<ConfigMap>::namespaced(client, namespace);
                tokio::spawn(follow(api, config, of_task, entries_of_task, due))
            }
            ObjectKind::Secret => {
                let api = Api::<Secret>::namespaced(client, namespace);
                tokio::spawn(follow(api, config, of_task, entries_of_task, due))
            }
        };
        entries.insert(
            key,
            Entry {
                uids: BTreeSet::from([uid.to_owned()]),
                seen,
                task: task.abort_handle(),
            },
        );
    }

    /// The same for an object that lies on the node.
    pub fn watch_local(
        &self,
        local: &LocalObjects,
        uid: &str,
        (kind, namespace, name): (ObjectKind, &str, &str),
        seen: Option<String>,
    ) {
        let key = (kind, namespace.to_owned(), name.to_owned(), Place::Node);
        let mut entries = self.entries.lock();
        if self.joins(&mut entries, &key, uid, &seen) {
            return;
        }
        let follow = follow_local(
            local.changes(),
            key.clone(),
            self.entries.clone(),
            self.due.clone(),
        );
        let entry = Entry {
            uids: BTreeSet::from([uid.to_owned()]),
            seen,
            task: tokio::spawn(follow).abort_handle(),
        };
        entries.insert(key, entry);
    }

    /// Whether the object is watched already; the pod is told with the others from now on.
    fn joins(&self, entries: &mut HashMap<Key, Entry>, key: &Key, uid: &str, seen: &Option<String>) -> bool {
        let Some(entry) = entries.get_mut(key) else {
            return false;
        };
        let new = entry.uids.insert(uid.to_owned());
        // Between its read and now the others may have been told of a change.
        if new && entry.seen != *seen {
            self.due.tell(uid);
        }
        true
    }

    /// The pod is gone; watches that nobody needs any more end.
    pub fn forget(&self, uid: &str) {
        self.entries.lock().retain(|_, entry| {
            entry.uids.remove(uid);
            if entry.uids.is_empty() {
                entry.task.abort();
            }
            !entry.uids.is_empty()
        });
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.entries.lock().len()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for entry in self.entries.lock().values() {
            entry.task.abort();
        }
    }
}

async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    key: Key,
    entries: Arc<Mutex<HashMap<Key, Entry>>>,
    due: Due,
) where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut listed = false;
    loop {
        let now = match events.try_next().await {
            Ok(Some(watcher::Event::Apply(object))) => object.resource_version(),
            Ok(Some(watcher::Event::InitApply(object))) => {
                listed = true;
                object.resource_version()
            }
            Ok(Some(watcher::Event::Delete(_))) => None,
            Ok(Some(watcher::Event::Init)) => {
                listed = false;
                continue;
            }
            Ok(Some(watcher::Event::InitDone)) if listed => continue,
            Ok(Some(watcher::Event::InitDone)) => None,
            Ok(None) => return,
            Err(error) => {
                // The watcher waits and tries again by itself.
                tracing::debug!(kind = key.0.resource(), namespace = key.1, name = key.2, %error, "watch interrupted");
                continue;
            }
        };
        for uid in changed(&key, &entries, now) {
            due.tell(&uid);
        }
    }
}

async fn follow_local(mut objects: Changes, key: Key, entries: Arc<Mutex<HashMap<Key, Entry>>>, due: Due) {
    let of_object = (key.0, key.1.clone(), key.2.clone());
    loop {
        let now = objects.version(&of_object);
        for uid in changed(&key, &entries, now) {
            due.tell(&uid);
        }
        if !objects.wait().await {
            return;
        }
    }
}

/// Notes the version; whom to tell of it.
fn changed(key: &Key, entries: &Mutex<HashMap<Key, Entry>>, now: Option<String>) -> Vec<String> {
    let mut entries = entries.lock();
    let Some(entry) = entries.get_mut(key).filter(|entry| entry.seen != now) else {
        return Vec::new();
    };
    tracing::info!(
        kind = key.0.resource(),
        namespace = key.1,
        name = key.2,
        pods = entry.uids.len(),
        "changed"
    );
    entry.seen = now;
    entry.uids.iter().cloned().collect()
}
