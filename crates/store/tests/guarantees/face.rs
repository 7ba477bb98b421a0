//! The embedded store behind its etcd face, for one test, seen through a client of etcd.
use crate::common::{events, put, value};
use orlop_etcd::{Endpoint, Face as Served, Listener, Member};
use orlop_store::embedded::{EmbeddedStore, Options};
use orlop_store::etcd::{EtcdStore, EtcdTls};
use orlop_store::{Compare, Op, OpResponse, Store, Txn, WatchRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// As with the etcd of these tests: room for the largest value and its envelope.
const REQUEST_BYTES_MAX: usize = 2 << 20;

/// Ended, and its data removed, when dropped.
pub struct Face {
    url: String,
    _shutdown: DropGuard,
    _data: tempfile::TempDir,
}

impl Face {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let url = format!("http://127.0.0.1:{}", orlop_ports::free_port());
        let options = Options {
            history: Duration::MAX,
            ..Options::default()
        };
        let store = EmbeddedStore::open(data.path(), options).unwrap();
        let member = Member {
            client_urls: vec![url.clone()],
            ..Member::named("default")
        };
        let endpoint: Endpoint = url.parse().unwrap();
        let listener = Listener::bind(endpoint, None).await.unwrap();
        let shutdown = CancellationToken::new();
        let (face, stop) = (
            Served::new(store, member).with_request_limit(REQUEST_BYTES_MAX),
            shutdown.clone(),
        );
        tokio::spawn(async move { face.serve(vec![listener], stop).await });
        Self {
            url,
            _shutdown: shutdown.drop_guard(),
            _data: data,
        }
    }

    pub async fn store(&self) -> Arc<dyn Store> {
        Arc::new(
            EtcdStore::connect(std::slice::from_ref(&self.url), EtcdTls::default())
                .await
                .unwrap(),
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_want_to_know_what_was_before_is_not_sent_it() {
    let face = Face::start().await;
    let store = face.store().await;
    let first = put(&*store, "a", "1").await;
    let mut watch = store
        .watch(WatchRequest::prefix("", None).without_previous())
        .await
        .unwrap();
    let update = Txn::when(Compare::mod_revision("a", first))
        .then(Op::put("a", value("2"), None))
        .without_previous();
    let updated = store.txn(update).await.unwrap();
    assert!(updated.succeeded);
    assert!(
        matches!(&updated.responses[..], [OpResponse::Put { previous: None }]),
        "{updated:?}"
    );
    let delete = Txn::default().then(Op::delete("a")).without_previous();
    let deleted = store.txn(delete).await.unwrap();
    let [OpResponse::Delete { previous }] = &deleted.responses[..] else {
        panic!("{deleted:?}")
    };
    assert!(previous.is_empty(), "{deleted:?}");
    let changes = events(&mut watch, 2).await;
    assert!(
        changes.iter().all(|change| change.previous.is_none()),
        "{changes:?}"
    );
    assert_eq!(changes[0].kv.value, "2");
}
