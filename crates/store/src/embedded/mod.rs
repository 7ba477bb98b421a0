//! The store in the process: one tree with a journal in front, one writer, any number of readers and
//! watchers.
//!
//! The engine is redb: a copy-on-write B-tree with checksums in one file, in Rust, that does nothing at
//! all when idle. This module adds revisions, history, watches, leases, group commit, and a journal that
//! makes a commit durable with one write and one data sync. The way of a write: [`EmbeddedStore`] →
//! `answers` → queue (a lone write: at once) → `writer` → `batch` → `database` (→ `journal`) → `tail` → `watch`.
mod answers;
mod batch;
mod clock;
mod commands;
mod commit;
mod crc;
mod damage;
mod database;
mod decide;
mod directory;
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
mod spawner;
mod stats;
mod stopwatch;
mod tail;
mod tree;
mod versions;
mod watch;
mod writer;

pub use clock::{Clock, ManualClock, SystemClock};
pub use damage::{Damage, LostKeys, Repaired, Verified, repair};
pub use disk::{Disk, FileDisk, MemoryDisk, Part, Side, StorageBackend};
pub use image::Image;
pub use options::Options;
pub use read::{KeyVersion, RangeSummary};
pub use snapshot::{HistorySum, Restored};
pub use spawner::{Spawner, TokioSpawner, Writing};
pub use stats::{PrefixStats, Stats};
pub use stopwatch::{Histogram, SyncTimes};
pub use watch::WatchProgress;

use crate::{LeaseId, Revision, StoreError};
use commands::{Command, Reply};
use database::Db;
use directory::make_private;
use lock::LockFile;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use tail::Tail;
use tokio::sync::{Semaphore, mpsc, oneshot};
use writer::{Changes, Writer};

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
    /// Places for snapshots that are being made.
    snapshots: Arc<Semaphore>,
    /// What the store lacks; it then takes no writes.
    damage: Option<Damage>,
}

impl Shared {
    /// Ends everything and lets another process in.
    fn shut(&self) {
        self.tail.close();
        if let Err(error) = self.db.close() {
            tracing::warn!(
                path = %self.db.path().display(), %error,
                "the store could not be closed properly; it will be verified when it is opened next"
            );
        }
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
    /// None: it takes no writes.
    changes: Option<Arc<Changes>>,
    writer: Mutex<Option<Writing>>,
}

impl EmbeddedStore {
    /// Opens the store in `directory`, which is made if it is not there.
    pub fn open(directory: &Path, options: Options) -> Result<Arc<Self>, StoreError> {
        let io_error = |source| fault::from_io(source, directory);
        make_private(directory).map_err(io_error)?;
        let lock = LockFile::take(directory)?;
        let mut disk = FileDisk::new(directory.join(DATABASE_FILE));
        if !options.syncs {
            disk = disk.without_sync();
        }
        Self::start(
            Arc::new(disk),
            Arc::new(SystemClock::default()),
            options,
            Some(lock),
        )
    }

    /// Opens the store on any disk and clock, with its work where the options say. The caller sees to it that it is opened only once.
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
                // Nothing is ever synced, but a commit of the tree costs as much as many writes.
                journal_bytes: 256 << 10,
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
        let (db, damage) = damage::open(disk, clock.clone(), &options)?;
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
            snapshots: Arc::new(Semaphore::new(snapshot::SNAPSHOTS_MAX)),
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
                changes: None,
                writer: Mutex::new(None),
            }));
        }
        let changes = Changes::new(shared.clone())?;
        let writer = Writer::new(shared.clone(), queue, changes.clone());
        let spawn_error = |source| StoreError::Io {
            path: shared.db.path(),
            source,
        };
        let spawner = shared.options.spawner.clone();
        let writing = spawner
            .spawn_writer(Box::pin(writer.run()))
            .map_err(spawn_error)?;
        Ok(Arc::new(Self {
            shared,
            commands: Some(commands),
            changes: Some(changes),
            writer: Mutex::new(Some(writing)),
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

    /// The last revision that is durable.
    pub fn durable_revision(&self) -> Revision {
        Revision(self.shared.tail.durable())
    }

    /// How long the disk has taken to make things durable, since the store was opened.
    pub fn sync_times(&self) -> SyncTimes {
        self.shared.db.sync_times()
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
        if let Some(writing) = self.writer.lock().take()
            && !writing.wait()
        {
            tracing::error!("the store's writer panicked");
            self.shared.shut();
        }
    }
}
