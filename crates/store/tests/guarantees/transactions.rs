use crate::common::*;
use bytes::Bytes;
use orlop_store::*;
use std::sync::Arc;

pub async fn every_writing_transaction_gets_the_next_revision(store: Arc<dyn Store>) {
    let start = store.status().await.unwrap().revision.0;
    assert!(start > 0, "0 means that a key does not exist");
    assert_eq!(put(&*store, "a", "1").await.0, start + 1);
    assert_eq!(
        put(&*store, "a", "1").await.0,
        start + 2,
        "even without a difference"
    );
    assert_eq!(remove(&*store, "a").await.0, start + 3);
    assert_eq!(remove(&*store, "a").await.0, start + 3, "nothing to delete");
    assert_eq!(store.status().await.unwrap().revision.0, start + 3);
}

pub async fn create_writes_only_what_is_not_there(store: Arc<dyn Store>) {
    let first = store.create("a", value("1"), None).await.unwrap().unwrap();
    assert_eq!(store.create("a", value("2"), None).await.unwrap(), None);
    let kv = store.get("a").await.unwrap().unwrap();
    assert_eq!((describe(&kv).as_str(), kv.mod_revision), ("a=1", first));
    store.delete("a", first).await.unwrap().unwrap();
    assert!(store.create("a", value("3"), None).await.unwrap() > Some(first));
}

pub async fn update_and_delete_need_the_expected_revision(store: Arc<dyn Store>) {
    let first = put(&*store, "a", "1").await;
    let second = store.update("a", value("2"), first, None).await.unwrap().unwrap();
    assert_eq!(store.update("a", value("3"), first, None).await.unwrap(), None);
    assert_eq!(store.delete("a", first).await.unwrap(), None);
    assert_eq!(store.update("b", value("3"), first, None).await.unwrap(), None);
    assert_eq!(list_at(&*store, "", None).await, ["a=2"]);
    store.delete("a", second).await.unwrap().unwrap();
    assert_eq!(store.get("a").await.unwrap(), None);
}

pub async fn a_transaction_is_all_or_nothing(store: Arc<dyn Store>) {
    put(&*store, "a", "1").await;
    let before = store.status().await.unwrap().revision;
    let txn = Txn::default()
        .then(Op::delete("a"))
        .then(Op::put("b", value("2"), Some(LeaseId(0x7777))));
    let error = store.txn(txn).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseNotFound(0x7777)), "{error}");
    assert_eq!(list_at(&*store, "", None).await, ["a=1"]);
    let txn = Txn::default()
        .then(Op::Delete {
            start: "a".into(),
            end: Some("b".into()),
        })
        .then(Op::put("b", value("2"), None))
        .then(Op::put("c", value("3"), None));
    let answer = store.txn(txn).await.unwrap();
    assert_eq!(answer.revision.0, before.0 + 1);
    let OpResponse::Delete { previous } = &answer.responses[0] else {
        panic!("{answer:?}");
    };
    assert_eq!(previous.iter().map(describe).collect::<Vec<_>>(), ["a=1"]);
    assert_eq!(list_at(&*store, "", None).await, ["b=2", "c=3"]);
}

pub async fn a_failed_compare_applies_the_other_branch(store: Arc<dyn Store>) {
    put(&*store, "a", "1").await;
    let txn = Txn::when(Compare::mod_revision("a", Revision(0)))
        .then(Op::put("a", value("2"), None))
        .otherwise(Op::Range(RangeRequest::key("a")));
    let answer = store.txn(txn).await.unwrap();
    assert!(!answer.succeeded);
    let OpResponse::Range(range) = &answer.responses[0] else {
        panic!("{answer:?}");
    };
    assert_eq!(describe(&range.kvs[0]), "a=1");
    assert_eq!(answer.revision, range.revision);
    let by_value = |text| Compare {
        key: "a".into(),
        end: None,
        target: CompareTarget::Value(value(text)),
        result: CompareResult::Equal,
    };
    for (text, holds) in [("1", true), ("2", false)] {
        let read = Txn::when(by_value(text)).then(Op::Range(RangeRequest::key("a")));
        assert_eq!(store.txn(read).await.unwrap().succeeded, holds);
    }
}

