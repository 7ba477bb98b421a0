use crate::common::*;
use orlop_store::*;
use std::sync::Arc;

pub async fn a_prefix_holds_its_keys_and_no_others(store: Arc<dyn Store>) {
    for key in [
        "/pods",
        "/pods/",
        "/pods/a",
        "/pods/b/c",
        "/pods0",
        "/podt",
        "/o",
        "\u{e9}",
    ] {
        put(&*store, key, "").await;
    }
    let listed = list_at(&*store, "/pods/", None).await;
    assert_eq!(listed, ["/pods/=", "/pods/a=", "/pods/b/c="]);
    assert_eq!(list_at(&*store, "", None).await.len(), 8);
    let mut counted = RangeRequest::prefix("/pods/");
    counted.count_only = true;
    let answer = store.range(counted).await.unwrap();
    assert_eq!((answer.count, answer.kvs.len()), (3, 0));
    let backwards = RangeRequest {
        start: "b".into(),
        end: Some("a".into()),
        ..RangeRequest::default()
    };
    assert_eq!(store.range(backwards).await.unwrap().count, 0);
}

pub async fn a_limit_says_that_there_is_more(store: Arc<dyn Store>) {
    for key in ["a", "b", "c"] {
        put(&*store, key, "1").await;
        put(&*store, key, "2").await;
    }
    for (limit, returned, more) in [(0, 3, false), (1, 1, true), (3, 3, false), (4, 3, false)] {
        let mut request = RangeRequest::prefix("");
        request.limit = limit;
        let answer = store.range(request.clone()).await.unwrap();
        assert_eq!((answer.kvs.len(), answer.more, answer.count), (returned, more, 3));
        request.uncounted = true;
        let answer = store.range(request).await.unwrap();
        assert_eq!((answer.kvs.len(), answer.more), (returned, more), "uncounted");
    }
}

pub async fn the_revision_has_every_write_that_was_answered(store: Arc<dyn Store>) {
    for number in 0..5 {
        let written = put(&*store, &format!("/k{number}"), "1").await;
        assert_eq!(store.revision().await.unwrap(), written);
        assert_eq!(store.status().await.unwrap().revision, written);
    }
}

pub async fn a_page_continues_behind_the_last_key(store: Arc<dyn Store>) {
    for (root, uncounted) in [("/a", false), ("/b", true)] {
        for number in 0..10 {
            put(&*store, &format!("{root}/k{number}"), "old").await;
        }
        let mut request = RangeRequest {
            limit: 3,
            uncounted,
            ..RangeRequest::prefix(root)
        };
        let mut keys = Vec::new();
        loop {
            let page = store.range(request.clone()).await.unwrap();
            // Later pages show the same moment as the first.
            request.revision = request.revision.or(Some(page.revision));
            put(&*store, &format!("{root}/k{}x", keys.len()), "new").await;
            assert!(uncounted || page.count == 10 - keys.len());
            keys.extend(page.kvs.iter().map(describe));
            request.start = page.kvs.last().unwrap().key.next();
            if !page.more {
                break;
            }
        }
        let expected: Vec<_> = (0..10).map(|number| format!("{root}/k{number}=old")).collect();
        assert_eq!(keys, expected);
    }
}

pub async fn the_past_can_be_read_as_it_was(store: Arc<dyn Store>) {
    let start = store.status().await.unwrap().revision;
    let one = put(&*store, "a", "1").await;
    let two = put(&*store, "b", "2").await;
    let three = put(&*store, "a", "3").await;
    let four = remove(&*store, "a").await;
    let five = put(&*store, "a", "5").await;
    let expected: [(Revision, &[&str]); 6] = [
        (start, &[]),
        (one, &["a=1"]),
        (two, &["a=1", "b=2"]),
        (three, &["a=3", "b=2"]),
        (four, &["b=2"]),
        (five, &["a=5", "b=2"]),
    ];
    for (at, listed) in expected {
        assert_eq!(list_at(&*store, "", Some(at)).await, listed, "at {at}");
        let mut point = RangeRequest::key("a");
        point.revision = Some(at);
        let answer = store.range(point).await.unwrap();
        assert_eq!(
            answer.kvs.iter().map(describe).next().as_deref(),
            listed.iter().copied().find(|kv| kv.starts_with('a'))
        );
        assert_eq!(answer.revision, five, "the answer tells how far the store is");
    }
}

pub async fn the_future_cannot_be_read(store: Arc<dyn Store>) {
    let now = put(&*store, "a", "1").await;
    let mut request = RangeRequest::key("a");
    request.revision = Some(Revision(now.0 + 1));
    let error = store.range(request).await.unwrap_err();
    assert!(
        matches!(error, StoreError::FutureRevision { current, .. } if current == now),
        "{error}"
    );
}

pub async fn versions_count_from_creation(store: Arc<dyn Store>) {
    let one = put(&*store, "a", "1").await;
    let two = put(&*store, "a", "2").await;
    let kv = store.get("a").await.unwrap().unwrap();
    assert_eq!((kv.version, kv.create_revision, kv.mod_revision), (2, one, two));
    remove(&*store, "a").await;
    let four = put(&*store, "a", "4").await;
    let kv = store.get("a").await.unwrap().unwrap();
    assert_eq!((kv.version, kv.create_revision, kv.mod_revision), (1, four, four));
}

pub async fn keys_may_be_any_bytes(store: Arc<dyn Store>) {
    let keys: [&[u8]; 6] = [b"\0", b"\0\0", b"\0\x01", b"a\0b", b"\xfe\xff", b"\xff\xff"];
    for key in keys.iter().rev() {
        let txn = Txn::default().then(Op::put(*key, value("1"), None));
        store.txn(txn).await.unwrap();
    }
    let all = store.range(RangeRequest::prefix("")).await.unwrap();
    let found: Vec<&[u8]> = all.kvs.iter().map(|kv| &*kv.key).collect();
    assert_eq!(found, keys);
    let highest = store
        .range(RangeRequest::prefix(b"\xff".as_slice()))
        .await
        .unwrap();
    assert_eq!(highest.count, 1);
    let below = store
        .range(RangeRequest::prefix(b"\xfe".as_slice()))
        .await
        .unwrap();
    assert_eq!(&*below.kvs[0].key, b"\xfe\xff");
    let all = Op::Delete {
        start: Key::default(),
        end: Some(Key::UNBOUNDED),
    };
    store.txn(Txn::default().then(all)).await.unwrap();
    assert_eq!(store.range(RangeRequest::prefix("")).await.unwrap().count, 0);
}
