//! Secrets whose key a KMS plugin keeps: what is asked of it when, and what goes on without it.
use crate::support::*;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orlop_apiserver::{Encryption, UserInfo};
use orlop_store::RangeRequest;
use orlop_store::embedded::EmbeddedStore;
use parking_lot::Mutex;
use prost::Message;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

/// Of encryption: what is to be sealed, or what is. Of decryption: what is to be opened, or what it was.
#[derive(Clone, PartialEq, Message)]
struct Sealing {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
    #[prost(string, tag = "2")]
    text: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

/// A plugin with a key that is as good as its name.
struct Plugin {
    key: Mutex<String>,
    asked: Mutex<Vec<String>>,
}

impl Plugin {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            key: Mutex::new("key-1".to_owned()),
            asked: Mutex::default(),
        })
    }

    fn answer(&self, method: &str, question: &[u8]) -> Vec<u8> {
        self.asked.lock().push(method.to_owned());
        let key = self.key.lock().clone();
        let sealing = Sealing::decode(question).unwrap();
        let masked = |key: &str| -> Vec<u8> {
            let mask = key.bytes().cycle();
            sealing
                .bytes
                .iter()
                .zip(mask)
                .map(|(byte, mask)| byte ^ mask)
                .collect()
        };
        match method {
            "Status" => Status {
                version: "v2".to_owned(),
                healthz: "ok".to_owned(),
                key_id: key,
            }
            .encode_to_vec(),
            "Encrypt" => Sealing {
                bytes: masked(&key),
                text: key,
                key_id: String::new(),
            }
            .encode_to_vec(),
            _ => Sealing {
                bytes: masked(&sealing.key_id),
                ..Sealing::default()
            }
            .encode_to_vec(),
        }
    }

    /// What it was asked since the last time, without how it is.
    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock());
        asked.retain(|method| method != "Status");
        asked
    }

    /// Serves until the task is aborted.
    fn serve(self: &Arc<Self>, socket: &Path) -> JoinHandle<()> {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let plugin = self.clone();
        tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let plugin = plugin.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let plugin = plugin.clone();
                    async move { Ok::<_, Infallible>(respond(&plugin, request).await) }
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                connections.spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        })
    }
}

async fn respond(
    plugin: &Plugin,
    request: Request<Incoming>,
) -> Response<StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>> {
    let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let answer = plugin.answer(&method, &body[5..]);
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(answer.len() as u32);
    message.put_slice(&answer);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = vec![Ok(Frame::data(message.freeze())), Ok(Frame::trailers(trailers))];
    Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(futures::stream::iter(frames)))
        .unwrap()
}

fn configuration(socket: &Path) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets]\n  providers:\n  - kms: {{apiVersion: v2, name: vault, endpoint: 'unix://{}', timeout: 1s}}\n",
        socket.display()
    )
}

async fn server(config: &str, store: &TestStore) -> (Encryption, Cluster) {
    let encryption = Encryption::new(config).unwrap();
    let mut config = orlop_apiserver::Config::new("127.0.0.1:6443".parse().unwrap());
    config.encryption = Some(encryption.clone());
    (encryption, Cluster::configured(config, store.clone()).await)
}

fn secret(name: &str) -> Value {
    json!({"metadata": {"name": name}, "stringData": {"password": "swordfish"}})
}

async fn stored(store: &TestStore, name: &str) -> String {
    let key = format!("/registry/secrets/default/{name}");
    let found = store.store.range(RangeRequest::key(key)).await.unwrap();
    String::from_utf8_lossy(&found.kvs[0].value).into_owned()
}

#[tokio::test]
async fn a_plugin_is_asked_once_for_each_of_its_keys_and_of_a_server_before() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kms.sock");
    let plugin = Plugin::new();
    let _serving = plugin.serve(&socket);
    let store = TestStore::new().await;
    let config = configuration(&socket);
    let (encryption, cluster) = server(&config, &store).await;
    let admin = cluster.admin();
    for name in ["a", "b"] {
        admin.post(SECRETS, secret(name)).await.ok();
    }
    let sealed = stored(&store, "a").await;
    assert!(sealed.starts_with("k8s:enc:kms:v2:vault:"), "{sealed}");
    assert!(!sealed.contains("password"));
    assert_eq!(plugin.asked(), ["Encrypt"]);
    assert_eq!(admin.get("/readyz/kms-provider-0").await.text, "ok");

    // Another key: what is written from now on is sealed by it, and a write without a change moves what is there.
    *plugin.key.lock() = "key-2".to_owned();
    encryption.replace(&config).unwrap();
    let a = format!("{SECRETS}/a");
    for _ in 0..100 {
        let read = admin.get(&a).await.ok();
        admin.put(&a, read).await.ok();
        if stored(&store, "a").await.contains("key-2") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stored(&store, "a").await.contains("key-2"));
    assert!(stored(&store, "b").await.contains("key-1"));
    assert_eq!(plugin.asked(), ["Encrypt"]);

    // A server that starts has a seed of its own, and those of the values that it finds opened.
    let (_, cluster) = server(&config, &store).await;
    let admin = cluster.admin();
    for name in ["a", "b"] {
        let read = admin.get(&format!("{SECRETS}/{name}")).await.ok();
        assert_eq!(read["data"]["password"], "c3dvcmRmaXNo");
    }
    assert_eq!(plugin.asked(), ["Encrypt", "Decrypt", "Decrypt"]);
}

