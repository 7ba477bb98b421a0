//! Own writes to pods that the cache hasn't shown yet. While it hasn't, a sync must not count pods, or it would create and
//! delete twice.
//!
//! Nothing is counted down: the answers say which pod came about or ended and at which version, and what is in the cache
//! says whether it has seen that. So it doesn't matter in which order answers and events come, nor which of the events a
//! broken watch has skipped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::api::ListParams;
use orlop_api::selector::LabelSelector;
use orlop_client::informer::{ObjectKey, Store, version_of};
use tokio::time::Instant;

use super::status::metadata_api;
use crate::cache::{BY_CONTROLLER, PodView};

/// What is awaited for longer than this is given up: something was missed, counting anew is safer.
const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// When to look again whether the cache has caught up, at first; its own events usually come first.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(10);
/// When to look again at last.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// A pod as a cache shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Not, or another one of that name.
    Absent,
    /// On its way out.
    Ending,
    /// There.
    There,
}

/// What a cache shows.
pub trait Shows {
    /// Up to which version all is shown. 0 if versions aren't numbers.
    fn version(&self) -> u64;
    /// The pod of that key, if it has that uid.
    fn pod(&self, key: &ObjectKey, uid: &str) -> Shown;
}

impl Shows for Store<PodView> {
    fn version(&self) -> u64 {
        self.resource_version()
    }

    fn pod(&self, key: &ObjectKey, uid: &str) -> Shown {
        match self.get(key).filter(|pod| *pod.uid == *uid) {
            None => Shown::Absent,
            Some(pod) if pod.terminating => Shown::Ending,
            Some(_) => Shown::There,
        }
    }
}

/// What one owner awaits.
#[derive(Debug, Default)]
struct Outstanding {
    /// The highest version that an answer told.
    version: u64,
    /// Pods of which the answer told no version that is a number, by uid.
    made: HashMap<Arc<str>, ObjectKey>,
    /// Pods that were deleted, by uid.
    ended: HashMap<Arc<str>, ObjectKey>,
    /// What the cache had seen when something was added last.
    seen: u64,
}

impl Outstanding {
    /// The pod was written, and has that version since.
    fn wrote(&mut self, key: &ObjectKey, uid: &Arc<str>, version: u64) {
        if version == 0 {
            self.made.insert(uid.clone(), key.clone());
        }
        self.version = self.version.max(version);
    }

    /// Before something is added: a server that has lost what it told before says nothing of that any more.
    fn refresh(&mut self, cache: &impl Shows) {
        if cache.version() < self.seen {
            *self = Self::default();
        }
        self.seen = cache.version();
    }

    /// Whether `cache` shows it all.
    fn is_shown(&mut self, cache: &impl Shows) -> bool {
        let version = cache.version();
        // A server that was set back to an earlier state won't show what it has lost.
        if version < self.seen {
            return true;
        }
        if version < self.version {
            return false;
        }
        self.made.retain(|uid, key| cache.pod(key, uid) == Shown::Absent);
        self.ended.retain(|uid, key| cache.pod(key, uid) == Shown::There);
        self.made.is_empty() && self.ended.is_empty()
    }
}

#[derive(Debug)]
struct Waiting {
    outstanding: Outstanding,
    /// Some answer was lost: what was asked for may have been done.
    uncertain: bool,
    since: Instant,
}

/// What is awaited, by the owners' uids: a recreated owner awaits nothing of what the former one did.
pub struct Awaited {
    pods: Arc<Store<PodView>>,
    owners: Mutex<HashMap<Arc<str>, Waiting>>,
}

impl Awaited {
    /// Nothing yet; `pods` is what has to show it.
    pub fn new(pods: &Arc<Store<PodView>>) -> Self {
        Self {
            pods: pods.clone(),
            owners: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Waiting>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, owner: &Arc<str>, add: impl FnOnce(&mut Waiting)) {
        let mut owners = self.lock();
        let waiting = owners.entry(owner.clone()).or_insert_with(|| Waiting {
            outstanding: Outstanding::default(),
            uncertain: false,
            since: Instant::now(),
        });
        waiting.outstanding.refresh(&*self.pods);
        waiting.since = Instant::now();
        add(waiting);
    }

    /// A pod was created or changed for `owner`; the answer told its version, 0 if that is no number.
    pub fn wrote(&self, owner: &Arc<str>, key: &ObjectKey, uid: &Arc<str>, version: u64) {
        self.add(owner, |waiting| waiting.outstanding.wrote(key, uid, version));
    }

    /// A pod was deleted for `owner`, or was gone already.
    pub fn deleted(&self, owner: &Arc<str>, key: &ObjectKey, uid: &Arc<str>) {
        self.add(owner, |waiting| {
            waiting.outstanding.ended.insert(uid.clone(), key.clone());
        });
    }

    /// The answer to a write for `owner` was lost.
    pub fn lost_answer(&self, owner: &Arc<str>) {
        self.add(owner, |waiting| waiting.uncertain = true);
    }

    /// The owner is gone. So are, after a while, those for whom something was still written when they went: nobody asks
    /// for them any more.
    pub fn forget(&self, owner: &str) {
        let is_awaited = |waiting: &Waiting| waiting.uncertain || waiting.since.elapsed() <= LIFETIME;
        self.lock()
            .retain(|uid, waiting| **uid != *owner && is_awaited(waiting));
    }

    /// When to look again, if the cache doesn't show yet what was done for `owner`.
    pub fn behind(&self, owner: &str) -> Option<Duration> {
        let mut owners = self.lock();
        let waiting = owners.get_mut(owner)?;
        let waited = waiting.since.elapsed();
        if waiting.outstanding.is_shown(&*self.pods) || waited > LIFETIME {
            if !waiting.uncertain {
                owners.remove(owner);
            }
            return None;
        }
        Some((waited / 4).clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX))
    }

