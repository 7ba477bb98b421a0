//! Stores around a store.
use crate::{
    LeaseId, RangeRequest, RangeResponse, Revision, Store, StoreError, StoreStatus, Txn, TxnResponse,
    WatchBatch, WatchRequest, WatchStream,
};
use async_trait::async_trait;
use tokio::sync::mpsc;

/// Batches that wait between the watch of the store below and that of a layer.
const BATCHES_MAX: usize = 16;

/// A watch whose batches are what `change` makes of those of another. Ends with that one, and that one with it.
pub fn changed<F>(
    mut watch: WatchStream,
    mut change: impl FnMut(WatchBatch) -> F + Send + 'static,
) -> WatchStream
where
    F: Future<Output = WatchBatch> + Send,
{
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                next = watch.recv() => next,
                () = sender.closed() => return,
            };
            let Some(batch) = next else { return };
            let batch = match batch {
                Ok(batch) => Ok(change(batch).await),
                Err(error) => Err(error),
            };
            let is_over = batch.is_err();
            if sender.send(batch).await.is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

/// Does something of its own to reads, writes or watches, and passes everything on to the store below.
#[async_trait]
pub trait Layer: Send + Sync + 'static {
    fn below(&self) -> &dyn Store;

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.below().range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        self.below().txn(txn).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        self.below().watch(request).await
    }
}

#[async_trait]
impl<L: Layer> Store for L {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        Layer::range(self, request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        Layer::txn(self, txn).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        Layer::watch(self, request).await
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId, StoreError> {
        self.below().lease_grant(ttl_seconds).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<u64, StoreError> {
        self.below().lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.below().lease_revoke(lease).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.below().compact(revision).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.below().revision().await
    }

    async fn status(&self) -> Result<StoreStatus, StoreError> {
        self.below().status().await
    }
}
