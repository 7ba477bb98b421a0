//! The store in the process: one tree with a journal in front, one writer, any number of readers and
//! watchers.
//!
//! The engine is redb: a copy-on-write B-tree with checksums in one file, in Rust, that does nothing at
//! all when idle. This module adds revisions, history, watches, leases, group commit, and a journal that
//! makes a commit durable with one write and one data sync. The way of a write: [`EmbeddedStore`] →
//! queue → `writer` → `batch` → `database` (→ `journal`) → `tail` → `watch`.
mod batch;
mod clock;
mod commands;
mod commit;
mod crc;
mod damage;
mod database;
mod disk;
mod fault;
mod fence;
mod forget;
mod format;
mod history;
mod image;
mod journal;
mod leases;
mod lock;
mod options;
mod read;
mod snapshot;
mod stats;
mod tail;
mod watch;
mod writer;

pub use clock::{Clock, ManualClock, SystemClock};
pub use damage::{Damage, LostKeys, Repaired, Verified, repair};
pub use disk::{Disk, FileDisk, MemoryDisk, Part, Side, StorageBackend};
pub use image::Image;
pub use options::Options;
pub use read::{KeyVersion, RangeSummary};
pub use snapshot::Restored;
pub use stats::{PrefixStats, Stats};

use crate::{
    Key, LeaseId, LeaseInfo, OpResponse, RangeRequest, RangeResponse, Revision, Store, StoreError,
    StoreStatus, Txn, TxnResponse, WatchRequest, WatchStream, validate,
};
use async_trait::async_trait;
use commands::{Command, Reply};
use database::Db;
use fault::Fault;
use format::KEYS;
use lock::LockFile;
use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableTable};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use tail::Tail;
use tokio::sync::{mpsc, oneshot, watch as watch_channel};
use watch::Watcher;
use writer::Writer;

/// The database, in the store's directory.
const DATABASE_FILE: &str = "orlop.redb";

/// What handles, writer and watchers share.
#[derive(Debug)]
struct Shared {
    db: Db,
    tail: Tail,
    clock: Arc<dyn Clock>,
    options: Options,
    lock: Mutex<Option<LockFile>>,
    /// What the store lacks; it then takes no writes.
    damage: Option<Damage>,
}

impl Shared {
    /// Refuses a read of what a damaged store has lost.
    fn check_read(&self, start: &[u8], end: Option<&Key>) -> Result<(), StoreError> {
        match &self.damage {
            None => Ok(()),
            Some(damage) => damage.check_read(&self.db.path(), start, end),
        }
    }

    fn check_reads(&self, txn: &Txn) -> Result<(), StoreError> {
        for compare in &txn.compare {
            self.check_read(&compare.key, compare.end.as_ref())?;
        }
        for op in txn.success.iter().chain(&txn.failure) {
            if let crate::Op::Range(request) = op {
                self.check_read(&request.start, request.end.as_ref())?;
            }
        }
        Ok(())
    }

    /// Ends everything and lets another process in.
    fn shut(&self) {
        self.tail.close();
        self.db.close();
        self.lock.lock().take();
    }
}

