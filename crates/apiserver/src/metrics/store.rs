//! How long the store takes, under the name that dashboards know: the store counts as etcd, whichever it is.
use crate::resources::ROOT;
use async_trait::async_trait;
use orlop_store::{
    CompareResult, CompareTarget, Layer, Op, RangeRequest, RangeResponse, Revision, Store, StoreError, Txn,
    TxnResponse,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use std::time::Instant;

/// Upper ends of the classes of durations, in seconds; upstream's.
const DURATIONS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    operation: &'static str,
    r#type: String,
}

pub type StoreDurations = Family<Request, Histogram, fn() -> Histogram>;

pub fn durations() -> StoreDurations {
    Family::new_with_constructor(|| Histogram::new(DURATIONS.iter().copied()))
}

/// A store whose answers are timed.
pub struct Timed {
    store: Arc<dyn Store>,
    durations: StoreDurations,
}

impl Timed {
    pub fn new(store: Arc<dyn Store>, durations: StoreDurations) -> Self {
        Self { store, durations }
    }

    fn observe(&self, operation: &'static str, key: &[u8], began: Instant) {
        let request = Request {
            operation,
            r#type: kind_of(key).to_owned(),
        };
        self.durations
            .get_or_create(&request)
            .observe(began.elapsed().as_secs_f64());
    }
}

/// The resource that a key belongs to: `configmaps` of `/registry/configmaps/default/c`.
fn kind_of(key: &[u8]) -> &str {
    let rest = key.strip_prefix(ROOT.as_bytes()).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).unwrap_or_default()
}

/// What a transaction does to which key.
fn purpose(txn: &Txn) -> (&'static str, Vec<u8>) {
    let anew = txn.compare.first().is_some_and(|compare| {
        matches!(compare.result, CompareResult::Equal)
            && matches!(compare.target, CompareTarget::ModRevision(Revision(0)))
    });
    match txn.success.first() {
        Some(Op::Put { key, .. }) => (if anew { "create" } else { "update" }, key.as_ref().to_vec()),
        Some(Op::Delete { start, .. }) => ("delete", start.as_ref().to_vec()),
        _ => ("get", Vec::new()),
    }
}

#[async_trait]
impl Layer for Timed {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        let (began, key) = (Instant::now(), request.start.clone());
        let operation = if request.end.is_some() { "list" } else { "get" };
        let answer = self.store.range(request).await;
        self.observe(operation, key.as_ref(), began);
        answer
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        let (began, (operation, key)) = (Instant::now(), purpose(&txn));
        let answer = self.store.txn(txn).await;
        self.observe(operation, &key, began);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use orlop_store::Compare;

    #[test]
    fn transactions_are_named_by_what_they_do() {
        let put = |revision| {
            let compare = Compare::mod_revision("/registry/configmaps/default/c", Revision(revision));
            Txn::when(compare).then(Op::put("/registry/configmaps/default/c", Bytes::new(), None))
        };
        let named = |txn: &Txn| {
            let (operation, key) = purpose(txn);
            (operation, kind_of(&key).to_owned())
        };
        assert_eq!(named(&put(0)), ("create", "configmaps".to_owned()));
        assert_eq!(named(&put(7)), ("update", "configmaps".to_owned()));
        let delete = Txn::when(Compare::mod_revision("/registry/pods/a/b", Revision(7)))
            .then(Op::delete("/registry/pods/a/b"));
        assert_eq!(named(&delete), ("delete", "pods".to_owned()));
    }
}
