//! Objects that are sealed before they are stored (`--encryption-provider-config`), seen from both sides: what clients
//! read, and what is in the store.
use crate::support::*;
use orlop_apiserver::Encryption;
use orlop_store::embedded::EmbeddedStore;
use orlop_store::{Op, RangeRequest, Revision, Txn};
use serde_json::{Value, json};
use std::time::Duration;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const KEY_1: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const KEY_2: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

fn configuration(providers: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets]\n  providers: {providers}\n"
    )
    .replace("KEY_1", KEY_1)
    .replace("KEY_2", KEY_2)
}

fn secret(name: &str, password: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": password}})
}

async fn server(encryption: &Encryption, store: &TestStore) -> Client {
    let mut config = orlop_apiserver::Config::new("127.0.0.1:6443".parse().unwrap());
    config.encryption = Some(encryption.clone());
    Cluster::configured(config, store.clone()).await.admin()
}

/// What is stored under a key.
async fn raw(store: &TestStore, key: &str) -> Vec<u8> {
    let found = store
        .store
        .range(RangeRequest::key(format!("/registry/{key}")))
        .await;
    found.unwrap().kvs[0].value.to_vec()
}

#[tokio::test]
async fn secrets_are_sealed_in_the_store_and_read_as_they_were_written() {
    for kind in ["aescbc", "aesgcm", "secretbox"] {
        let keys = format!("[{{{kind}: {{keys: [{{name: key1, secret: KEY_1}}]}}}}, {{identity: {{}}}}]");
        let encryption = Encryption::new(&configuration(&keys)).unwrap();
        let store = TestStore::new().await;
        let admin = server(&encryption, &store).await;
        let mut watch = admin.watch(&format!("{SECRETS}?watch=1")).await;
        admin.post(SECRETS, secret("s", "swordfish")).await.ok();
        let stored = raw(&store, "secrets/default/s").await;
        assert!(stored.starts_with(format!("k8s:enc:{kind}:v1:key1:").as_bytes()));
        let text = String::from_utf8_lossy(&stored);
        assert!(!text.contains("password") && !text.contains("c3dvcmRmaXNo"));
        assert_eq!(watch.event().await, ("ADDED".to_owned(), "s".to_owned()));
        let path = format!("{SECRETS}/s");
        let read = admin.get(&path).await.ok();
        assert_eq!(read["data"]["password"], "c3dvcmRmaXNo");
        let changed = admin
            .patch(&path, "merge", json!({"stringData": {"password": "marlin"}}))
            .await
            .ok();
        assert_eq!(changed["data"]["password"], "bWFybGlu");
        // Other kinds are not what was asked for.
        admin.post(CONFIGMAPS, configmap("c", "v")).await.ok();
        let plain = raw(&store, "configmaps/default/c").await;
        assert!(serde_json::from_slice::<Value>(&plain).is_ok());
        // A page from the past comes from the store, not from the cache.
        let first = admin.get(&format!("{SECRETS}?limit=1")).await.ok();
        let version = read["metadata"]["resourceVersion"].as_str().unwrap();
        let past = format!("{SECRETS}?resourceVersion={version}&resourceVersionMatch=Exact");
        assert_eq!(first["items"][0]["data"]["password"], "bWFybGlu");
        assert_eq!(
            admin.get(&past).await.ok()["items"][0]["data"]["password"],
            "c3dvcmRmaXNo"
        );
        let again = server(&encryption, &store).await;
        assert_eq!(
            again.get(&path).await.ok()["data"]["password"],
            "bWFybGlu",
            "{kind}, after a restart"
        );
    }
}

/// The way keys are rotated: a new one is added, made the first, everything is written again, the old one goes.
#[tokio::test]
async fn keys_are_rotated_by_writing_what_does_not_change() {
    let old = "[{aesgcm: {keys: [{name: key1, secret: KEY_1}]}}]";
    let both = "[{aesgcm: {keys: [{name: key2, secret: KEY_2}, {name: key1, secret: KEY_1}]}}]";
    let new = "[{aesgcm: {keys: [{name: key2, secret: KEY_2}]}}]";
    let encryption = Encryption::new(&configuration(old)).unwrap();
    let store = TestStore::new().await;
    let admin = server(&encryption, &store).await;
    let made = admin.post(SECRETS, secret("s", "swordfish")).await.ok();
    let path = format!("{SECRETS}/s");
    let same = admin.put(&path, made.clone()).await.ok();
    assert_eq!(version(&same), version(&made), "nothing is to be written");
    encryption.replace(&configuration(both)).unwrap();
    assert_eq!(admin.get(&path).await.ok()["data"]["password"], "c3dvcmRmaXNo");
    let rewritten = admin.put(&path, made.clone()).await.ok();
    assert!(version(&rewritten) > version(&made));
    let stored = raw(&store, "secrets/default/s").await;
    assert!(stored.starts_with(b"k8s:enc:aesgcm:v1:key2:"));
    encryption.replace("kind: nonsense").unwrap_err();
    encryption.replace(&configuration(new)).unwrap();
    let after = server(&encryption, &store).await;
    assert_eq!(after.get(&path).await.ok()["data"]["password"], "c3dvcmRmaXNo");
}

