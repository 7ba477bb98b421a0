//! What the store's behaviour means for clients: cases G01 to G05.
use crate::etcd::Etcd;
use crate::support::{CONFIGMAPS, Cluster, TestStore, configmap, version};
use async_trait::async_trait;
use orlop_store::embedded::{EmbeddedStore, ManualClock, MemoryDisk, Options};
use orlop_store::{
    Layer, RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse, WatchRequest, WatchStream,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

#[tokio::test]
async fn g02_a_restarted_server_has_everything_and_goes_on_counting() {
    let store = TestStore::new().await;
    let made = Cluster::over(store.clone())
        .await
        .admin()
        .post(CONFIGMAPS, configmap("c", "1"))
        .await
        .ok();
    let admin = Cluster::over(store).await.admin();
    assert_eq!(admin.get(&format!("{CONFIGMAPS}/c")).await.ok(), made);
    let next = admin.post(CONFIGMAPS, configmap("d", "1")).await.ok();
    assert!(version(&next) > version(&made));
}

/// G05 as well: two servers on one store see each other's writes.
#[tokio::test]
async fn g03_of_two_writers_one_wins() {
    let store = TestStore::new().await;
    let (one, two) = (
        Cluster::over(store.clone()).await.admin(),
        Cluster::over(store).await.admin(),
    );
    let made = one.post(CONFIGMAPS, configmap("c", "0")).await.ok();
    let path = format!("{CONFIGMAPS}/c");
    assert_eq!(two.get(&path).await.ok(), made);
    let with = |value: &str| {
        let mut object = made.clone();
        object["data"]["k"] = json!(value);
        object
    };
    let (a, b) = tokio::join!(one.put(&path, with("a")), two.put(&path, with("b")));
    let mut codes = [a.code, b.code];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409]);
    let path = format!("{CONFIGMAPS}?watch=1&resourceVersion={}", version(&made));
    let mut watch = two.watch(&path).await;
    assert_eq!(watch.event().await, ("MODIFIED".into(), "c".into()));
    one.delete(&format!("{CONFIGMAPS}/c"), Value::Null).await.ok();
    assert_eq!(watch.event().await, ("DELETED".into(), "c".into()));
}

#[tokio::test]
async fn g04_events_disappear_after_their_hour() {
    let clock = Arc::new(ManualClock::default());
    let disk = Arc::new(MemoryDisk::default());
    let store = EmbeddedStore::with_disk(disk, clock.clone(), Options::default()).unwrap();
    let admin = Cluster::over(TestStore::of(store)).await.admin();
    let events = "/api/v1/namespaces/default/events";
    let event = json!({"metadata": {"name": "e"}, "reason": "R",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
    admin.post(events, event).await.ok();
    let mut watch = admin.watch(&format!("{events}?watch=1")).await;
    assert_eq!(watch.event().await, ("ADDED".into(), "e".into()));
    clock.advance(Duration::from_secs(59 * 60));
    assert_eq!(admin.get(&format!("{events}/e")).await.code, 200);
    clock.advance(Duration::from_secs(3 * 60));
    assert_eq!(watch.event().await, ("DELETED".into(), "e".into()));
    assert_eq!(admin.get(&format!("{events}/e")).await.code, 404);
}

/// Names of what the store has below `prefix`.
async fn keys(store: &Arc<dyn Store>, prefix: &str) -> Vec<String> {
    let found = store.range(RangeRequest::prefix(prefix)).await.unwrap();
    found.kvs.iter().map(|kv| kv.key.to_string()).collect()
}

/// On an etcd, upstream's servers find everything where they put it themselves, and the other way round.
#[tokio::test]
async fn g01_objects_are_stored_under_upstreams_keys() {
    let store = TestStore::new().await;
    let admin = Cluster::over(store.clone()).await.admin();
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "view"}});
    let claim = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1",
            "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    for (path, object, key) in [
        (CONFIGMAPS, configmap("c", "1"), "configmaps/default/c"),
        ("/api/v1/nodes", json!({"metadata": {"name": "n"}}), "minions/n"),
        (
            "/api/v1/namespaces/default/services",
            service,
            "services/specs/default/s",
        ),
        (
            "/api/v1/namespaces/default/endpoints",
            json!({"metadata": {"name": "s"}}),
            "services/endpoints/default/s",
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
            claim,
            "ingress/default/i",
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            binding,
            "clusterrolebindings/b",
        ),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            definition,
            "apiextensions.k8s.io/customresourcedefinitions/widgets.example.com",
        ),
    ] {
        admin.post(path, object).await.ok();
        let key = format!("/registry/{key}");
        assert!(keys(&store.store, &key).await.contains(&key), "{key}");
    }
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    admin.post(widgets, widget).await.ok();
    let key = "/registry/example.com/widgets/default/w";
    assert_eq!(keys(&store.store, key).await, [key]);
    // What is stored names its version and no revision.
    let stored = store
        .store
        .get("/registry/configmaps/default/c")
        .await
        .unwrap()
        .unwrap();
    let stored: Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!(
        (&stored["apiVersion"], &stored["kind"]),
        (&json!("v1"), &json!("ConfigMap"))
    );
    assert_eq!(stored["metadata"]["resourceVersion"], Value::Null);
}

