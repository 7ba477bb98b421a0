//! The tree behind its journal.
//!
//! A batch is durable, and answered, when the journal has it. The tree takes it in a transaction that
//! goes on over many batches, since a commit after each would sum up, and write, every page that they
//! touch again and again. Who wants to read commits it first. Should it get lost, the tree is opened anew
//! and learns it from the journal.
use super::commit::Uncommitted;
use super::{Db, Inner};
use crate::StoreError;
use crate::embedded::fault::Fault;
use crate::embedded::journal::{self, Rows};
use parking_lot::{Mutex, MutexGuard};
use redb::{Durability, WriteTransaction};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Batches that are committed at once after someone has read: where there is one read, there are more.
const BATCHES_AFTER_READ: u32 = 16;

/// What the tree does not show yet.
#[derive(Default)]
pub(super) struct Ahead {
    txn: Mutex<Option<WriteTransaction>>,
    /// What the journal has beyond what the tree shows; with no transaction, it has been lost.
    bytes: AtomicU64,
    /// How many of the next batches are to be committed at once.
    at_once: AtomicU32,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Ahead {
    fn is_lost(&self, txn: &MutexGuard<'_, Option<WriteTransaction>>) -> bool {
        txn.is_none() && self.bytes.load(Ordering::Acquire) > 0
    }
}

/// A batch that has failed.
#[derive(Debug)]
pub(in crate::embedded) struct Failed<T> {
    pub uncommitted: Uncommitted,
    /// The opening of the database it happened to.
    pub generation: u64,
    /// What the batch has come to if the commit reached the file nevertheless.
    pub attempted: Option<T>,
}

impl Inner {
    fn ahead(&self) -> Result<(Arc<Ahead>, u64), Fault> {
        match &self.open {
            _ if self.closed => Err(StoreError::Closed.into()),
            Some(open) => Ok((open.ahead.clone(), self.generation)),
            None => Err(redb::StorageError::PreviousIo.into()),
        }
    }
}

impl Db {
    /// Applies a batch and makes it durable; only the writer calls this. `apply` answers with the rows that it
    /// has changed, if any.
    pub(in crate::embedded) fn write<T>(
        &self,
        apply: impl FnOnce(&WriteTransaction) -> Result<(T, Option<Rows>), Fault>,
    ) -> Result<T, Failed<T>> {
        let nothing = |fault, generation| Failed {
            uncommitted: Uncommitted::Nothing(fault),
            generation,
            attempted: None,
        };
        let (ahead, generation) = self
            .ahead()
            .map_err(|(fault, generation)| nothing(fault, generation))?;
        let mut slot = ahead.txn.lock();
        let txn = match slot.take() {
            Some(txn) => txn,
            None => self
                .begin_write_of(&ahead, &slot, generation)
                .map_err(|fault| nothing(fault, generation))?,
        };
        let is_ahead = ahead.bytes.load(Ordering::Acquire) > 0;
        let (outcome, mut rows) = match apply(&txn) {
            Ok((outcome, Some(rows))) => (outcome, rows),
            Ok((outcome, None)) => {
                if is_ahead {
                    *slot = Some(txn);
                } else if let Err(error) = txn.abort() {
                    return Err(nothing(error.into(), generation));
                }
                return Ok(outcome);
            }
            Err(fault) => return Err(nothing(fault, generation)),
        };
        let before = rows.take_before();
        let bytes = rows.sectors_bytes();
        *slot = Some(txn);
        if let Err(uncommitted) = self.make_durable(&mut slot, generation, rows) {
            // Without those before it there is nothing to go on with.
            *slot = slot
                .take()
                .filter(|txn| is_ahead && journal::take_back(&before, txn).is_ok());
            return Err(Failed {
                uncommitted,
                generation,
                attempted: Some(outcome),
            });
        }
        if slot.is_some() {
            ahead.bytes.fetch_add(bytes, Ordering::AcqRel);
        } else {
            ahead.bytes.store(0, Ordering::Release);
        }
        Ok(outcome)
    }

    /// Lets readers see what was answered, if there have been any lately. At the latest they see it when the journal is
    /// full.
    pub(in crate::embedded) fn catch_up(&self) {
        let Ok((ahead, _)) = self.ahead() else { return };
        let at_once = ahead
            .at_once
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1))
            .is_ok();
        if at_once && let Err(error) = self.show(&ahead) {
            // The next read tries again, and says so.
            tracing::warn!(path = %self.path().display(), error = %self.error(error), "the store's tree is behind");
        }
    }

    /// Lets a reader see everything that was answered.
    pub(super) fn catch_up_to_read(&self) -> Result<(), StoreError> {
        let (ahead, generation) = match self.inner.read().ahead() {
            Ok(ahead) => ahead,
            // Who reads meets the same.
            Err(_) => return Ok(()),
        };
        if ahead.bytes.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        ahead.at_once.store(BATCHES_AFTER_READ, Ordering::Release);
        match self.show(&ahead) {
            Ok(()) => Ok(()),
            Err(_) => self.recover(generation),
        }
    }

    /// Whether a read would have to wait for a write that is under way, or for the file.
    pub(in crate::embedded) fn keeps_readers_waiting(&self) -> bool {
        let Some(inner) = self.inner.try_read() else {
            return true;
        };
        inner
            .ahead()
            .is_ok_and(|(ahead, _)| ahead.bytes.load(Ordering::Acquire) > 0 && ahead.txn.is_locked())
    }

    fn show(&self, ahead: &Ahead) -> Result<(), Fault> {
        let mut slot = ahead.txn.lock();
        let Some(mut txn) = slot.take() else {
            return match ahead.is_lost(&slot) {
                true => Err(redb::StorageError::PreviousIo.into()),
                false => Ok(()),
            };
        };
        txn.set_durability(Durability::None)?;
        txn.commit()?;
        ahead.bytes.store(0, Ordering::Release);
        Ok(())
    }

    /// Hands the transaction to who will commit it, with everything that was answered.
    pub(super) fn with_ahead(
        &self,
        commit: impl FnOnce(WriteTransaction, u64) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (ahead, generation) = self.ahead().map_err(|(fault, _)| fault)?;
        let mut slot = ahead.txn.lock();
        let txn = match slot.take() {
            Some(txn) => txn,
            None => self.begin_write_of(&ahead, &slot, generation)?,
        };
        commit(txn, generation)?;
        ahead.bytes.store(0, Ordering::Release);
        Ok(())
    }

    fn begin_write_of(
        &self,
        ahead: &Ahead,
        slot: &MutexGuard<'_, Option<WriteTransaction>>,
        generation: u64,
    ) -> Result<WriteTransaction, Fault> {
        if ahead.is_lost(slot) {
            return Err(redb::StorageError::PreviousIo.into());
        }
        let inner = self.inner.read();
        Ok(inner.current(generation)?.database.begin_write()?)
    }

    /// What a write goes on with, unless the store takes none. The number names this opening of the database.
    fn ahead(&self) -> Result<(Arc<Ahead>, u64), (Fault, u64)> {
        let inner = self.inner.read();
        let refused = self.check_sync().and_then(|()| self.check_rot());
        refused
            .map_err(Fault::from)
            .and_then(|()| inner.ahead())
            .map_err(|fault| (fault, inner.generation))
    }
}
