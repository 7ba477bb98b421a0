use crate::common::*;
use orlop_store::*;
use std::sync::Arc;
use tokio::task::JoinSet;

pub async fn one_of_many_creators_wins(store: Arc<dyn Store>) {
    for round in 0..10 {
        let key = format!("/{round}");
        let mut tasks = JoinSet::new();
        for creator in 0..16 {
            let (store, key) = (store.clone(), key.clone());
            tasks.spawn(async move {
                let name = creator.to_string();
                let created = store.create(&key, value(&name), None).await.unwrap();
                created.map(|revision| (name, revision))
            });
        }
        let winners: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let kv = store.get(&key).await.unwrap().unwrap();
        assert_eq!(describe(&kv), format!("{key}={}", winners[0].0));
        assert_eq!(kv.mod_revision, winners[0].1);
    }
}

pub async fn increments_are_never_lost(store: Arc<dyn Store>) {
    put(&*store, "counter", "0").await;
    let (tasks_count, increments) = (8, 15);
    let mut tasks = JoinSet::new();
    for _ in 0..tasks_count {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..increments {
                loop {
                    let kv = store.get("counter").await.unwrap().unwrap();
                    let count: u32 = std::str::from_utf8(&kv.value).unwrap().parse().unwrap();
                    let next = value(&(count + 1).to_string());
                    let updated = store.update("counter", next, kv.mod_revision, None).await;
                    if updated.unwrap().is_some() {
                        break;
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    let kv = store.get("counter").await.unwrap().unwrap();
    assert_eq!(describe(&kv), format!("counter={}", tasks_count * increments));
    assert_eq!(kv.version, 1 + tasks_count * increments);
}

pub async fn reads_never_go_back(store: Arc<dyn Store>) {
    put(&*store, "/a", "0").await;
    put(&*store, "/b", "0").await;
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut last = Revision(0);
            for _ in 0..100 {
                let answer = store.range(RangeRequest::prefix("/")).await.unwrap();
                assert!(answer.revision >= last);
                assert_eq!(answer.kvs[0].value, answer.kvs[1].value, "half a transaction");
                assert!(answer.kvs.iter().all(|kv| kv.mod_revision <= answer.revision));
                last = answer.revision;
            }
        });
    }
    for number in 1..60 {
        let text = number.to_string();
        let txn = Txn::default()
            .then(Op::put("/a", value(&text), None))
            .then(Op::put("/b", value(&text), None));
        let written = store.txn(txn).await.unwrap().revision;
        let read = store.range(RangeRequest::key("/a")).await.unwrap();
        assert!(read.revision >= written, "a write that has answered is not seen");
        assert_eq!(describe(&read.kvs[0]), format!("/a={text}"));
    }
    tasks.join_all().await;
}
