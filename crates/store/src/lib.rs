//! A versioned key-value store: the one place where cluster state becomes durable.
//!
//! The contract is that of etcd v3, in our words, and both implementations pass the same tests:
//!
//! - *Completed means durable.* A [`Store::txn`] that answered survives `kill -9` and power loss.
//! - *Reads are durable too.* No read or watch ever shows a write that could still be lost.
//! - *Strictly serializable.* Every write gets one [`Revision`]; revisions only grow, by one per
//!   successful writing transaction, and order all writes of the store.
//! - *Watches* are ordered, unique, reliable, atomic and resumable: from a revision on, every change
//!   is delivered exactly once, all changes of one revision together, or the watch ends with
//!   [`StoreError::Compacted`]; it never skips silently.
//!
//! Long-lived tasks (all of them in [`embedded`]):
//!
//! - *the writer*, one thread a store: takes commands from a bounded queue, commits what waits as one
//!   batch with one data sync, publishes the new revisions to the tail, then answers. It also ends
//!   leases and forgets old history, woken by the nearest deadline.
//! - *a watcher*, one task a watch: woken by changes that are for it, and moved on past others in its sleep; takes events
//!   from the tail, or from the database when it has fallen behind, and gives them to its bounded channel.
//!
//! Where they run, and what blocks, is a parameter, as disk and clock are: [`embedded::Spawner`]. Tools for the directory of a
//! store ([`embedded::Image`], [`embedded::repair`]) work on its files, by the machine's clock.
//!
//! What this crate deliberately does not know: Kubernetes objects, JSON, HTTP.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod embedded;
mod error;
pub mod etcd;
mod key;
mod layer;
pub mod migrate;
mod model;
mod prefixed;
pub mod snapshot;
mod validate;

pub use error::StoreError;
pub use key::{Key, prefix_end};
pub use layer::{Layer, changed};
pub use model::*;
pub use prefixed::Prefixed;

use async_trait::async_trait;
use tokio::sync::mpsc;

/// A live watch: batches of events, each batch holding whole revisions in order.
///
/// The channel ends with one `Err` when the store gives the watch up (for instance because it fell
/// behind compaction). Dropping the receiver cancels the watch.
pub type WatchStream = mpsc::Receiver<Result<WatchBatch, StoreError>>;

/// A versioned store. See the crate documentation for the guarantees.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads keys in `[start, end)` as of a revision, in key order.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError>;

    /// Compares, then applies one of two lists of operations atomically. Durable when it answers.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError>;

    /// Streams changes in `[start, end)`, beginning with revision `from`.
    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError>;

    /// Creates a lease of `ttl_seconds`; keys attached to it are deleted when it ends.
    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId, StoreError>;

    /// Restarts a lease's clock; answers its full time to live in seconds.
    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<u64, StoreError>;

    /// Ends a lease now and deletes its keys.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Forgets history below `revision`; reads and watches below it fail with `Compacted`.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// The last durable revision: every write that was answered before this call is in it.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// The last durable revision, the oldest one that can still be read, and how much is stored. It may count: who wants
    /// the revision alone asks for that.
    async fn status(&self) -> Result<StoreStatus, StoreError>;
}

impl dyn Store {
    /// Writes `key` only if it does not exist. `Ok(None)` when it does.
    pub async fn create(
        &self,
        key: impl Into<Key>,
        value: bytes::Bytes,
        lease: Option<LeaseId>,
    ) -> Result<Option<Revision>, StoreError> {
        let key = key.into();
        let txn = Txn::when(Compare::mod_revision(key.clone(), Revision(0)))
            .then(Op::put(key, value, lease))
            .without_previous();
        let answer = self.txn(txn).await?;
        Ok(answer.succeeded.then_some(answer.revision))
    }

    /// Replaces `key` only if it was last modified at `expected`. `Ok(None)` when it was not.
    pub async fn update(
        &self,
        key: impl Into<Key>,
        value: bytes::Bytes,
        expected: Revision,
        lease: Option<LeaseId>,
    ) -> Result<Option<Revision>, StoreError> {
        let key = key.into();
        let txn = Txn::when(Compare::mod_revision(key.clone(), expected))
            .then(Op::put(key, value, lease))
            .without_previous();
        let answer = self.txn(txn).await?;
        Ok(answer.succeeded.then_some(answer.revision))
    }

    /// Deletes `key` only if it was last modified at `expected`. `Ok(None)` when it was not.
    pub async fn delete(
        &self,
        key: impl Into<Key>,
        expected: Revision,
    ) -> Result<Option<Revision>, StoreError> {
        let key = key.into();
        let txn = Txn::when(Compare::mod_revision(key.clone(), expected))
            .then(Op::delete(key))
            .without_previous();
        let answer = self.txn(txn).await?;
        Ok(answer.succeeded.then_some(answer.revision))
    }

    /// Reads one key, now.
    pub async fn get(&self, key: impl Into<Key>) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.range(RangeRequest::key(key)).await?.kvs.into_iter().next())
    }
}
