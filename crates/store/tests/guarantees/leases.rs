use crate::common::*;
use orlop_store::*;
use std::sync::Arc;

pub async fn keys_of_a_revoked_lease_go_in_one_revision(store: Arc<dyn Store>) {
    let lease = store.lease_grant(600).await.unwrap();
    let other = store.lease_grant(600).await.unwrap();
    assert_ne!(lease, other);
    put_leased(&*store, "a", "1", Some(lease)).await;
    put_leased(&*store, "b", "2", Some(lease)).await;
    put_leased(&*store, "c", "3", Some(other)).await;
    put_leased(&*store, "d", "4", Some(lease)).await;
    assert_eq!(store.get("a").await.unwrap().unwrap().lease, Some(lease));
    put_leased(&*store, "d", "5", Some(other)).await;
    let now = store.status().await.unwrap().revision.0;
    let mut stream = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(list_at(&*store, "", None).await, ["c=3", "d=5"]);
    assert_eq!(store.status().await.unwrap().revision.0, now + 1);
    let batch = next_batch(&mut stream).await.unwrap();
    let gone: Vec<_> = batch.events.iter().map(describe_event).collect();
    assert_eq!(gone, [format!("{} -a", now + 1), format!("{} -b", now + 1)]);
}

pub async fn a_lease_ends_by_itself(store: Arc<dyn Store>) {
    let lease = store.lease_grant(2).await.unwrap();
    assert_eq!(store.lease_keep_alive(lease).await.unwrap(), 2);
    put_leased(&*store, "a", "1", Some(lease)).await;
    let mut stream = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    let gone = events(&mut stream, 1).await;
    assert_eq!(gone[0].kind, EventKind::Delete);
    assert_eq!(store.get("a").await.unwrap(), None);
    let error = store.lease_keep_alive(lease).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseNotFound(_)), "{error}");
}

pub async fn a_key_put_without_its_lease_stays(store: Arc<dyn Store>) {
    let lease = store.lease_grant(600).await.unwrap();
    put_leased(&*store, "a", "1", Some(lease)).await;
    put_leased(&*store, "b", "1", Some(lease)).await;
    put(&*store, "a", "2").await;
    remove(&*store, "b").await;
    put(&*store, "b", "2").await;
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(list_at(&*store, "", None).await, ["a=2", "b=2"]);
}

pub async fn unknown_leases_are_refused(store: Arc<dyn Store>) {
    let lease = store.lease_grant(600).await.unwrap();
    store.lease_revoke(lease).await.unwrap();
    let put = Txn::default().then(Op::put("a", value("1"), Some(lease)));
    let errors = [
        store.txn(put).await.unwrap_err(),
        store.lease_keep_alive(lease).await.unwrap_err(),
        store.lease_revoke(lease).await.unwrap_err(),
    ];
    for error in errors {
        assert!(
            matches!(error, StoreError::LeaseNotFound(id) if id == lease.0),
            "{error}"
        );
    }
}
