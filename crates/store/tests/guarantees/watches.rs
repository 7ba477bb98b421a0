use crate::common::*;
use orlop_store::*;
use std::sync::Arc;

pub async fn changes_come_in_order_from_a_revision_on(store: Arc<dyn Store>) {
    let one = put(&*store, "/a", "1").await;
    put(&*store, "/b", "2").await;
    put(&*store, "other", "3").await;
    remove(&*store, "/a").await;
    let mut all = store.watch(WatchRequest::prefix("/", Some(one))).await.unwrap();
    let mut later = store
        .watch(WatchRequest::prefix("/", Some(Revision(one.0 + 1))))
        .await
        .unwrap();
    put(&*store, "/c", "5").await;
    let r = |plus: u64| one.0 + plus;
    let expected = [
        format!("{} +/a=1", r(0)),
        format!("{} +/b=2", r(1)),
        format!("{} -/a", r(3)),
        format!("{} +/c=5", r(4)),
    ];
    assert_eq!(described_events(&mut all, 4).await, expected);
    assert_eq!(described_events(&mut later, 3).await, expected[1..]);
}

pub async fn changes_of_one_revision_come_together(store: Arc<dyn Store>) {
    let now = put(&*store, "/b", "0").await;
    let mut live = store.watch(WatchRequest::prefix("/", None)).await.unwrap();
    let txn = Txn::default()
        .then(Op::put("/c", value("1"), None))
        .then(Op::put("/a", value("1"), None))
        .then(Op::delete("/b"));
    store.txn(txn).await.unwrap();
    let mut replay = store
        .watch(WatchRequest::prefix("/", Some(Revision(now.0 + 1))))
        .await
        .unwrap();
    for stream in [&mut live, &mut replay] {
        let batch = next_batch(stream).await.unwrap();
        let mut keys: Vec<_> = batch
            .events
            .iter()
            .map(|event| event.kv.key.to_string())
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, ["/a", "/b", "/c"]);
        assert!(
            batch
                .events
                .iter()
                .all(|event| event.kv.mod_revision.0 == now.0 + 1)
        );
        assert_eq!(batch.revision.0, now.0 + 1);
    }
}

pub async fn a_watch_without_a_revision_begins_now(store: Arc<dyn Store>) {
    put(&*store, "a", "1").await;
    let mut prefix = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    let single = WatchRequest {
        start: "a".into(),
        ..WatchRequest::default()
    };
    let mut single = store.watch(single).await.unwrap();
    let two = put(&*store, "ab", "2").await;
    let three = put(&*store, "a", "3").await;
    let expected = [format!("{two} +ab=2"), format!("{three} +a=3")];
    assert_eq!(described_events(&mut prefix, 2).await, expected);
    assert_eq!(described_events(&mut single, 1).await, expected[1..]);
}

pub async fn a_watch_may_begin_in_the_future(store: Arc<dyn Store>) {
    let one = put(&*store, "a", "1").await;
    let from = Some(Revision(one.0 + 2));
    let mut stream = store.watch(WatchRequest::prefix("", from)).await.unwrap();
    put(&*store, "a", "2").await;
    let three = put(&*store, "a", "3").await;
    assert_eq!(described_events(&mut stream, 1).await, [format!("{three} +a=3")]);
}

pub async fn an_event_carries_what_was_before(store: Arc<dyn Store>) {
    let start = store.status().await.unwrap().revision.0;
    let mut live = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    put(&*store, "a", "1").await;
    put(&*store, "a", "2").await;
    remove(&*store, "a").await;
    put(&*store, "a", "4").await;
    let mut replay = store
        .watch(WatchRequest::prefix("", Some(Revision(start + 1))))
        .await
        .unwrap();
    for stream in [&mut live, &mut replay] {
        let events = events(stream, 4).await;
        let before: Vec<_> = events
            .iter()
            .map(|event| event.previous.as_ref().map(describe))
            .collect();
        assert_eq!(before, [None, Some("a=1".into()), Some("a=2".into()), None]);
        assert!(events[2].kv.value.is_empty());
        assert_eq!(events[3].kv.version, 1);
        assert_eq!(events[1].previous.as_ref().unwrap().mod_revision.0, start + 1);
    }
}

pub async fn changes_of_others_move_the_progress_mark(store: Arc<dyn Store>) {
    let mut stream = store.watch(WatchRequest::prefix("/mine/", None)).await.unwrap();
    let reached = put(&*store, "/other", "1").await;
    let batch = next_batch(&mut stream).await.unwrap();
    assert!(batch.events.is_empty());
    assert!(batch.revision >= reached);
}

pub async fn a_slow_watcher_misses_nothing_and_stops_nobody(store: Arc<dyn Store>) {
    let mut slow = store.watch(WatchRequest::prefix("/", None)).await.unwrap();
    let mut quick = store.watch(WatchRequest::prefix("/", None)).await.unwrap();
    // More than any channel or memory keeps for a watcher.
    let large = "x".repeat(64 << 10);
    let count = 200;
    for number in 0..count {
        put(&*store, &format!("/{}", number % 7), &large).await;
        let seen = events(&mut quick, 1).await;
        assert_eq!(seen[0].kv.value.len(), large.len());
    }
    let seen = events(&mut slow, count).await;
    let first = seen[0].kv.mod_revision.0;
    for (event, revision) in seen.iter().zip(first..) {
        assert_eq!(event.kv.mod_revision.0, revision);
        assert_eq!(event.previous.is_some(), revision >= first + 7);
    }
}

pub async fn no_gaps_with_concurrent_writers(store: Arc<dyn Store>) {
    let start = store.status().await.unwrap().revision.0;
    let (writers, writes) = (8, 40);
    let last = start + writers * writes;
    let mut watches = vec![(
        start + 1,
        store.watch(WatchRequest::prefix("/", None)).await.unwrap(),
    )];
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let writes_to = store.clone();
        tasks.push(tokio::spawn(async move {
            for number in 0..writes {
                put(&*writes_to, &format!("/{writer}"), &number.to_string()).await;
            }
        }));
        // Some watches begin in the middle of it, one before and one behind what is durable.
        let now = store.status().await.unwrap().revision.0;
        for from in [now.saturating_sub(3).max(start + 1), now + 3] {
            let request = WatchRequest::prefix("/", Some(Revision(from)));
            watches.push((from, store.watch(request).await.unwrap()));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    for (from, stream) in &mut watches {
        let seen = events(stream, (last + 1 - *from) as usize).await;
        for (event, revision) in seen.iter().zip(*from..) {
            assert_eq!(event.kv.mod_revision.0, revision, "watched from {from}");
        }
    }
}
