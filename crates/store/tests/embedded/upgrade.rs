//! Stores that earlier code has made. The files are of that code's own making, compressed.
use crate::common::*;
use crate::everything;
use flate2::read::GzDecoder;
use orlop_store::embedded::{EmbeddedStore, Image, Options};
use orlop_store::*;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Format 1, which had no journal, and format 2, of which the tree had every version of every key: 40 puts over 20 keys, a key with a lease, a deletion, a key that is no
/// text, compaction to revision 10. Closed,
const FORMAT_1_CLOSED: Made = Made::Tree(include_bytes!("format-1-closed.redb.gz"));
const FORMAT_2_CLOSED: Made = Made::Files(include_bytes!("format-2-closed.tar.gz"));
/// and killed.
const FORMAT_1_KILLED: Made = Made::Tree(include_bytes!("format-1-killed.redb.gz"));
const FORMAT_2_KILLED: Made = Made::Files(include_bytes!("format-2-killed.tar.gz"));

enum Made {
    Tree(&'static [u8]),
    /// Tree and journal.
    Files(&'static [u8]),
}

impl Made {
    fn unpack(&self, directory: &Path) {
        match self {
            Self::Tree(packed) => {
                let mut file = Vec::new();
                GzDecoder::new(*packed).read_to_end(&mut file).unwrap();
                std::fs::write(directory.join("orlop.redb"), file).unwrap();
            }
            Self::Files(packed) => tar::Archive::new(GzDecoder::new(*packed))
                .unpack(directory)
                .unwrap(),
        }
    }
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

async fn is_upgraded(made: Made) {
    let directory = tempfile::tempdir().unwrap();
    made.unpack(directory.path());
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
    assert_eq!(put(&*store, "/registry/pods/04", "newer").await, Revision(46));
    assert_eq!(put(&*store, "/registry/pods/03", "back").await, Revision(47));
    store.close().await;
    let store = open();
    assert_eq!(everything(&store).await.len(), 23);
    // Steps of both formats.
    for (at, then) in [
        (20, vec![3]),
        (24, vec![3]),
        (42, vec![23]),
        (43, vec![]),
        (46, vec![]),
    ] {
        let there = list_at(&*store, "/registry/pods/03", Some(Revision(at))).await;
        let expected: Vec<_> = then
            .iter()
            .map(|last: &usize| format!("/registry/pods/03=version {last} {}", "x".repeat(*last)))
            .collect();
        assert_eq!(there, expected, "{at}");
    }
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
    is_upgraded(FORMAT_1_CLOSED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_format_1_that_was_killed_is_upgraded_with_all_it_has() {
    is_upgraded(FORMAT_1_KILLED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_format_2_is_upgraded_with_all_it_has() {
    is_upgraded(FORMAT_2_CLOSED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_format_2_that_was_killed_is_upgraded_with_all_it_has() {
    is_upgraded(FORMAT_2_KILLED).await;
}