pub async fn a_range_in_a_transaction_sees_its_earlier_writes(store: Arc<dyn Store>) {
    let txn = Txn::default()
        .then(Op::put("a", value("1"), None))
        .then(Op::Range(RangeRequest::key("a")));
    let answer = store.txn(txn).await.unwrap();
    let OpResponse::Range(range) = &answer.responses[1] else {
        panic!("{answer:?}");
    };
    assert_eq!(range.kvs[0].mod_revision, answer.revision);
    assert_eq!(range.revision, answer.revision);
}

pub async fn writes_without_one_meaning_are_refused(store: Arc<dyn Store>) {
    let twice = Txn::default()
        .then(Op::put("a", value("1"), None))
        .then(Op::put("a", value("2"), None));
    let no_key = Txn::default().then(Op::put("", value("1"), None));
    let put_and_deleted = Txn::default()
        .then(Op::put("a", value("1"), None))
        .then(Op::delete("a"));
    for txn in [twice, put_and_deleted] {
        let error = store.txn(txn).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::DuplicateKey(key) if *key == "a"),
            "{error}"
        );
    }
    let error = store.txn(no_key).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    assert_eq!(store.status().await.unwrap().keys, 0);
}

pub async fn values_up_to_the_limit_are_kept_whole(store: Arc<dyn Store>) {
    let limit = 3 << 19;
    let largest: Bytes = (0..limit).map(|at| (at % 251) as u8).collect();
    for round in 0..3 {
        let txn = Txn::default().then(Op::put("a", largest.clone(), None));
        store.txn(txn).await.unwrap();
        let kv = store.get("a").await.unwrap().unwrap();
        assert_eq!((kv.version, kv.value == largest), (round + 1, true));
    }
    let larger = Bytes::from(vec![0; limit + 1]);
    let txn = Txn::default().then(Op::put("b", larger, None));
    let error = store.txn(txn).await.unwrap_err();
    assert!(
        matches!(error, StoreError::TooLarge { size, limit, .. } if size == limit + 1),
        "{error}"
    );
    let empty = Txn::default().then(Op::put("c", Bytes::new(), None));
    store.txn(empty).await.unwrap();
    assert_eq!(list_at(&*store, "c", None).await, ["c="]);
}

pub async fn a_compare_may_look_at_leases_and_at_ranges(store: Arc<dyn Store>) {
    let lease = store.lease_grant(600).await.unwrap();
    put_leased(&*store, "/a", "1", Some(lease)).await;
    put(&*store, "/b", "1").await;
    let held = |key: &str, end: Option<&str>, lease| Compare {
        key: key.into(),
        end: end.map(Key::from),
        target: CompareTarget::Lease(lease),
        result: CompareResult::Equal,
    };
    let none = LeaseId(0);
    let cases = [
        (held("/a", None, lease), true),
        (held("/b", None, lease), false),
        (held("/b", None, none), true),
        (held("/a", Some("/c"), lease), false),
        (held("/a", Some("/b"), lease), true),
        (held("/x", Some("/z"), none), true),
    ];
    for (compare, expected) in cases {
        let txn = Txn::when(compare.clone()).then(Op::Range(RangeRequest::key("/a")));
        assert_eq!(store.txn(txn).await.unwrap().succeeded, expected, "{compare:?}");
    }
}

pub async fn a_put_may_keep_what_is_there(store: Arc<dyn Store>) {
    let lease = store.lease_grant(600).await.unwrap();
    put_leased(&*store, "a", "1", Some(lease)).await;
    let keep = |text: &str, keep| Op::Put {
        key: "a".into(),
        value: value(text),
        lease: None,
        keep,
    };
    let only_value = Keep {
        value: true,
        lease: false,
    };
    let only_lease = Keep {
        value: false,
        lease: true,
    };
    store
        .txn(Txn::default().then(keep("2", only_lease)))
        .await
        .unwrap();
    let kv = store.get("a").await.unwrap().unwrap();
    assert_eq!(
        (describe(&kv).as_str(), kv.lease, kv.version),
        ("a=2", Some(lease), 2)
    );
    store
        .txn(Txn::default().then(keep("", only_value)))
        .await
        .unwrap();
    let kv = store.get("a").await.unwrap().unwrap();
    assert_eq!((describe(&kv).as_str(), kv.lease, kv.version), ("a=2", None, 3));
    remove(&*store, "a").await;
    let error = store
        .txn(Txn::default().then(keep("", only_value)))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::KeyNotFound(key) if *key == "a"),
        "{error}"
    );
}

