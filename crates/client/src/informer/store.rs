//! The objects of one kind as last seen, with indexes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::{ObjectKey, Projection, Shared};

// What objects of one namespace have in common.
static NAMESPACES: Shared<str> = Shared::new();

/// An object as the store keeps it: its identity, and the projection.
#[derive(Debug)]
pub struct Cached<P> {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The server's uid: a recreated object has another one.
    pub uid: Arc<str>,
    /// The version this projection was cut from; 0 if the server's isn't a number.
    pub resource_version: u64,
    /// What is remembered of the object.
    pub object: P,
}

impl<P> std::ops::Deref for Cached<P> {
    type Target = P;
    fn deref(&self) -> &P {
        &self.object
    }
}

/// Something happened to an object. `old` and `new` are both there for an update; an object that
/// was recreated under the same name while nobody watched shows as a deletion and an addition.
#[derive(Debug)]
pub struct Change<P> {
    /// What was known before.
    pub old: Option<Arc<Cached<P>>>,
    /// What is known now.
    pub new: Option<Arc<Cached<P>>>,
    /// Whether this comes from a list: at start or after the watch was lost.
    pub listed: bool,
}

impl<P> Change<P> {
    /// The object's state after the change, or the last one before its deletion.
    pub fn latest(&self) -> &Arc<Cached<P>> {
        match (&self.new, &self.old) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change has at least one side"),
        }
    }
}

struct Contents<P> {
    objects: HashMap<ObjectKey, Arc<Cached<P>>>,
    indexes: Vec<HashMap<Arc<str>, HashSet<ObjectKey>>>,
    resource_version: u64,
}

/// The objects of one kind as last seen. Readers hold the lock only for the moment of copying `Arc`s.
pub struct Store<P> {
    contents: RwLock<Contents<P>>,
}

impl<P: Projection> Store<P> {
    /// An empty store; informers make their own, tests fill one by hand with [`Store::apply`].
    pub fn new() -> Self {
        let indexes = (0..P::INDEXES).map(|_| HashMap::new()).collect();
        Self {
            contents: RwLock::new(Contents {
                objects: HashMap::new(),
                indexes,
                resource_version: 0,
            }),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents<P>> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents<P>> {
        self.contents.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of that key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Cached<P>>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects, in no particular order.
    pub fn all(&self) -> Vec<Arc<Cached<P>>> {
        self.read().objects.values().cloned().collect()
    }

    /// Calls `each` on every object while the store is locked for reading; for passes over many
    /// objects that keep few.
    pub fn for_each(&self, mut each: impl FnMut(&Arc<Cached<P>>)) {
        self.read().objects.values().for_each(&mut each);
    }

    /// The objects that index `index` lists under `value`.
    pub fn by_index(&self, index: usize, value: &str) -> Vec<Arc<Cached<P>>> {
        let contents = self.read();
        let keys = contents.indexes.get(index).and_then(|index| index.get(value));
        keys.into_iter()
            .flatten()
            .filter_map(|key| contents.objects.get(key).cloned())
            .collect()
    }

    /// How many objects index `index` lists under `value`.
    pub fn count_by_index(&self, index: usize, value: &str) -> usize {
        self.read()
            .indexes
            .get(index)
            .and_then(|index| index.get(value))
            .map_or(0, HashSet::len)
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to which version all is known of this kind: whether an own write has come back.
    pub fn resource_version(&self) -> u64 {
        self.read().resource_version
    }

    /// All is known up to this version; a lower one means that the server has lost what was seen.
    pub(super) fn reached(&self, version: u64) {
        self.write().resource_version = version;
    }

    /// Takes an object over. Returns no change when it is already known in this version.
    pub fn apply(&self, object: P::Object) -> Vec<Change<P>> {
        self.put(object, false)
    }

    pub(super) fn put(&self, object: P::Object, listed: bool) -> Vec<Change<P>> {
        let resource_version = version_of(object.meta());
        let (key, uid) = self.identity(&object);
        // Cut outside the lock: the object is large, the projection small.
        let cached = Arc::new(Cached {
            key: key.clone(),
            uid,
            resource_version,
            object: P::project(object),
        });
        let mut contents = self.write();
        // A list comes in no order of versions: what is known of it is said at its end.
        if !listed {
            contents.resource_version = contents.resource_version.max(resource_version);
        }
        let old = contents.objects.get(&key).cloned();
        if let Some(old) = &old {
            if old.uid == cached.uid && old.resource_version == resource_version && resource_version != 0 {
                return Vec::new();
            }
            contents.unindex(old);
        }
        contents.index(&cached);
        contents.objects.insert(key, cached.clone());
        drop(contents);
        match old {
            Some(old) if old.uid != cached.uid => vec![
                Change {
                    old: Some(old),
                    new: None,
                    listed,
                },
                Change {
                    old: None,
                    new: Some(cached),
                    listed,
                },
            ],
            old => vec![Change {
                old,
                new: Some(cached),
                listed,
            }],
        }
    }

    /// Key and uid of `object`: in the memory of what is known of it already, if something is.
    fn identity(&self, object: &P::Object) -> (ObjectKey, Arc<str>) {
        let (key, uid) = (
            ObjectKey::of(object),
            object.meta().uid.as_deref().unwrap_or_default(),
        );
        let contents = self.read();
        match contents.objects.get(&key) {
            Some(known) if *known.uid == *uid => (known.key.clone(), known.uid.clone()),
            Some(known) => (known.key.clone(), uid.into()),
            None => {
                let namespace = NAMESPACES.share(key.namespace);
                (ObjectKey { namespace, ..key }, uid.into())
            }
        }
    }

    /// Forgets an object that was deleted at `resource_version`.
    pub fn remove(&self, key: &ObjectKey, resource_version: u64) -> Option<Change<P>> {
        let mut contents = self.write();
        contents.resource_version = contents.resource_version.max(resource_version);
        let old = contents.objects.remove(key)?;
        contents.unindex(&old);
        Some(Change {
            old: Some(old),
            new: None,
            listed: false,
        })
    }

    /// Forgets everything that a complete list no longer contained.
    pub(super) fn retain(&self, listed: &HashSet<ObjectKey>) -> Vec<Change<P>> {
        let gone: Vec<ObjectKey> = self
            .read()
            .objects
            .keys()
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        gone.iter()
            .filter_map(|key| self.remove(key, 0))
            .map(|change| Change {
                listed: true,
                ..change
            })
            .collect()
    }
}

impl<P: Projection> Default for Store<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Projection> Contents<P> {
    fn index(&mut self, object: &Cached<P>) {
        let indexes = &mut self.indexes;
        object.object.index(&object.key, &mut |number, value| {
            if let Some(index) = indexes.get_mut(number) {
                match index.get_mut(value) {
                    Some(keys) => keys.insert(object.key.clone()),
                    None => index.entry(value.into()).or_default().insert(object.key.clone()),
                };
            }
        });
    }

    fn unindex(&mut self, object: &Cached<P>) {
        let indexes = &mut self.indexes;
        object.object.index(&object.key, &mut |number, value| {
            if let Some(index) = indexes.get_mut(number)
                && let Some(keys) = index.get_mut(value)
            {
                keys.remove(&object.key);
                if keys.is_empty() {
                    index.remove(value);
                }
            }
        });
    }
}

/// An object's version; 0 if the server's isn't a number.
pub fn version_of(metadata: &ObjectMeta) -> u64 {
    let version = metadata.resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}