#[tokio::test]
async fn without_its_plugin_a_server_reads_on_and_one_that_starts_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kms.sock");
    let plugin = Plugin::new();
    let serving = plugin.serve(&socket);
    // Time is made to pass, which a store in another process would not understand.
    let store = TestStore::of(EmbeddedStore::in_memory().unwrap());
    let config = configuration(&socket);
    let (_, cluster) = server(&config, &store).await;
    let admin = cluster.admin();
    admin.post(SECRETS, secret("s")).await.ok();
    serving.abort();
    let _ = serving.await;
    // It is relied on for some time: a plugin may be restarted.
    admin.post(SECRETS, secret("t")).await.ok();
    assert_eq!(admin.get(&format!("{SECRETS}/s")).await.code, 200);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(181)).await;
    let refused = admin.post(SECRETS, secret("u")).await;
    assert_eq!(refused.code, 500, "{}", refused.text);
    assert!(refused.text.contains("cannot be sealed"), "{}", refused.text);
    assert_eq!(admin.get(&format!("{SECRETS}/s")).await.code, 200);
    assert_eq!(admin.get("/readyz").await.code, 500);
    let health = cluster.user(UserInfo::admin("admin")).get("/livez?verbose").await;
    assert!(
        health
            .text
            .contains("[-]kms-provider-0 failed: reason withheld\n"),
        "{}",
        health.text
    );
    // What cannot be opened now is not hidden, and everything else is there.
    tokio::time::resume();
    let (_, cluster) = server(&config, &store).await;
    let admin = cluster.admin();
    admin.post(CONFIGMAPS, configmap("c", "1")).await.ok();
    for path in [
        SECRETS.to_owned(),
        format!("{SECRETS}/s"),
        "/api/v1/secrets?watch=1".to_owned(),
    ] {
        let message = admin.get(&path).await.refused(500);
        assert!(
            message.starts_with("Internal error occurred: unable to transform stored secrets: the KMS plugin vault does not answer"),
            "{message}"
        );
    }
    admin.post(SECRETS, secret("v")).await.refused(500);
    admin
        .delete(&format!("{SECRETS}/s"), Value::Null)
        .await
        .refused(500);
    for endpoint in ["readyz", "healthz", "livez"] {
        let text = admin.get(&format!("/{endpoint}?verbose")).await.text;
        assert!(text.contains("[-]kms-provider-0 failed"), "{text}");
        assert!(text.contains("[+]etcd ok"), "{text}");
    }
    // Once the plugin is back, all of it is.
    let _serving = plugin.serve(&socket);
    let names = open_again(&admin).await;
    assert_eq!(names, ["s", "t"]);
    admin.post(SECRETS, secret("v")).await.ok();
}

/// The names of all Secrets, once they can be read.
async fn open_again(admin: &Client) -> Vec<String> {
    for _ in 0..200 {
        let list = admin.get(SECRETS).await;
        if list.code == 200 {
            let list = list.json();
            let items = list["items"].as_array().unwrap().iter();
            return items
                .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
                .collect();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("secrets stay shut");
}

/// A value that another server has sealed, whose seed this one's plugin would have to open.
#[tokio::test]
async fn what_comes_while_the_plugin_is_away_shuts_its_resource_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, away) = (
        directory.path().join("kms.sock"),
        directory.path().join("away.sock"),
    );
    let plugin = Plugin::new();
    let _serving = plugin.serve(&socket);
    let other = plugin.serve(&away);
    let store = TestStore::new().await;
    let (_, writing) = server(&configuration(&socket), &store).await;
    let (_, reading) = server(&configuration(&away), &store).await;
    let (writer, reader) = (writing.admin(), reading.admin());
    reader.post(SECRETS, secret("own")).await.ok();
    let mut secrets = reader.watch("/api/v1/secrets?watch=1").await;
    assert_eq!(secrets.event().await, ("ADDED".to_owned(), "own".to_owned()));
    let mut maps = reader.watch(&format!("{CONFIGMAPS}?watch=1")).await;
    other.abort();
    let _ = other.await;
    writer.post(SECRETS, secret("foreign")).await.ok();
    writer.post(CONFIGMAPS, configmap("after", "1")).await.ok();
    loop {
        if maps.event().await.1 == "after" {
            break;
        }
    }
    let end = secrets.next().await.unwrap();
    assert_eq!(
        (&end["type"], &end["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    reader.get(&format!("{SECRETS}/own")).await.refused(500);
    let _other = plugin.serve(&away);
    assert_eq!(open_again(&reader).await, ["foreign", "own"]);
    let mut secrets = reader.watch("/api/v1/secrets?watch=1&resourceVersion=0").await;
    writer.post(SECRETS, secret("more")).await.ok();
    for name in ["foreign", "own", "more"] {
        assert_eq!(secrets.event().await, ("ADDED".to_owned(), name.to_owned()));
    }
}