fn mod_revision(key: &str, at: u64) -> Compare {
    Compare::mod_revision(key, Revision(at))
}

/// What the puts, deletes and ranges of an answer come to; what is within has brackets around it.
fn told(answer: &TxnResponse) -> Vec<String> {
    let one = |response: &OpResponse| match response {
        OpResponse::Put { previous } => format!("put over {:?}", previous.as_ref().map(describe)),
        OpResponse::Delete { previous } => {
            format!("deleted {:?}", previous.iter().map(describe).collect::<Vec<_>>())
        }
        OpResponse::Range(range) => {
            assert_eq!(range.revision, answer.revision);
            format!("read {:?}", range.kvs.iter().map(describe).collect::<Vec<_>>())
        }
        OpResponse::Txn(inner) => {
            assert_eq!(inner.revision, answer.revision);
            format!("{} [{}]", inner.succeeded, told(inner).join(", "))
        }
    };
    answer.responses.iter().map(one).collect()
}

pub async fn transactions_within_compare_what_was_before_and_change_one_revision(store: Arc<dyn Store>) {
    put(&*store, "a", "1").await;
    let before = put(&*store, "b", "1").await;
    // The put beside them makes no difference to what they compare.
    let innermost = Txn::when(mod_revision("c", 0))
        .then(Op::put("d", value("4"), None))
        .otherwise(Op::delete("a"));
    let inner = Txn::when(mod_revision("c", 0))
        .then(Op::Range(RangeRequest::prefix("")))
        .then(Op::Txn(innermost))
        .otherwise(Op::delete("b"));
    let other = Txn::when(mod_revision("a", 77))
        .then(Op::put("e", value("5"), None))
        .otherwise(Op::delete("b"));
    let outer = Txn::when(mod_revision("b", before.0))
        .then(Op::put("c", value("3"), None))
        .then(Op::Txn(inner))
        .then(Op::Txn(other))
        .then(Op::Range(RangeRequest::prefix("")));
    let answer = store.txn(outer).await.unwrap();
    assert_eq!((answer.succeeded, answer.revision.0), (true, before.0 + 1));
    assert_eq!(
        told(&answer),
        [
            "put over None",
            r#"true [read ["a=1", "b=1", "c=3"], true [put over None]]"#,
            r#"false [deleted ["b=1"]]"#,
            r#"read ["a=1", "c=3", "d=4"]"#,
        ]
    );
    assert_eq!(list_at(&*store, "", None).await, ["a=1", "c=3", "d=4"]);
    // One of them that only reads.
    let reading = Txn::when(mod_revision("x", 0)).then(Op::Range(RangeRequest::key("d")));
    let answer = store.txn(Txn::default().then(Op::Txn(reading))).await.unwrap();
    assert_eq!(told(&answer), [r#"true [read ["d=4"]]"#]);
    assert_eq!(answer.revision.0, before.0 + 1);
}

pub async fn a_transaction_within_is_refused_with_the_whole(store: Arc<dyn Store>) {
    put(&*store, "a", "1").await;
    let leased = Txn::default().then(Op::put("b", value("2"), Some(LeaseId(77))));
    let txn = Txn::default()
        .then(Op::put("a", value("2"), None))
        .then(Op::Txn(Txn::default().then(Op::Txn(leased))));
    let error = store.txn(txn).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseNotFound(77)), "{error}");
    let twice = Txn::default()
        .then(Op::Txn(Txn::default().otherwise(Op::put("a", value("2"), None))))
        .then(Op::put("a", value("3"), None));
    let error = store.txn(twice).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::DuplicateKey(key) if *key == "a"),
        "{error}"
    );
    assert_eq!(list_at(&*store, "", None).await, ["a=1"]);
}
