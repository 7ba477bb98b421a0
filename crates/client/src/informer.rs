//! One list+watch a kind, kept as trimmed projections in an indexed store and shared by everybody
//! who cares about that kind.
//!
//! The informer's task is the only writer of its [`Store`]. Handlers are called by that task, in
//! the order of the watch, after the store was updated; they must be quick (enqueue a key).
//!
//! One that is run again, such as in another version of its API, goes on from what it knew: what the new list doesn't have
//! any more is told as gone.

mod glimpse;
mod key;
mod lean;
mod source;
mod store;

pub use glimpse::PodGlimpse;
pub use key::ObjectKey;
pub use lean::Lean;
pub use orlop_api::shared::Shared;
pub use store::{Cached, Change, Store, version_of};

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, watch};

use source::Told;

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
    /// How many complete lists were taken over.
    lists: watch::Sender<u64>,
    started: OnceLock<()>,
    /// Held by whoever runs it: two at a time would take each other's news for changes.
    running: Mutex<()>,
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
            lists: watch::Sender::new(0),
            started: OnceLock::new(),
            running: Mutex::new(()),
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

    /// Waits until the first complete list was taken over, or the server was found not to have the kind.
    pub async fn synced(&self) {
        // The sender lives in self, so waiting cannot fail while we are here.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first complete list was taken over, or the server was found not to have the kind.
    #[cfg(test)]
    fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Ends when a complete list was taken over that had not been when this was called. That a server doesn't have the kind
    /// is no list.
    pub fn next_list(&self) -> impl Future<Output = ()> {
        let mut lists = self.lists.subscribe();
        async move {
            // The sender lives in self, so waiting cannot fail while we are here.
            let _ = lists.changed().await;
        }
    }

    /// Lists and watches for ever: run it in a task and drop or abort that to stop. Lost watches
    /// are resumed, expired ones (410) listed anew, errors backed off. Who runs it while another one
    /// still does begins when that one has stopped.
    pub async fn run(&self, api: Api<P::Object>, config: watcher::Config)
    where
        <P::Object as Resource>::DynamicType: Clone,
    {
        let _ = self.started.set(());
        let _alone = self.running.lock().await;
        let mut listed: HashSet<ObjectKey> = HashSet::new();
        source::follow(api, &config, |told| self.take(told, &mut listed)).await;
    }

    fn take(&self, told: Told<P::Object>, listed: &mut HashSet<ObjectKey>) {
        match told {
            Told::Unserved => drop(self.synced.send_replace(true)),
            Told::Listing => listed.clear(),
            Told::Listed(object) => {
                listed.insert(ObjectKey::of(&object));
                self.tell_metadata(&MetadataEvent::Applied(object.meta()));
                self.tell(self.store.put(object, true));
            }
            Told::ListEnd(version) => {
                let gone = self.store.retain(listed);
                self.store.reached(version);
                self.tell(gone);
                *listed = HashSet::new();
                self.synced.send_replace(true);
                self.lists.send_modify(|lists| *lists += 1);
            }
            Told::Applied(object) => {
                self.tell_metadata(&MetadataEvent::Applied(object.meta()));
                self.tell(self.store.put(object, false));
            }
            Told::Deleted(object) => {
                let change = self
                    .store
                    .remove(&ObjectKey::of(&object), version_of(object.meta()));
                self.tell(change);
            }
            Told::Reached(version) => self.store.reached(version),
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
    use std::time::Duration;
    use tokio::time::timeout;

    #[derive(Debug)]
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
        for told in [
            Told::Listing,
            Told::Listed(pod("a", "1", 1, None)),
            Told::Listed(pod("b", "2", 2, None)),
            Told::ListEnd(2),
            Told::Listing,
            Told::Listed(pod("b", "2", 2, None)),
            Told::ListEnd(5),
        ] {
            informer.take(told, &mut listed);
        }
        assert!(informer.has_synced());
        assert_eq!(*seen.lock().unwrap(), ["+ns/a", "+ns/b", "-ns/a"]);
        assert_eq!(names(&informer.store().all()), ["ns/b"]);
        assert_eq!(informer.store().resource_version(), 5, "nothing came between");
    }

    #[test]
    fn a_server_without_the_kind_takes_nothing_away() {
        let informer = Informer::<OnNode>::new();
        informer.on_change(|change| panic!("{change:?}"));
        informer.store().apply(pod("a", "1", 1, None));
        informer.take(Told::Unserved, &mut HashSet::new());
        assert!(informer.has_synced());
        assert_eq!(names(&informer.store().all()), ["ns/a"]);
        assert_eq!(informer.store().resource_version(), 1);
    }

    /// An API that answers each list with these pods, and watches never.
    fn api(pods: Vec<Pod>) -> Api<Pod> {
        let list = json!({"metadata": {"resourceVersion": "9"}, "items": pods}).to_string();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let list = list.clone();
            async move {
                if request.uri().query().unwrap_or_default().contains("watch=true") {
                    std::future::pending::<()>().await;
                }
                let body = kube::client::Body::from(list.into_bytes());
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            }
        });
        Api::all(crate::in_process(service))
    }

    #[tokio::test(start_paused = true)]
    async fn who_runs_it_again_begins_when_the_other_one_has_stopped() {
        let informer = Informer::<OnNode>::new();
        let config = watcher::Config::default();
        let minute = Duration::from_secs(60);
        {
            let first = informer.run(
                api(vec![pod("a", "1", 1, None), pod("b", "2", 2, None)]),
                config.clone(),
            );
            let second = informer.run(api(vec![]), config.clone());
            let _ = timeout(minute, async { tokio::join!(first, second) }).await;
        }
        assert_eq!(names(&informer.store().all()), ["ns/a", "ns/b"]);
        let gone: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = gone.clone();
        // Registered late, so that only what follows is seen.
        let handler = move |change: &Change<OnNode>| {
            assert!(change.new.is_none(), "{change:?}");
            log.lock().unwrap().push(change.latest().key.to_string());
        };
        informer.handlers.write().unwrap().push(Box::new(handler));
        let listed = informer.next_list();
        let again = informer.run(api(vec![pod("b", "2", 2, None)]), config);
        let listed = async {
            tokio::select! { () = again => unreachable!(), () = listed => {} }
        };
        timeout(minute, listed).await.expect("it is listed again");
        assert_eq!(*gone.lock().unwrap(), ["ns/a"]);
    }
}