#[tokio::test]
async fn what_was_stored_before_is_read_and_what_nobody_can_open_is_told_of() {
    let store = TestStore::new().await;
    let admin = Cluster::over(store.clone()).await.admin();
    admin.post(SECRETS, secret("plain", "swordfish")).await.ok();
    let keys = "[{aesgcm: {keys: [{name: key1, secret: KEY_1}]}}, {identity: {}}]";
    let encryption = Encryption::new(&configuration(keys)).unwrap();
    let admin = server(&encryption, &store).await;
    let path = format!("{SECRETS}/plain");
    let read = admin.get(&path).await.ok();
    assert_eq!(read["data"]["password"], "c3dvcmRmaXNo");
    admin.put(&path, read).await.ok();
    let stored = raw(&store, "secrets/default/plain").await;
    assert!(stored.starts_with(b"k8s:enc:aesgcm:v1:key1:"));
    // Under another name, the value is not what was sealed.
    let moved = Txn {
        success: vec![Op::put("/registry/secrets/default/moved", stored.into(), None)],
        ..Txn::default()
    };
    let at: Revision = store.store.txn(moved).await.unwrap().revision;
    let list = format!("{SECRETS}?resourceVersion={at}");
    let why = "Internal error occurred: unable to transform key \"/registry/secrets/default/moved\": \
               no key of the encryption configuration opens what \"aesgcm:v1:key1\" has sealed";
    assert_eq!(admin.get(&list).await.refused(500), why);
    admin.get(&path).await.ok();
    let gone = Txn {
        success: vec![Op::delete("/registry/secrets/default/moved")],
        ..Txn::default()
    };
    let at: Revision = store.store.txn(gone).await.unwrap().revision;
    let list = admin.get(&format!("{SECRETS}?resourceVersion={at}")).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

/// As after a restore with another configuration. What has lost its key is there, and nobody is to think otherwise.
#[tokio::test]
async fn without_a_key_what_it_has_sealed_and_lists_with_it_are_refused_and_all_else_goes_on() {
    // Time is made to pass, which a store in another process would not understand.
    let store = TestStore::of(EmbeddedStore::in_memory().unwrap());
    let old = "[{aescbc: {keys: [{name: key1, secret: KEY_1}]}}]";
    let new = "[{aescbc: {keys: [{name: key2, secret: KEY_2}]}}]";
    let both = "[{aescbc: {keys: [{name: key2, secret: KEY_2}, {name: key1, secret: KEY_1}]}}]";
    let before = server(&Encryption::new(&configuration(old)).unwrap(), &store).await;
    before.post(SECRETS, secret("s", "swordfish")).await.ok();
    let encryption = Encryption::new(&configuration(new)).unwrap();
    let admin = server(&encryption, &store).await;
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    admin.get(CONFIGMAPS).await.ok();
    admin.post(SECRETS, secret("t", "marlin")).await.ok();
    admin.get(&format!("{SECRETS}/t")).await.ok();
    let path = format!("{SECRETS}/s");
    let why = "Internal error occurred: unable to transform key \"/registry/secrets/default/s\": \
               no key of the encryption configuration opens what \"aescbc:v1:key1\" has sealed";
    for refused in [
        path.clone(),
        SECRETS.to_owned(),
        format!("{SECRETS}?limit=1"),
        "/api/v1/secrets".to_owned(),
        "/api/v1/secrets?watch=1".to_owned(),
    ] {
        assert_eq!(admin.get(&refused).await.refused(500), why, "{refused}");
    }
    admin.get("/api/v1/namespaces/kube-system/secrets").await.ok();
    admin.delete(&path, Value::Null).await.refused(500);
    let change = json!({"metadata": {"labels": {"a": "b"}}});
    admin.patch(&path, "merge", change).await.refused(500);
    admin.post(SECRETS, secret("s", "other")).await.refused(409);

    // With its key it is there again, without a restart.
    encryption.replace(&configuration(both)).unwrap();
    tokio::time::pause();
    let mut list = admin.get(SECRETS).await;
    for _ in 0..100 {
        if list.code == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        list = admin.get(SECRETS).await;
    }
    assert_eq!(list.ok()["items"].as_array().unwrap().len(), 2);
    // The store's thread is none of the runtime's: a clock that runs ahead of it would end the call.
    tokio::time::resume();
    admin.delete(&path, Value::Null).await.ok();
}

/// Another server of the cluster has a newer configuration than this one.
#[tokio::test]
async fn what_loses_its_key_ends_watches_and_they_hear_why_when_they_begin_anew() {
    let store = TestStore::new().await;
    let first = "[{aesgcm: {keys: [{name: key1, secret: KEY_1}]}}]";
    let both = "[{aesgcm: {keys: [{name: key2, secret: KEY_2}, {name: key1, secret: KEY_1}]}}]";
    let behind = server(&Encryption::new(&configuration(first)).unwrap(), &store).await;
    let ahead = server(&Encryption::new(&configuration(both)).unwrap(), &store).await;
    behind.post(SECRETS, secret("s", "swordfish")).await.ok();
    let mut watch = behind.watch(&format!("{SECRETS}?watch=1")).await;
    assert_eq!(watch.event().await, ("ADDED".to_owned(), "s".to_owned()));
    let path = format!("{SECRETS}/s");
    let change = json!({"stringData": {"password": "marlin"}});
    ahead.patch(&path, "merge", change).await.ok();
    let end = watch.next().await.unwrap();
    assert_eq!(
        (&end["type"], &end["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    let why = behind.get(&format!("{SECRETS}?watch=1")).await.refused(500);
    assert!(why.contains("aesgcm:v1:key2"), "{why}");
    behind.get(&path).await.refused(500);
    ahead.delete(&path, Value::Null).await.ok();
    assert_eq!(behind.get(SECRETS).await.ok()["items"], json!([]));
}