/// W03 over a restart: informers go on where they were, without a list.
#[tokio::test]
async fn g02_watches_of_before_a_restart_go_on_after_it() {
    let store = TestStore::new().await;
    let admin = Cluster::over(store.clone()).await.admin();
    let labelled = |name: &str, label: &str| {
        let mut object = configmap(name, "1");
        object["metadata"]["labels"] = json!({"app": label});
        object
    };
    let seen = version(&admin.post(CONFIGMAPS, labelled("a", "x")).await.ok());
    let path = format!("{CONFIGMAPS}/a");
    admin.put(&path, labelled("a", "y")).await.ok();
    admin.put(&path, labelled("a", "x")).await.ok();
    admin.post(CONFIGMAPS, labelled("b", "x")).await.ok();
    let last = admin.delete(&path, Value::Null).await.code;
    assert_eq!(last, 200);

    let admin = Cluster::over(store.clone()).await.admin();
    let mut all = admin
        .watch(&format!("{CONFIGMAPS}?watch=1&resourceVersion={seen}"))
        .await;
    let mut some = admin
        .watch(&format!(
            "{CONFIGMAPS}?watch=1&resourceVersion={seen}&labelSelector=app%3Dx"
        ))
        .await;
    admin.post(CONFIGMAPS, labelled("c", "x")).await.ok();
    for (kind, name) in [
        ("MODIFIED", "a"),
        ("MODIFIED", "a"),
        ("ADDED", "b"),
        ("DELETED", "a"),
        ("ADDED", "c"),
    ] {
        assert_eq!(all.event().await, (kind.to_owned(), name.to_owned()));
    }
    // It left the selection, came back, and was deleted.
    for (kind, name) in [
        ("DELETED", "a"),
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("DELETED", "a"),
        ("ADDED", "c"),
    ] {
        assert_eq!(some.event().await, (kind.to_owned(), name.to_owned()));
    }

    // What the store has forgotten nobody goes on from, before and after the next start.
    let now = store.store.status().await.unwrap().revision;
    store.store.compact(now).await.unwrap();
    let admin = Cluster::over(store).await.admin();
    let mut late = admin
        .watch(&format!("{CONFIGMAPS}?watch=1&resourceVersion={seen}"))
        .await;
    let event = late.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    let mut on_time = admin
        .watch(&format!("{CONFIGMAPS}?watch=1&resourceVersion={now}"))
        .await;
    admin.post(CONFIGMAPS, configmap("d", "1")).await.ok();
    assert_eq!(on_time.event().await, ("ADDED".into(), "d".into()));
}

/// A store whose watches break when it is told to, and which doesn't answer writes while it is told not to.
struct Unsteady {
    store: Arc<dyn Store>,
    broken: Arc<Notify>,
    watches: AtomicUsize,
    ranges: Mutex<Vec<String>>,
    silent: AtomicBool,
}

