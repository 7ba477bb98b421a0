//! Random operations against a model that keeps every state there ever was.
use crate::common::*;
use orlop_store::embedded::{EmbeddedStore, MemoryDisk, Options, SystemClock};
use orlop_store::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

type Keys = BTreeMap<String, KeyValue>;

/// Every state of the store, by revision.
struct Model {
    states: Vec<Keys>,
    compacted: u64,
}

#[derive(Debug)]
struct Expected {
    at: u64,
    key: String,
    after: Option<KeyValue>,
    before: Option<KeyValue>,
    before_may_be_gone: bool,
}

#[derive(Clone, Debug)]
enum Action {
    Put(String, String),
    Delete(String, Option<String>),
    CompareAndPut(String, u64, String),
    Several(Vec<(String, Option<String>)>),
    /// Forget this share of the history, in percent.
    Compact(u64),
}

fn key() -> impl Strategy<Value = String> {
    "[ab/]{1,3}"
}

fn action() -> impl Strategy<Value = Action> {
    let text = "[xyz]{0,6}";
    prop_oneof![
        6 => (key(), text).prop_map(|(key, text)| Action::Put(key, text)),
        3 => (key(), proptest::option::of(key())).prop_map(|(start, end)| Action::Delete(start, end)),
        3 => (key(), 0..60u64, text).prop_map(|(key, at, text)| Action::CompareAndPut(key, at, text)),
        2 => proptest::collection::btree_map(key(), proptest::option::of(text), 1..4)
            .prop_map(|ops| Action::Several(ops.into_iter().collect())),
        1 => (0..=100u64).prop_map(Action::Compact),
    ]
}

impl Model {
    fn now(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn keys(&self) -> &Keys {
        &self.states[self.states.len() - 1]
    }

    fn apply(&mut self, changes: &[(String, Option<String>)]) {
        let mut keys = self.keys().clone();
        let revision = Revision(self.now() + 1);
        let mut changed = false;
        for (key, text) in changes {
            let before = keys.remove(key);
            changed |= text.is_some() || before.is_some();
            if let Some(text) = text {
                let kv = KeyValue {
                    key: key.into(),
                    value: value(text),
                    create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
                    mod_revision: revision,
                    version: before.map_or(0, |kv| kv.version) + 1,
                    lease: None,
                };
                keys.insert(key.clone(), kv);
            }
        }
        if changed {
            self.states.push(keys);
        }
    }

    fn in_range(&self, start: &str, end: Option<&str>) -> Vec<(String, Option<String>)> {
        let inside = |key: &str| end.map_or(key == start, |end| start <= key && key < end);
        self.keys()
            .keys()
            .filter(|key| inside(key))
            .map(|key| (key.clone(), None))
            .collect()
    }

    /// What a watch from `from` on must deliver, by the difference of neighbouring states.
    fn events(&self, from: u64) -> Vec<Expected> {
        let mut events = Vec::new();
        for at in from.max(2)..=self.now() {
            let (before, after) = (&self.states[at as usize - 1], &self.states[at as usize]);
            let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let (before, after) = (before.get(key), after.get(key));
                if before.map(|kv| kv.mod_revision) != after.map(|kv| kv.mod_revision) {
                    events.push(Expected {
                        at,
                        key: key.clone(),
                        after: after.cloned(),
                        before: before.cloned(),
                        // What the compacted revision itself replaced is out of reach.
                        before_may_be_gone: at == self.compacted,
                    });
                }
            }
        }
        events
    }
}

