//! The store's contract: what is read is answered from a snapshot, what changes something by the writer.
use super::commands::Command;
use super::decide::{Decided, decide};
use super::fault::Fault;
use super::format::{self, KEYS, LOG, Raw, State};
use super::read::{self, KeyVersion, RangeSummary, Tables};
use super::spawner::off_reactor;
use super::watch::{self, Seat, WatchProgress, Watcher};
use super::{EmbeddedStore, Shared};
use crate::{
    Key, LeaseId, LeaseInfo, Op, OpResponse, RangeRequest, RangeResponse, Revision, Store, StoreError,
    StoreStatus, Txn, TxnResponse, WatchRequest, WatchStream, validate,
};
use async_trait::async_trait;
use redb::{ReadTransaction, ReadableTable};
use std::sync::Arc;
use tokio::sync::{mpsc, watch as watch_channel};

/// Rows that are read on the thread that asks: some tenth parts of a millisecond.
const ROWS_HERE_MAX: usize = 1024;

impl EmbeddedStore {
    /// How a lease stands, and which keys go with it.
    pub async fn lease_info(&self, lease: LeaseId) -> Result<LeaseInfo, StoreError> {
        let (ttl_seconds, remaining_seconds) = self.ask(|reply| Command::TimeToLive { lease, reply }).await?;
        let shared = self.shared.clone();
        let keys = self
            .off_reactor(move || {
                shared.db.read(|snapshot| {
                    let rows = snapshot.open_table(format::LEASE_KEYS)?;
                    read::lease_keys(&rows, lease)
                })
            })
            .await?;
        Ok(LeaseInfo {
            ttl_seconds,
            remaining_seconds,
            keys,
        })
    }

    /// Like [`Store::range`], without a copy of anything: `take` is shown each key in its place, after
    /// `begin`, which is told the store's revision. Should the disk fail, both are gone through again.
    pub async fn range_with<T: Send + 'static>(
        &self,
        request: RangeRequest,
        begin: impl Fn(Revision) -> T + Send + 'static,
        take: impl Fn(&mut T, KeyVersion<'_>) + Send + 'static,
    ) -> Result<(T, RangeSummary), StoreError> {
        self.shared.check_read(&request.start, request.end.as_ref())?;
        let shared = self.shared.clone();
        self.here_or_off_reactor(move |rows_max| {
            shared.db.read(|snapshot| {
                let state = read::state(snapshot)?;
                let mut taken = begin(Revision(state.revision));
                let (keys, log) = (snapshot.open_table(KEYS)?, snapshot.open_table(LOG)?);
                let mut take = |version: KeyVersion<'_>| take(&mut taken, version);
                let tables = Tables {
                    keys: &keys,
                    log: &log,
                };
                let summary = read::walk_up_to(tables, &state, &request, rows_max, &mut take)?;
                Ok(summary.map(|summary| (taken, summary)))
            })
        })
        .await
    }

    /// Runs a read of which nobody knows how long it is: at once if that many rows are enough, which are a handful of
    /// pages, mostly cached, and not worth another thread; else from the beginning where it holds nobody up. There, too,
    /// it waits for a write: with its data sync the disk may take its time.
    async fn here_or_off_reactor<T: Send + 'static>(
        &self,
        read: impl Fn(usize) -> Result<Option<T>, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !self.shared.db.keeps_readers_waiting()
            && let Some(answer) = read(ROWS_HERE_MAX)?
        {
            return Ok(answer);
        }
        // Without a bound there is always an answer.
        self.off_reactor(move || read(usize::MAX))
            .await?
            .ok_or(StoreError::Closed)
    }

    pub(super) async fn off_reactor<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        off_reactor(&*self.shared.options.spawner, read).await
    }

    /// All leases, those that end first before the others. Of a damaged store, where none ends, in the order of their
    /// ids.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        if self.shared.damage.is_none() {
            return self.ask(|reply| Command::Leases { reply }).await;
        }
        let shared = self.shared.clone();
        self.off_reactor(move || {
            shared.db.read(|snapshot| {
                let mut leases = Vec::new();
                for row in snapshot.open_table(format::LEASES)?.iter()? {
                    leases.push(LeaseId(row?.0.value()));
                }
                Ok(leases)
            })
        })
        .await
    }

    /// Like [`Store::watch`], with the revision up to which everything has been put into the stream:
    /// it moves with every change of the store, wanted by this watch or not.
    pub async fn watch_with_progress(
        &self,
        request: WatchRequest,
    ) -> Result<(WatchStream, WatchProgress), StoreError> {
        self.shared.check_read(&request.start, request.end.as_ref())?;
        let (seat, now) = Seat::take(self.shared.clone(), &request)?;
        let next = match request.from {
            // Like etcd, 0 asks for now.
            None | Some(Revision(0)) => now + 1,
            Some(from) => {
                let compacted = self.shared.state().await?.compacted;
                if from.0 < compacted {
                    return Err(StoreError::Compacted {
                        requested: from,
                        oldest: Revision(compacted),
                    });
                }
                from.0
            }
        };
        let (sender, receiver) = mpsc::channel(watch::CHANNEL_BATCHES);
        let (delivered, progress) = watch_channel::channel(next - 1);
        let progress = seat.progress(progress);
        let watcher = Watcher {
            seat,
            request,
            next,
            sender,
            delivered,
        };
        self.shared.options.spawner.spawn(Box::pin(watcher.run()));
        Ok((receiver, progress))
    }
}