impl Unsteady {
    fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            store,
            broken: Arc::default(),
            watches: AtomicUsize::new(0),
            ranges: Mutex::default(),
            silent: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl Layer for Unsteady {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.ranges.lock().push(request.start.to_string());
        self.store.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        if self.silent.load(Ordering::Relaxed) {
            return Err(StoreError::Unreachable {
                endpoints: "http://nobody".to_owned(),
                reason: "it takes too long".to_owned(),
            });
        }
        self.store.txn(txn).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        let mut watch = self.store.watch(request).await?;
        self.watches.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(1);
        let broken = self.broken.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    batch = watch.recv() => {
                        let Some(batch) = batch else { return };
                        if sender.send(batch).await.is_err() {
                            return;
                        }
                    }
                    () = sender.closed() => return,
                    () = broken.notified() => return,
                }
            }
        });
        Ok(receiver)
    }
}

#[tokio::test]
async fn clients_do_not_notice_that_the_watch_of_the_store_broke() {
    let store = TestStore::new().await;
    let unsteady = Unsteady::over(store.store.clone());
    let admin = Cluster::over(store.below(unsteady.clone())).await.admin();
    let made = admin.post(CONFIGMAPS, configmap("a", "1")).await.ok();
    let mut watch = admin
        .watch(&format!(
            "{CONFIGMAPS}?watch=1&resourceVersion={}",
            version(&made)
        ))
        .await;
    let before = unsteady.watches.load(Ordering::Relaxed);
    for name in ["b", "c", "d"] {
        unsteady.broken.notify_waiters();
        admin.post(CONFIGMAPS, configmap(name, "1")).await.ok();
        assert_eq!(watch.event().await, ("ADDED".into(), name.into()));
    }
    assert!(unsteady.watches.load(Ordering::Relaxed) >= before + 3);
    let everything = unsteady
        .ranges
        .lock()
        .iter()
        .filter(|start| *start == "/registry/")
        .count();
    assert_eq!(everything, 1, "the store was read as a whole again");
}

/// §19: the client cannot know what became of its write, and asks again.
#[tokio::test]
async fn a_write_that_the_store_does_not_answer_in_time_is_a_timeout() {
    let store = TestStore::new().await;
    let unsteady = Unsteady::over(store.store.clone());
    let admin = Cluster::over(store.below(unsteady.clone())).await.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    unsteady.silent.store(true, Ordering::Relaxed);
    let path = format!("{CONFIGMAPS}/c");
    for reply in [
        admin.post(CONFIGMAPS, configmap("d", "1")).await,
        admin.put(&path, configmap("c", "2")).await,
        admin.patch(&path, "merge", json!({"data": {"k": "3"}})).await,
        admin.delete(&path, Value::Null).await,
    ] {
        assert_eq!(reply.code, 504, "{}", reply.text);
        let status = reply.json();
        assert_eq!(status["reason"], "Timeout");
        assert_eq!(
            status["message"],
            "Timeout: request did not complete within the allotted timeout"
        );
    }
    unsteady.silent.store(false, Ordering::Relaxed);
    assert_eq!(admin.get(&path).await.ok()["data"]["k"], "1");
}

/// A server goes on over the restart of its etcd, and so do its clients' watches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_go_on_over_kill_9_of_etcd() {
    let mut etcd = Etcd::start();
    let store = TestStore::of(etcd.store().await);
    let admin = Cluster::over(store).await.admin();
    let mut watch = admin.watch(&format!("{CONFIGMAPS}?watch=1")).await;
    for round in 0..3 {
        let (before, after) = (format!("before-{round}"), format!("after-{round}"));
        admin.post(CONFIGMAPS, configmap(&before, "1")).await.ok();
        etcd.kill();
        etcd.start_again();
        // Refused or unknown while nobody leads; then it is there.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            match admin.post(CONFIGMAPS, configmap(&after, "1")).await.code {
                201 | 409 => break,
                code => assert!(std::time::Instant::now() < deadline, "{code}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for name in [before, after] {
            let event = tokio::time::timeout(Duration::from_secs(20), watch.next())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                (
                    event["type"].as_str(),
                    event["object"]["metadata"]["name"].as_str()
                ),
                (Some("ADDED"), Some(name.as_str())),
                "{event}"
            );
        }
    }
}
