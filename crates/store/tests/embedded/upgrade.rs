//! Stores that earlier code has made. The files are of that code's own making, compressed.
use crate::common::*;
use crate::everything;
use orlop_store::embedded::{EmbeddedStore, Image, Options};
use orlop_store::*;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Format 1, which had no journal: 40 puts over 20 keys, a key with a lease, a deletion, a key that is no
/// text, compaction to revision 10. Closed,
const CLOSED: &[u8] = include_bytes!("format-1-closed.redb.gz");
/// and killed.
const KILLED: &[u8] = include_bytes!("format-1-killed.redb.gz");

fn unpack(packed: &[u8], directory: &Path) {
    let mut file = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut file)
        .unwrap();
    std::fs::write(directory.join("orlop.redb"), file).unwrap();
}

fn expected() -> Vec<String> {
    let pods = (0..20).filter(|number| *number != 3).map(|number| {
        let last = number + 20;
        format!("/registry/pods/{number:02}=version {last} {}", "x".repeat(last))
    });
    [
        "\u{0}\u{fffd}\u{0}\u{1}=\u{0}\u{1}\u{2}".to_owned(),
        "/registry/leases/node=held".to_owned(),
    ]
    .into_iter()
    .chain(pods)
    .collect()
}

/// As `describe` has it, but for a key that is no text.
async fn all(store: &EmbeddedStore) -> Vec<String> {
    let kvs = store.range(RangeRequest::prefix("")).await.unwrap().kvs;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    kvs.iter()
        .map(|kv| format!("{}={}", text(&kv.key), text(&kv.value)))
        .collect()
}

async fn is_upgraded(packed: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    unpack(packed, directory.path());
    let options = || Options {
        history: Duration::MAX,
        ..Options::default()
    };
    let open = || EmbeddedStore::open(directory.path(), options()).unwrap();
    {
        let image = Image::take(directory.path()).unwrap();
        assert!(image.verify().unwrap().is_sound());
    }
    let store = open();
    assert_eq!(all(&store).await, expected());
    let status = store.status().await.unwrap();
    assert_eq!(
        (status.revision, status.compacted, status.keys),
        (Revision(44), Some(Revision(10)), 21)
    );
    let lease = store.lease_info(LeaseId(77)).await.unwrap();
    assert_eq!(
        (lease.ttl_seconds, lease.keys),
        (600, vec![Key::from("/registry/leases/node")])
    );
    // Its history, too.
    let then = list_at(&*store, "/registry/pods/03", Some(Revision(30))).await;
    assert_eq!(then, [format!("/registry/pods/03=version 23 {}", "x".repeat(23))]);
    let mut stream = store
        .watch(WatchRequest::prefix("", Some(Revision(10))))
        .await
        .unwrap();
    let told = events(&mut stream, 35).await;
    assert_eq!(told.first().unwrap().kv.mod_revision, Revision(10));
    assert_eq!(told.last().unwrap().kv.mod_revision, Revision(44));
    assert_eq!(put(&*store, "/new", "1").await, Revision(45));
    store.close().await;
    let store = open();
    assert_eq!(everything(&store).await.len(), 22);
    store.close().await;
    assert!(
        Image::take(directory.path())
            .unwrap()
            .verify()
            .unwrap()
            .is_sound()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_format_1_is_upgraded_with_all_it_has() {
    is_upgraded(CLOSED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_format_1_that_was_killed_is_upgraded_with_all_it_has() {
    is_upgraded(KILLED).await;
}
