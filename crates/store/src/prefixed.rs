//! A store that keeps everything below another root: several clusters share one etcd so.
use crate::{
    Event, Key, KeyValue, Layer, Op, RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse,
    WatchBatch, WatchRequest, WatchStream, changed, prefix_end,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// Keys that begin with `own` lie below `there` in the store. All other keys are as they are: what a store is asked of
/// its own, like the keys of another program, stays where that is looked for.
pub struct Prefixed {
    store: Arc<dyn Store>,
    roots: Arc<Roots>,
}

struct Roots {
    own: Bytes,
    there: Bytes,
}

impl Prefixed {
    /// `own` is how keys begin for whoever calls, `there` how they do in the store; both end with a slash.
    pub fn new(store: Arc<dyn Store>, own: &str, there: &str) -> Self {
        let roots = Roots {
            own: own.to_owned().into(),
            there: there.to_owned().into(),
        };
        Self {
            store,
            roots: Arc::new(roots),
        }
    }
}

impl Roots {
    fn moved(key: &Key, from: &[u8], to: &[u8]) -> Option<Key> {
        let rest = key.strip_prefix(from)?;
        Some([to, rest].concat().into())
    }

    /// The key as it is in the store.
    fn down(&self, key: &mut Key) {
        if let Some(there) = Self::moved(key, &self.own, &self.there) {
            *key = there;
        }
    }

    /// The end of a range, which may be the first key behind all of ours.
    fn end_down(&self, end: &mut Option<Key>) {
        let Some(end) = end else { return };
        if *end == prefix_end(&self.own) {
            *end = prefix_end(&self.there);
        } else {
            self.down(end);
        }
    }

    fn range_down(&self, request: &mut RangeRequest) {
        self.down(&mut request.start);
        self.end_down(&mut request.end);
    }

    fn txn_down(&self, txn: &mut Txn) {
        for compare in &mut txn.compare {
            self.down(&mut compare.key);
            self.end_down(&mut compare.end);
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match op {
                Op::Put { key, .. } => self.down(key),
                Op::Delete { start, end } => {
                    self.down(start);
                    self.end_down(end);
                }
                Op::Range(request) => self.range_down(request),
                Op::Txn(inner) => self.txn_down(inner),
            }
        }
    }

    fn up(&self, kv: &mut KeyValue) {
        if let Some(own) = Self::moved(&kv.key, &self.there, &self.own) {
            kv.key = own;
        }
    }

    fn batch_up(&self, batch: &mut WatchBatch) {
        for Event { kv, previous, .. } in &mut batch.events {
            self.up(kv);
            previous.iter_mut().for_each(|kv| self.up(kv));
        }
    }
}

#[async_trait]
impl Layer for Prefixed {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    async fn range(&self, mut request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.roots.range_down(&mut request);
        let mut answer = self.store.range(request).await?;
        answer.kvs.iter_mut().for_each(|kv| self.roots.up(kv));
        Ok(answer)
    }

    async fn txn(&self, mut txn: Txn) -> Result<TxnResponse, StoreError> {
        self.roots.txn_down(&mut txn);
        let mut answer = self.store.txn(txn).await?;
        answer.kvs_mut().into_iter().for_each(|kv| self.roots.up(kv));
        Ok(answer)
    }

    async fn watch(&self, mut request: WatchRequest) -> Result<WatchStream, StoreError> {
        self.roots.down(&mut request.start);
        self.roots.end_down(&mut request.end);
        let watch = self.store.watch(request).await?;
        let roots = self.roots.clone();
        let up = move |mut batch| {
            roots.batch_up(&mut batch);
            std::future::ready(batch)
        };
        Ok(changed(watch, up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedStore;
    use crate::{Compare, OpResponse, Revision};

    fn keys(answer: &RangeResponse) -> Vec<&str> {
        answer.kvs.iter().filter_map(|kv| kv.key.as_str()).collect()
    }

    #[tokio::test]
    async fn what_one_keeps_below_a_root_another_does_not_see() {
        let whole: Arc<dyn Store> = EmbeddedStore::in_memory().unwrap();
        let at = |root| -> Arc<dyn Store> { Arc::new(Prefixed::new(whole.clone(), "/registry/", root)) };
        let (first, second) = (at("/first/"), at("/a/b/"));
        let mut watch = first
            .watch(WatchRequest::prefix("/registry/", Some(Revision(1))))
            .await
            .unwrap();
        let created = first.create("/registry/pods/a", "1".into(), None).await.unwrap();
        second.create("/registry/pods/a", "2".into(), None).await.unwrap();
        let created = created.expect("it was not there");

        let all = RangeRequest {
            end: Some(Key::UNBOUNDED),
            ..RangeRequest::key("\0")
        };
        let there = whole.range(all.clone()).await.unwrap();
        assert_eq!(keys(&there), ["/a/b/pods/a", "/first/pods/a"]);
        let own = first.range(RangeRequest::prefix("/registry/")).await.unwrap();
        assert_eq!(keys(&own), ["/registry/pods/a"]);
        assert_eq!(own.kvs[0].value, "1");

        let txn = Txn::when(Compare::mod_revision("/registry/pods/a", created))
            .then(Op::delete("/registry/pods/a"))
            .then(Op::Txn(
                Txn::default().then(Op::Range(RangeRequest::prefix("/registry/"))),
            ));
        let answer = first.txn(txn).await.unwrap();
        assert!(answer.succeeded);
        let OpResponse::Delete { previous } = &answer.responses[0] else {
            panic!("{answer:?}")
        };
        assert_eq!(previous[0].key, "/registry/pods/a");
        assert_eq!(keys(&whole.range(all).await.unwrap()), ["/a/b/pods/a"]);

        // Of the other's writes nothing but that time goes on.
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let batch = watch.recv().await.unwrap().unwrap();
            seen.extend(batch.events.into_iter().map(|event| (event.kind, event.kv.key)));
        }
        let key = Key::from("/registry/pods/a");
        assert_eq!(
            seen,
            [
                (crate::EventKind::Put, key.clone()),
                (crate::EventKind::Delete, key)
            ]
        );
    }

    #[tokio::test]
    async fn keys_of_others_stay_where_they_are() {
        let whole: Arc<dyn Store> = EmbeddedStore::in_memory().unwrap();
        let own: Arc<dyn Store> = Arc::new(Prefixed::new(whole.clone(), "/registry/", "/there/"));
        own.create("compact_rev_key", "1".into(), None).await.unwrap();
        let found = whole.range(RangeRequest::key("compact_rev_key")).await.unwrap();
        assert_eq!(keys(&found), ["compact_rev_key"]);
    }
}