    /// Whether an answer was lost since the server was asked.
    fn is_uncertain(&self, owner: &str) -> bool {
        self.lock().get(owner).is_some_and(|waiting| waiting.uncertain)
    }

    /// Asks the server itself, if an answer was lost, which pods `owner` has: the cache must show those, and only those,
    /// before they are counted. When to look again, if it doesn't yet show all that is known to have been done.
    pub async fn caught_up(
        &self,
        client: &kube::Client,
        namespace: &str,
        owner: &Arc<str>,
        selector: &LabelSelector,
    ) -> Result<Option<Duration>, kube::Error> {
        if self.is_uncertain(owner) {
            // Before the server is asked: what the cache learns meanwhile is the server's word too.
            let mut gone: HashMap<Arc<str>, ObjectKey> = self
                .pods
                .by_index(BY_CONTROLLER, owner)
                .into_iter()
                .filter(|pod| selector.matches(&pod.labels))
                .map(|pod| (pod.uid.clone(), pod.key.clone()))
                .collect();
            let api = metadata_api::<core::Pod>(client, namespace);
            let live = api
                .list(&ListParams::default().labels(&selector.to_string()))
                .await?;
            self.add(owner, |waiting| {
                waiting.uncertain = false;
                for pod in live.items {
                    let metadata = &pod.metadata;
                    let uid: Arc<str> = metadata.uid.as_deref().unwrap_or_default().into();
                    let written = version_of(metadata);
                    waiting.outstanding.wrote(&ObjectKey::of(&pod), &uid, written);
                    if metadata.deletion_timestamp.is_none() {
                        gone.remove(&uid);
                    }
                }
                waiting.outstanding.ended.extend(gone);
            });
        }
        Ok(self.behind(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_client::informer::Lean;
    use serde_json::json;

    /// A cache by hand: its version and its pods.
    struct Cache<'a>(u64, &'a [(&'a str, Shown)]);

    impl Shows for Cache<'_> {
        fn version(&self) -> u64 {
            self.0
        }
        fn pod(&self, _: &ObjectKey, uid: &str) -> Shown {
            let pod = self.1.iter().find(|(name, _)| *name == uid);
            pod.map_or(Shown::Absent, |(_, shown)| *shown)
        }
    }

    enum Write {
        Made(&'static str, u64),
        Deleted(&'static str),
    }
    use Shown::{Absent, Ending, There};
    use Write::{Deleted, Made};

    fn shown(writes: &[Write], at: u64, cache: &Cache<'_>) -> bool {
        let mut outstanding = Outstanding::default();
        for write in writes {
            outstanding.refresh(&Cache(at, &[]));
            match *write {
                Made(uid, version) => outstanding.wrote(&ObjectKey::new("ns", uid), &uid.into(), version),
                Deleted(uid) => drop(outstanding.ended.insert(uid.into(), ObjectKey::new("ns", uid))),
            }
        }
        outstanding.is_shown(cache)
    }

    #[test]
    fn a_cache_is_current_when_it_shows_what_the_answers_told() {
        for (what, writes, at, cache, want) in [
            ("nothing was done", &[][..], 5, Cache(5, &[]), true),
            ("a create to come", &[Made("a", 7)], 5, Cache(6, &[]), false),
            (
                "a create that came",
                &[Made("a", 7)],
                5,
                Cache(7, &[("a", There)]),
                true,
            ),
            (
                "created, deleted by others, and seen neither come nor go",
                &[Made("a", 7)],
                5,
                Cache(9, &[]),
                true,
            ),
            (
                "one of two creates, in the midst of a list",
                &[Made("a", 7), Made("b", 8)],
                5,
                Cache(5, &[("b", There)]),
                false,
            ),
            (
                "the event came before the answer",
                &[Made("a", 7)],
                9,
                Cache(9, &[("a", There)]),
                true,
            ),
            (
                "a delete to come",
                &[Deleted("a")],
                5,
                Cache(9, &[("a", There)]),
                false,
            ),
            (
                "a deleted pod on its way out",
                &[Deleted("a")],
                5,
                Cache(6, &[("a", Ending)]),
                true,
            ),
            (
                "a deleted pod that is gone",
                &[Deleted("a")],
                5,
                Cache(5, &[("a", Absent)]),
                true,
            ),
            (
                "a create that came and a delete that didn't",
                &[Made("b", 7), Deleted("a")],
                5,
                Cache(7, &[("a", There), ("b", There)]),
                false,
            ),
            (
                "a server that was set back",
                &[Made("a", 7), Deleted("b")],
                5,
                Cache(3, &[("b", There)]),
                true,
            ),
            (
                "a watch that was resumed where it was",
                &[Made("a", 7)],
                5,
                Cache(5, &[]),
                false,
            ),
            ("no numbers, to come", &[Made("a", 0)], 0, Cache(0, &[]), false),
            (
                "no numbers, come",
                &[Made("a", 0)],
                0,
                Cache(0, &[("a", There)]),
                true,
            ),
            (
                "no numbers, on its way out already",
                &[Made("a", 0)],
                0,
                Cache(0, &[("a", Ending)]),
                true,
            ),
        ] {
            assert_eq!(shown(writes, at, &cache), want, "{what}");
        }
    }

    #[test]
    fn what_a_server_lost_is_not_awaited_with_what_is_done_afterwards() {
        let mut outstanding = Outstanding::default();
        outstanding.refresh(&Cache(90, &[]));
        outstanding.wrote(&ObjectKey::new("ns", "a"), &"a".into(), 95);
        outstanding.refresh(&Cache(40, &[]));
        outstanding.wrote(&ObjectKey::new("ns", "b"), &"b".into(), 41);
        assert!(!outstanding.is_shown(&Cache(40, &[])));
        assert!(outstanding.is_shown(&Cache(41, &[])));
    }

    fn pod(name: &str, version: u64) -> serde_json::Value {
        json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "x"},
            "resourceVersion": version.to_string(), "ownerReferences": [
            {"apiVersion": "v1", "kind": "ReplicationController", "name": "o", "uid": "o", "controller": true}]},
            "spec": {"containers": []}})
    }

    fn store(pods: &[(&str, u64)]) -> Arc<Store<PodView>> {
        let store = Arc::new(Store::new());
        for (name, version) in pods {
            store.apply(Lean(serde_json::from_value(pod(name, *version)).unwrap()));
        }
        store
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_shown_is_given_up_after_five_minutes() {
        let store = store(&[]);
        let owner: Arc<str> = "o".into();
        let awaited = Awaited::new(&store);
        assert_eq!(awaited.behind(&owner), None);
        awaited.wrote(&owner, &ObjectKey::new("ns", "a"), &"a".into(), 7);
        assert_eq!(awaited.behind(&owner), Some(LOOK_AGAIN_MIN));
        tokio::time::advance(LIFETIME).await;
        assert_eq!(awaited.behind(&owner), Some(LOOK_AGAIN_MAX));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(awaited.behind(&owner), None);
    }

    #[test]
    fn c15_a_recreated_owner_awaits_nothing_of_the_former_one() {
        let awaited = Awaited::new(&store(&[]));
        awaited.wrote(&"old-uid".into(), &ObjectKey::new("ns", "a"), &"a".into(), 7);
        assert_eq!(awaited.behind("new-uid"), None);
        awaited.forget("old-uid");
        assert_eq!(awaited.behind("old-uid"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_for_an_owner_after_it_had_gone_is_not_kept_for_ever() {
        let awaited = Awaited::new(&store(&[]));
        awaited.forget("gone");
        awaited.wrote(&"gone".into(), &ObjectKey::new("ns", "a"), &"a".into(), 7);
        tokio::time::advance(LIFETIME).await;
        awaited.wrote(&"there".into(), &ObjectKey::new("ns", "b"), &"b".into(), 8);
        awaited.forget("another");
        assert_eq!(awaited.lock().len(), 2);
        tokio::time::advance(Duration::from_millis(1)).await;
        awaited.forget("another");
        let left: Vec<Arc<str>> = awaited.lock().keys().cloned().collect();
        assert_eq!(left, ["there".into()]);
    }

    #[tokio::test]
    async fn after_a_lost_answer_the_server_says_what_the_cache_has_to_show() {
        // Known are a, which is gone, and b; c was made by the request whose answer was lost.
        let store = store(&[("a", 3), ("b", 4)]);
        let service = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
            assert!(request.uri().query().unwrap().contains("labelSelector=app%3Dx"));
            let list = json!({"metadata": {"resourceVersion": "20"}, "items": [pod("b", 4), pod("c", 9)]});
            let body = kube::client::Body::from(list.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        });
        let client = orlop_client::in_process(service);
        let awaited = Awaited::new(&store);
        let owner: Arc<str> = "o".into();
        let selector = LabelSelector::parse("app=x").unwrap();
        let caught_up = || awaited.caught_up(&client, "ns", &owner, &selector);
        awaited.lost_answer(&owner);
        assert!(caught_up().await.unwrap().is_some());
        store.apply(Lean(serde_json::from_value(pod("c", 9)).unwrap()));
        assert!(caught_up().await.unwrap().is_some(), "a is still shown");
        store.remove(&ObjectKey::new("ns", "a"), 10);
        assert_eq!(caught_up().await.unwrap(), None);
    }
}
