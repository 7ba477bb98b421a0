//! One list+watch a kind, kept as trimmed projections in an indexed store and shared by everybody
//! who cares about that kind.
//!
//! The informer's task is the only writer of its [`Store`]. Handlers are called by that task, in
//! the order of the watch, after the store was updated; they must be quick (enqueue a key).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Namespace and name of an object; the namespace of cluster-scoped objects is empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of `object`.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is remembered of an object: as little as its readers need.
pub trait Projection: Sized + Send + Sync + 'static {
    /// The API type it is cut from.
    type Object: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static;

    /// Number of indexes [`index`](Self::index) writes to.
    const INDEXES: usize = 0;

    /// Cuts the projection out of the object, which is dropped afterwards.
    fn project(object: Self::Object) -> Self;

    /// Tells under which values the object of that key is found: `add(index number, value)`.
    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        let _ = (key, add);
    }
}

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

    /// The highest resource version seen on an object of this kind: whether an own write has come back.
    pub fn resource_version(&self) -> u64 {
        self.read().resource_version
    }

    /// Takes an object over. Returns no change when it is already known in this version.
    pub fn apply(&self, object: P::Object) -> Vec<Change<P>> {
        self.put(object, false)
    }

    fn put(&self, object: P::Object, listed: bool) -> Vec<Change<P>> {
        let key = ObjectKey::of(&object);
        let uid: Arc<str> = object.meta().uid.as_deref().unwrap_or_default().into();
        let resource_version = version_of(&object);
        // Cut outside the lock: the object is large, the projection small.
        let cached = Arc::new(Cached {
            key: key.clone(),
            uid,
            resource_version,
            object: P::project(object),
        });
        let mut contents = self.write();
        contents.resource_version = contents.resource_version.max(resource_version);
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
    fn retain(&self, listed: &HashSet<ObjectKey>) -> Vec<Change<P>> {
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

fn version_of<K: Resource>(object: &K) -> u64 {
    object
        .meta()
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

/// What happened to an object, told from its metadata before the rest is dropped.
#[derive(Debug)]
pub enum MetadataEvent<'a> {
    /// It is there, with this metadata.
    Applied(&'a ObjectMeta),
    /// The object with this uid is gone.
    Deleted {
        /// Its uid.
        uid: &'a str,
    },
}

type MetadataHandler = Box<dyn Fn(&MetadataEvent<'_>) + Send + Sync>;
type Handler<P> = Box<dyn Fn(&Change<P>) + Send + Sync>;

/// Watches one kind. Register handlers, then [`run`](Informer::run) it in a task of its own.
pub struct Informer<P: Projection> {
    store: Arc<Store<P>>,
    handlers: RwLock<Vec<Handler<P>>>,
    metadata_handlers: RwLock<Vec<MetadataHandler>>,
    synced: watch::Sender<bool>,
    started: OnceLock<()>,
}

impl<P: Projection> Default for Informer<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Projection> Informer<P> {
    /// An informer with an empty store and no handler.
    pub fn new() -> Self {
        Self {
            store: Arc::new(Store::new()),
            handlers: RwLock::new(Vec::new()),
            metadata_handlers: RwLock::new(Vec::new()),
            synced: watch::Sender::new(false),
            started: OnceLock::new(),
        }
    }

    /// The objects as last seen.
    pub fn store(&self) -> &Arc<Store<P>> {
        &self.store
    }

    /// Calls `handler` on every change. Register before [`run`](Self::run): a handler that comes
    /// later misses what was listed before.
    pub fn on_change(&self, handler: impl Fn(&Change<P>) + Send + Sync + 'static) {
        debug_assert!(self.started.get().is_none(), "register handlers before run()");
        self.handlers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(handler));
    }

    /// Calls `handler` with the metadata of every object the watch brings, changed or not. For
    /// readers of what no projection keeps. Register before [`run`](Self::run).
    pub fn on_metadata(&self, handler: impl Fn(&MetadataEvent<'_>) + Send + Sync + 'static) {
        debug_assert!(self.started.get().is_none(), "register handlers before run()");
        self.metadata_handlers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(handler));
    }

    /// Waits until the first complete list was taken over.
    pub async fn synced(&self) {
        // The sender lives in self, so waiting cannot fail while we are here.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first complete list was taken over.
    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Lists and watches for ever: run it in a task and drop or abort that to stop. Lost watches
    /// are resumed, expired ones (410) listed anew, errors backed off.
    pub async fn run(&self, api: Api<P::Object>, config: watcher::Config)
    where
        <P::Object as Resource>::DynamicType: Clone,
    {
        let _ = self.started.set(());
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        let mut listed: HashSet<ObjectKey> = HashSet::new();
        let mut failing = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    failing = false;
                    self.take(event, &mut listed);
                }
                Err(error) => {
                    // One line when it starts failing, not one a retry.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(kind = std::any::type_name::<P::Object>(), %error, "watch failed, retrying");
                    }
                }
            }
        }
    }

    fn take(&self, event: watcher::Event<P::Object>, listed: &mut HashSet<ObjectKey>) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => {
                listed.insert(ObjectKey::of(&object));
                self.tell_metadata(&MetadataEvent::Applied(object.meta()));
                self.tell(self.store.put(object, true));
            }
            watcher::Event::InitDone => {
                self.tell(self.store.retain(listed));
                *listed = HashSet::new();
                self.synced.send_replace(true);
            }
            watcher::Event::Apply(object) => {
                self.tell_metadata(&MetadataEvent::Applied(object.meta()));
                self.tell(self.store.put(object, false));
            }
            watcher::Event::Delete(object) => {
                let change = self.store.remove(&ObjectKey::of(&object), version_of(&object));
                self.tell(change);
            }
        }
    }

    fn tell(&self, changes: impl IntoIterator<Item = Change<P>>) {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            if change.new.is_none() {
                self.tell_metadata(&MetadataEvent::Deleted {
                    uid: &change.latest().uid,
                });
            }
            handlers.iter().for_each(|handler| handler(&change));
        }
    }

    fn tell_metadata(&self, event: &MetadataEvent<'_>) {
        let handlers = self
            .metadata_handlers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        handlers.iter().for_each(|handler| handler(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;
    use std::sync::Mutex;

    struct OnNode(Option<String>);

    impl Projection for OnNode {
        type Object = Pod;
        const INDEXES: usize = 1;
        fn project(object: Pod) -> Self {
            Self(object.spec.and_then(|spec| spec.node_name))
        }
        fn index(&self, _: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
            if let Some(node) = &self.0 {
                add(0, node);
            }
        }
    }

    fn pod(name: &str, uid: &str, version: u64, node: Option<&str>) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": version.to_string()},
            "spec": {"nodeName": node, "containers": []},
        }))
        .unwrap()
    }

    fn names(objects: &[Arc<Cached<OnNode>>]) -> Vec<String> {
        let mut names: Vec<String> = objects.iter().map(|object| object.key.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn indexes_follow_the_objects() {
        let store = Store::<OnNode>::new();
        store.apply(pod("a", "1", 1, None));
        store.apply(pod("b", "2", 2, Some("n1")));
        store.apply(pod("a", "1", 3, Some("n1")));
        assert_eq!(names(&store.by_index(0, "n1")), ["ns/a", "ns/b"]);
        store.remove(&ObjectKey::new("ns", "b"), 4);
        assert_eq!(names(&store.by_index(0, "n1")), ["ns/a"]);
        assert_eq!(store.count_by_index(0, "n1"), 1);
        assert_eq!(store.resource_version(), 4);
    }

    #[test]
    fn an_unchanged_version_is_no_change_and_a_new_uid_is_two() {
        let store = Store::<OnNode>::new();
        assert_eq!(store.apply(pod("a", "1", 7, None)).len(), 1);
        assert!(store.apply(pod("a", "1", 7, None)).is_empty());
        let changes = store.apply(pod("a", "2", 9, None));
        assert!(
            changes[0].new.is_none() && changes[1].old.is_none(),
            "deleted, then added"
        );
    }

    #[test]
    fn a_new_list_removes_what_it_no_longer_contains() {
        let informer = Informer::<OnNode>::new();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = seen.clone();
        informer.on_change(move |change| {
            let sign = if change.new.is_some() { '+' } else { '-' };
            log.lock().unwrap().push(format!("{sign}{}", change.latest().key));
        });
        let mut listed = HashSet::new();
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(pod("a", "1", 1, None)),
            watcher::Event::InitApply(pod("b", "2", 2, None)),
            watcher::Event::InitDone,
            watcher::Event::Init,
            watcher::Event::InitApply(pod("b", "2", 2, None)),
            watcher::Event::InitDone,
        ] {
            informer.take(event, &mut listed);
        }
        assert!(informer.has_synced());
        assert_eq!(*seen.lock().unwrap(), ["+ns/a", "+ns/b", "-ns/a"]);
        assert_eq!(names(&informer.store().all()), ["ns/b"]);
    }
}