/// A store in a file of this process. See the crate documentation for what it guarantees.
///
/// Dropping it closes it, and waits for the writes under way.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    commands: Option<mpsc::Sender<Command>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedStore {
    /// Opens the store in `directory`, which is made if it is not there.
    pub fn open(directory: &Path, options: Options) -> Result<Arc<Self>, StoreError> {
        let io_error = |source| fault::from_io(source, directory);
        make_private(directory).map_err(io_error)?;
        let lock = LockFile::take(directory)?;
        let disk = Arc::new(FileDisk::new(directory.join(DATABASE_FILE)));
        Self::start(disk, Arc::new(SystemClock::default()), options, Some(lock))
    }

    /// Opens the store on any disk and clock. The caller sees to it that it is opened only once.
    pub fn with_disk(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Arc<Self>, StoreError> {
        Self::start(disk, clock, options, None)
    }

    /// A store that forgets everything with the process.
    pub fn in_memory() -> Result<Arc<Self>, StoreError> {
        Self::with_disk(
            Arc::new(MemoryDisk::default()),
            Arc::new(SystemClock::default()),
            Options {
                // Nothing is ever synced.
                journal_bytes: 0,
                ..Options::default()
            },
        )
    }

    fn start(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
        lock: Option<LockFile>,
    ) -> Result<Arc<Self>, StoreError> {
        let (db, damage) = damage::open(disk, &options)?;
        if let Some(damage) = &damage {
            tracing::error!(
                path = %db.path().display(), found = damage.found.join(", "),
                "the store is damaged; {}. The rest is served read-only: `orlop store verify` tells more, `orlop \
                 store restore` goes back to a backup, `orlop store repair` goes on with what is left",
                damage.losses()
            );
        }
        let state = db.state()?;
        let (commands, queue) = mpsc::channel(options.queue_len);
        let shared = Arc::new(Shared {
            tail: Tail::new(state.revision, options.tail_bytes),
            db,
            clock,
            options,
            lock: Mutex::new(lock),
            damage,
        });
        tracing::debug!(
            path = %shared.db.path().display(),
            revision = state.revision, keys = state.keys, "opened the store"
        );
        if shared.damage.is_some() {
            return Ok(Arc::new(Self {
                shared,
                commands: None,
                writer: Mutex::new(None),
            }));
        }
        let writer = Writer::new(shared.clone(), queue)?;
        let spawn_error = |source| StoreError::Io {
            path: shared.db.path(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(spawn_error)?;
        let thread = std::thread::Builder::new()
            .name("orlop-store".to_owned())
            .spawn(move || runtime.block_on(writer.run()))
            .map_err(spawn_error)?;
        Ok(Arc::new(Self {
            shared,
            commands: Some(commands),
            writer: Mutex::new(Some(thread)),
        }))
    }

    /// Finishes the writes under way, closes the file and lets another process open it.
    pub async fn close(&self) {
        if self.shared.damage.is_some() {
            self.shared.shut();
        }
        let (reply, closed) = oneshot::channel();
        if let Some(commands) = &self.commands
            && commands.send(Command::Close { reply }).await.is_ok()
        {
            // An error says that the writer has ended already.
            let _ = closed.await;
        }
    }

    /// Moves free space to the end of the file and cuts it off. Reads and writes wait meanwhile.
    pub async fn defragment(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Defragment { reply }).await
    }

    /// Like [`Store::lease_grant`], under an id of the caller's choice if there is one.
    pub async fn lease_grant_as(
        &self,
        chosen: Option<LeaseId>,
        ttl_seconds: u64,
    ) -> Result<LeaseId, StoreError> {
        if ttl_seconds == 0 {
            return Err(StoreError::Invalid(
                "a lease needs a time to live of a second at least".to_owned(),
            ));
        }
        self.ask(|reply| Command::Grant {
            ttl_seconds,
            chosen,
            reply,
        })
        .await
    }

    /// How a lease stands, and which keys go with it.
    pub async fn lease_info(&self, lease: LeaseId) -> Result<LeaseInfo, StoreError> {
        let (ttl_seconds, remaining_seconds) = self.ask(|reply| Command::TimeToLive { lease, reply }).await?;
        let shared = self.shared.clone();
        let keys = off_reactor(move || {
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

    /// The last revision that is durable.
    pub fn durable_revision(&self) -> Revision {
        Revision(self.shared.tail.durable().revision)
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
        let cheap = is_point(&request);
        let read = move || {
            shared.db.read(|snapshot| {
                let state = read::state(snapshot)?;
                let mut taken = begin(Revision(state.revision));
                let keys = snapshot.open_table(KEYS)?;
                let summary = read::walk(&keys, &state, &request, &mut |version| take(&mut taken, version))?;
                Ok((taken, summary))
            })
        };
        if cheap { read() } else { off_reactor(read).await }
    }

    /// All leases, in the order of their ids.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        let shared = self.shared.clone();
        off_reactor(move || {
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
    ) -> Result<(WatchStream, watch_channel::Receiver<u64>), StoreError> {
        self.shared.check_read(&request.start, request.end.as_ref())?;
        let durable = self.shared.tail.subscribe();
        let now = self.shared.tail.durable();
        if now.closed {
            return Err(StoreError::Closed);
        }
        let next = match request.from {
            // Like etcd, 0 asks for now.
            None | Some(Revision(0)) => now.revision + 1,
            Some(from) => {
                let compacted = self.shared.db.state()?.compacted;
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
        let watcher = Watcher {
            shared: self.shared.clone(),
            request,
            durable,
            next,
            sender,
            delivered,
        };
        tokio::spawn(watcher.run());
        Ok((receiver, progress))
    }

    /// What is damaged, of a store that therefore takes no writes.
    pub fn damage(&self) -> Option<&Damage> {
        self.shared.damage.as_ref()
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        if let Some(damage) = &self.shared.damage {
            return Err(damage.read_only(&self.shared.db.path()));
        }
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(StoreError::Closed)?;
        commands
            .send(command(reply))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.commands.take();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
            self.shared.shut();
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.shared.check_read(&request.start, request.end.as_ref())?;
        let shared = self.shared.clone();
        let cheap = is_point(&request);
        let read = move || shared.db.read(|snapshot| range(snapshot, &request));
        // A single key is a handful of pages, mostly cached: not worth another thread.
        if cheap { read() } else { off_reactor(read).await }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        validate::txn(&txn, self.shared.options.value_limit_bytes)?;
        if validate::is_read_only(&txn) {
            self.shared.check_reads(&txn)?;
            let shared = self.shared.clone();
            return off_reactor(move || shared.db.read(|snapshot| read_txn(snapshot, &txn))).await;
        }
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

    async fn status(&self) -> Result<StoreStatus, StoreError> {
        let state = self.shared.db.state()?;
        Ok(StoreStatus {
            revision: Revision(state.revision),
            compacted: Some(Revision(state.compacted)),
            size: self.shared.db.size()?,
            keys: state.keys,
        })
    }
}

/// Makes a directory that only its owner looks into.
fn make_private(directory: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

fn range(snapshot: &ReadTransaction, request: &RangeRequest) -> Result<RangeResponse, Fault> {
    let state = read::state(snapshot)?;
    read::range(&snapshot.open_table(KEYS)?, &state, request)
}

/// A transaction that cannot write, on a snapshot.
fn read_txn(snapshot: &ReadTransaction, txn: &Txn) -> Result<TxnResponse, Fault> {
    let state = read::state(snapshot)?;
    let keys = snapshot.open_table(KEYS)?;
    let succeeded = read::holds(&keys, &txn.compare)?;
    let ops = if succeeded { &txn.success } else { &txn.failure };
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        if let crate::Op::Range(request) = op {
            responses.push(OpResponse::Range(read::range(&keys, &state, request)?));
        }
    }
    Ok(TxnResponse {
        succeeded,
        revision: Revision(state.revision),
        responses,
    })
}

fn is_point(request: &RangeRequest) -> bool {
    request.end.is_none()
}

/// Runs what may read much, or wait for the disk, where it holds nobody up.
async fn off_reactor<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(answer) => answer,
        // The runtime is shutting down, or the read panicked, which its own thread has logged.
        Err(_) => Err(StoreError::Closed),
    }
}
