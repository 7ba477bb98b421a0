//! Objects that are sealed before they are stored (`--encryption-provider-config`), seen from both sides: what clients
//! read, and what is in the store.
use crate::support::*;
use orlop_apiserver::Encryption;
use orlop_store::{Op, RangeRequest, Revision, Txn};
use serde_json::{Value, json};

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
async fn what_was_stored_before_is_read_and_what_nobody_can_open_stays_hidden() {
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
    let list = admin.get(&format!("{SECRETS}?resourceVersion={at}")).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}
