//! What the store's behaviour means for clients: cases G02, G03, G04.
use crate::support::{CONFIGMAPS, Cluster, TestStore, configmap, version};
use orlop_store::embedded::{EmbeddedStore, ManualClock, MemoryDisk, Options};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

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
    let admin = Cluster::over(TestStore::embedded(store)).await.admin();
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