impl Shared {
    /// The counters that are durable now.
    async fn state(self: &Arc<Self>) -> Result<State, StoreError> {
        if !self.db.keeps_readers_waiting() {
            return self.db.state();
        }
        let shared = self.clone();
        off_reactor(&*self.options.spawner, move || shared.db.state()).await
    }

    /// Refuses a read of what a damaged store has lost.
    fn check_read(&self, start: &[u8], end: Option<&Key>) -> Result<(), StoreError> {
        match &self.damage {
            None => Ok(()),
            Some(damage) => damage.check_read(&self.db.path(), start, end),
        }
    }

    fn check_reads(&self, txn: &Txn) -> Result<(), StoreError> {
        for compare in txn.with_nested().into_iter().flat_map(|txn| &txn.compare) {
            self.check_read(&compare.key, compare.end.as_ref())?;
        }
        for op in txn.operations() {
            if let Op::Range(request) = op {
                self.check_read(&request.start, request.end.as_ref())?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.shared.check_read(&request.start, request.end.as_ref())?;
        let shared = self.shared.clone();
        self.here_or_off_reactor(move |rows_max| {
            shared.db.read(|snapshot| {
                let state = read::state(snapshot)?;
                let (keys, log) = (snapshot.open_table(KEYS)?, snapshot.open_table(LOG)?);
                let tables = Tables {
                    keys: &keys,
                    log: &log,
                };
                read::range_up_to(tables, &state, &request, rows_max)
            })
        })
        .await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        validate::txn(&txn, self.shared.options.value_limit_bytes)?;
        if validate::is_read_only(&txn) {
            self.shared.check_reads(&txn)?;
            let shared = self.shared.clone();
            return self
                .off_reactor(move || shared.db.read(|snapshot| read_txn(snapshot, &txn)))
                .await;
        }
        let txn = match &self.changes {
            Some(changes) => match changes.make_here(&*self.shared.options.spawner, txn) {
                Ok(answer) => return answer,
                Err(txn) => txn,
            },
            None => txn,
        };
        self.ask(|reply| Command::Txn { txn, reply }).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        Ok(self.watch_with_progress(request).await?.0)
    }

    async fn lease_grant(&self, ttl_seconds: u64) -> Result<LeaseId, StoreError> {
        self.lease_grant_as(None, ttl_seconds).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<u64, StoreError> {
        self.ask(|reply| Command::KeepAlive { lease, reply }).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Command::Revoke { lease, reply }).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.ask(|reply| Command::Compact { revision, reply }).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.durable_revision())
    }

    async fn status(&self) -> Result<StoreStatus, StoreError> {
        let state = self.shared.state().await?;
        Ok(StoreStatus {
            revision: Revision(state.revision),
            compacted: Some(Revision(state.compacted)),
            size: self.shared.db.size()?,
            in_use: state.record_bytes,
            keys: state.keys,
        })
    }
}

/// A transaction that cannot write, on a snapshot.
fn read_txn(snapshot: &ReadTransaction, txn: &Txn) -> Result<TxnResponse, Fault> {
    let state = read::state(snapshot)?;
    let (keys, log) = (snapshot.open_table(KEYS)?, snapshot.open_table(LOG)?);
    let tables = Tables {
        keys: &keys,
        log: &log,
    };
    read_decided(tables, &state, decide(&keys, txn)?)
}

fn read_decided(
    tables: Tables<'_, impl ReadableTable<Raw, Raw>, impl ReadableTable<Raw, Raw>>,
    state: &State,
    txn: Decided<'_>,
) -> Result<TxnResponse, Fault> {
    let mut nested = txn.nested.into_iter();
    let mut responses = Vec::with_capacity(txn.ops.len());
    for op in txn.ops {
        match op {
            Op::Range(request) => responses.push(OpResponse::Range(read::range(tables, state, request)?)),
            Op::Txn(_) => {
                if let Some(inner) = nested.next() {
                    responses.push(OpResponse::Txn(read_decided(tables, state, inner)?));
                }
            }
            // Not in a transaction that only reads.
            Op::Put { .. } | Op::Delete { .. } => {}
        }
    }
    Ok(TxnResponse {
        succeeded: txn.succeeded,
        revision: Revision(state.revision),
        responses,
    })
}
