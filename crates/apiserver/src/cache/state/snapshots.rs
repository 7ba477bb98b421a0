//! How what the cache holds is read: single objects, and many as they are at one revision.
use super::super::{Object, labels};
use super::{Cache, StorageId};
use crate::resources::{self, Resource};
use serde_json::Value;
use std::sync::Arc;

/// Objects of one resource at one revision.
pub struct Snapshot {
    pub objects: Vec<Arc<Object>>,
    pub revision: u64,
}

impl Cache {
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
}
