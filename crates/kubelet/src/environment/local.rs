//! ConfigMaps and Secrets that lie on the node for its static pods (`orlop.dev/staticObjectsPath`): as last read from
//! files. Who shows them is told when they change.
use super::objects::{Content, FetchError, ObjectKind};
use orlop_api::fnv::fnv1a128;
use orlop_api::manifest::LocalObject;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use tokio::sync::watch;

/// Kind, namespace and name.
pub type Key = (ObjectKind, String, String);

/// Which files an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The directory of objects; what lies there goes before what manifests bring.
    Directory,
    /// Beside pods in their manifests.
    Manifests,
}

#[derive(Clone, Debug, Default)]
struct State {
    by_origin: BTreeMap<Origin, BTreeMap<Key, Content>>,
}

/// The objects as they are; clones are the same.
#[derive(Clone, Debug)]
pub struct LocalObjects(watch::Sender<State>);

/// Tells of changes.
pub struct Changes(watch::Receiver<State>);

impl Default for LocalObjects {
    fn default() -> Self {
        Self(watch::Sender::new(State::default()))
    }
}

impl LocalObjects {
    /// Replaces everything that came from `origin`. Of two of one name the first stays.
    pub fn replace<'a>(&self, origin: Origin, objects: impl IntoIterator<Item = &'a LocalObject>) {
        let mut fresh = BTreeMap::new();
        for object in objects {
            let (key, content) = entry(object);
            match fresh.entry(key) {
                Entry::Vacant(free) => {
                    free.insert(content);
                }
                Entry::Occupied(_) => {
                    let (kind, namespace, name) = (object.kind(), object.namespace(), object.name());
                    tracing::warn!(
                        kind,
                        namespace,
                        name,
                        "two files hold this object: the first one counts"
                    );
                }
            }
        }
        self.0.send_if_modified(|state| {
            let before = state.by_origin.insert(origin, fresh);
            before.unwrap_or_default() != state.by_origin[&origin]
        });
    }

    /// What is in one of them.
    pub fn get(&self, kind: ObjectKind, namespace: &str, name: &str) -> Result<Content, FetchError> {
        let key = (kind, namespace.to_owned(), name.to_owned());
        find(&self.0.borrow(), &key)
            .cloned()
            .ok_or_else(|| FetchError::NotFound {
                resource: kind.resource(),
                name: name.to_owned(),
            })
    }

    /// From now on.
    pub fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

impl Changes {
    /// The version of an object now; `None`: it is not there.
    pub fn version(&mut self, key: &Key) -> Option<String> {
        find(&self.0.borrow_and_update(), key).and_then(|content| content.resource_version.clone())
    }

    /// Waits for the next change of anything. `false`: there are no more.
    pub async fn wait(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

fn find<'a>(state: &'a State, key: &Key) -> Option<&'a Content> {
    state.by_origin.values().find_map(|objects| objects.get(key))
}

fn entry(object: &LocalObject) -> (Key, Content) {
    let (kind, data, immutable): (_, BTreeMap<String, Vec<u8>>, _) = match object {
        LocalObject::ConfigMap(map) => {
            let texts = map.data.iter().flatten();
            let texts = texts.map(|(key, value)| (key.clone(), value.clone().into_bytes()));
            let binary = map.binary_data.iter().flatten();
            let all = texts.chain(binary.map(|(key, value)| (key.clone(), value.0.clone())));
            (ObjectKind::ConfigMap, all.collect(), map.immutable)
        }
        LocalObject::Secret(secret) => {
            let data = secret.data.iter().flatten();
            let data = data.map(|(key, value)| (key.clone(), value.0.clone()));
            (ObjectKind::Secret, data.collect(), secret.immutable)
        }
    };
    let mut bytes = Vec::new();
    for (key, value) in &data {
        for part in [key.as_bytes(), value.as_slice()] {
            bytes.extend(part.len().to_le_bytes());
            bytes.extend(part);
        }
    }
    let key = (kind, object.namespace().to_owned(), object.name().to_owned());
    let content = Content {
        data,
        uid: None,
        // Files have no versions: the content is one.
        resource_version: Some(format!("{:032x}", fnv1a128(&bytes))),
        immutable: immutable == Some(true),
    };
    (key, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_api::manifest::local_objects;

    fn map(name: &str, value: &str) -> Vec<LocalObject> {
        let text =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: {value}}}\n");
        local_objects(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn directory_goes_before_manifests_and_changes_are_told() {
        let objects = LocalObjects::default();
        let get = |name: &str| objects.get(ObjectKind::ConfigMap, "default", name);
        assert!(get("a").unwrap_err().is_absent());
        objects.replace(Origin::Manifests, &map("a", "one"));
        let key = (ObjectKind::ConfigMap, "default".to_owned(), "a".to_owned());
        let mut changes = objects.changes();
        let first = changes.version(&key).unwrap();
        objects.replace(Origin::Manifests, &map("a", "one"));
        assert!(!changes.0.has_changed().unwrap(), "the same content is no change");
        objects.replace(Origin::Directory, &map("a", "two"));
        assert!(changes.wait().await);
        assert_ne!(changes.version(&key).unwrap(), first);
        assert_eq!(get("a").unwrap().data["k"], b"two");
        objects.replace(Origin::Directory, &[]);
        assert_eq!(get("a").unwrap().data["k"], b"one");
        let mut two = map("b", "first");
        two.extend(map("b", "second"));
        objects.replace(Origin::Directory, &two);
        assert_eq!(get("b").unwrap().data["k"], b"first");
    }
}