async fn play(store: &dyn Store, actions: &[Action], tail_bytes: usize) {
    let mut model = Model {
        states: vec![Keys::new(), Keys::new()],
        compacted: 1,
    };
    let mut live = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    for action in actions {
        match action {
            Action::Put(key, text) => {
                put(store, key, text).await;
                model.apply(&[(key.clone(), Some(text.clone()))]);
            }
            Action::Delete(start, end) => {
                let op = Op::Delete {
                    start: start.into(),
                    end: end.as_ref().map(Key::from),
                };
                store.txn(Txn::default().then(op)).await.unwrap();
                model.apply(&model.in_range(start, end.as_deref()));
            }
            Action::CompareAndPut(key, at, text) => {
                let written = store.update(key, value(text), Revision(*at), None).await.unwrap();
                let found = model.keys().get(key).map_or(0, |kv| kv.mod_revision.0);
                assert_eq!(written.is_some(), found == *at);
                if found == *at {
                    model.apply(&[(key.clone(), Some(text.clone()))]);
                }
            }
            Action::Several(changes) => {
                let mut txn = Txn::default();
                for (key, text) in changes {
                    txn = txn.then(match text {
                        Some(text) => Op::put(key, value(text), None),
                        None => Op::delete(key),
                    });
                }
                store.txn(txn).await.unwrap();
                model.apply(changes);
            }
            Action::Compact(percent) => {
                let at = model.compacted + (model.now() - model.compacted) * percent / 100;
                store.compact(Revision(at)).await.unwrap();
                model.compacted = at;
            }
        }
        let status = store.status().await.unwrap();
        assert_eq!(status.revision.0, model.now());
        assert_eq!(status.keys as usize, model.keys().len());
    }
    for at in 1..=model.now() {
        let mut request = RangeRequest::prefix("");
        request.revision = Some(Revision(at));
        match store.range(request).await {
            Ok(found) => {
                let expected: Vec<_> = model.states[at as usize].values().cloned().collect();
                assert_eq!(found.kvs, expected, "at revision {at}");
                assert!(at >= model.compacted);
            }
            Err(StoreError::Compacted { .. }) => assert!(at < model.compacted, "at revision {at}"),
            Err(error) => panic!("{error}"),
        }
    }
    for from in model.compacted..=model.now() {
        let request = WatchRequest::prefix("", Some(Revision(from)));
        let mut replay = store.watch(request).await.unwrap();
        compare_events(&mut replay, &model.events(from)).await;
    }
    // This one may have read any event after it was compacted.
    let mut expected = model.events(2);
    for event in &mut expected {
        event.before_may_be_gone = true;
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        match next_batch(&mut live).await {
            Ok(batch) => seen.extend(batch.events),
            // Nobody read it while the store was compacted: without a tail it may have fallen behind.
            Err(StoreError::Compacted { oldest, .. }) if tail_bytes == 0 => {
                assert!(oldest.0 <= model.compacted);
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let told = seen.len();
    compare(seen, &expected[..told]);
}

async fn compare_events(stream: &mut WatchStream, expected: &[Expected]) {
    compare(events(stream, expected.len()).await, expected);
}

fn compare(mut seen: Vec<Event>, expected: &[Expected]) {
    // The order inside one revision is not promised.
    seen.sort_by(|a, b| (a.kv.mod_revision, &a.kv.key).cmp(&(b.kv.mod_revision, &b.kv.key)));
    for (event, expected) in seen.iter().zip(expected) {
        assert_eq!(
            (event.kv.mod_revision.0, &event.kv.key),
            (expected.at, &Key::from(&expected.key))
        );
        match &expected.after {
            Some(kv) => assert_eq!((event.kind, &event.kv), (EventKind::Put, kv)),
            None => assert_eq!(event.kind, EventKind::Delete),
        }
        if event.previous.is_some() || !expected.before_may_be_gone {
            assert_eq!(event.previous, expected.before, "{expected:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(
        actions in proptest::collection::vec(action(), 1..50),
        // Watchers live on the tail, or on the database.
        tail_bytes in prop_oneof![Just(0), Just(1 << 20)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = Options { tail_bytes, ..Options::default() };
            let disk = Arc::new(MemoryDisk::default());
            let clock = Arc::new(SystemClock::default());
            let store = EmbeddedStore::with_disk(disk, clock, options).unwrap();
            play(&*store, &actions, tail_bytes).await;
        });
    }
}
