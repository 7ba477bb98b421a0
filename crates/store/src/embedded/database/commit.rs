//! Making a batch durable, in the journal or, with everything the journal has, in the tree.
use super::{Db, Open};
use crate::StoreError;
use crate::embedded::fault::{Fault, from_io};
use crate::embedded::format::{JOURNAL_ROW, META};
use crate::embedded::journal::{Journal, Rows, Unwritten};
use crate::embedded::stopwatch::Stopwatch;
use redb::WriteTransaction;
use std::io;

/// A batch that could not be committed.
#[derive(Debug)]
pub(in crate::embedded) enum Uncommitted {
    /// Nothing of it is there, nor ever will be.
    Nothing(Fault),
    /// It is not there now, but may be when the store is opened next.
    Unsure(StoreError),
    /// The tree's own commit has failed; if it reached the file nevertheless, the journal is in this
    /// epoch then.
    InTree { fault: Fault, epoch: u64 },
}

impl Open {
    /// A commit that is durable in the tree; with it the journal begins anew.
    fn commit_in_tree(
        &self,
        mut txn: WriteTransaction,
        journal: &mut Journal,
        has_batch: bool,
        commits: &Stopwatch,
    ) -> Result<(), Uncommitted> {
        // On the disk in full before it is made the latest: then it need not be gone through after a
        // power cut to find out whether it is torn.
        txn.set_quick_repair(true);
        let start = journal.next_start(has_batch);
        let noted = txn.open_table(META).map_err(Fault::from).and_then(|mut meta| {
            meta.insert(JOURNAL_ROW, start.encode().as_slice())?;
            Ok(())
        });
        noted.map_err(Uncommitted::Nothing)?;
        self.fence.set_durable(true);
        let committed = commits.time(|| txn.commit());
        self.fence.set_durable(false);
        match committed {
            Ok(()) => {
                journal.begin_epoch(start);
                Ok(())
            }
            Err(error) => Err(Uncommitted::InTree {
                fault: error.into(),
                epoch: start.epoch,
            }),
        }
    }
}

impl Db {
    /// Makes a batch durable, which is in the transaction with those before it. `rows`: everything it has changed.
    /// The transaction stays, unless the tree itself had to be made durable.
    pub(super) fn make_durable(
        &self,
        slot: &mut Option<WriteTransaction>,
        generation: u64,
        rows: Rows,
    ) -> Result<(), Uncommitted> {
        let inner = self.inner.read();
        let io_nothing = |error| Uncommitted::Nothing(from_io(error, &self.path()).into());
        let open = inner.current(generation).map_err(Uncommitted::Nothing)?;
        // The batch may have needed more of the file than the disk has.
        open.fence.settle().map_err(io_nothing)?;
        let mut journal = open.journal.lock();
        if !journal.reserve(&rows).map_err(io_nothing)?
            && let Some(txn) = slot.take()
        {
            return open.commit_in_tree(txn, &mut journal, true, &self.commits);
        }
        let unwritten = match journal.append(rows) {
            Ok(()) => return Ok(()),
            Err(unwritten) => unwritten,
        };
        self.check_sync()
            .map_err(|error| Uncommitted::Nothing(error.into()))?;
        Err(match unwritten {
            Unwritten::Void(error) => io_nothing(error),
            Unwritten::Unsure(error) => Uncommitted::Unsure(match from_io(error, &self.path()) {
                // That would say that nothing was written.
                StoreError::DiskFull { path } => StoreError::Io {
                    path,
                    source: io::ErrorKind::StorageFull.into(),
                },
                error => error,
            }),
        })
    }

    /// Lets the journal note that what it has was acknowledged. A kindness to who finds it rotten: failing is
    /// not an error.
    pub(in crate::embedded) fn mark_acknowledged(&self) {
        let inner = self.inner.read();
        if let Some(open) = &inner.open
            && let Err(error) = open.journal.lock().mark_acknowledged()
        {
            tracing::debug!(path = %self.path().display(), %error, "cannot mark the end of the journal");
        }
    }

    /// Makes the tree durable, so that the journal can begin anew.
    pub(in crate::embedded) fn checkpoint(&self) -> Result<(), Fault> {
        self.with_ahead(|txn, generation| {
            let inner = self.inner.read();
            let open = inner.current(generation)?;
            open.fence
                .settle()
                .map_err(|error| from_io(error, &self.path()))?;
            let mut journal = open.journal.lock();
            open.commit_in_tree(txn, &mut journal, false, &self.commits)
                .map_err(|error| match error {
                    Uncommitted::Nothing(fault) | Uncommitted::InTree { fault, .. } => fault,
                    Uncommitted::Unsure(error) => error.into(),
                })
        })
    }

    /// Whether the journal has become so long that it is time for a checkpoint.
    pub(in crate::embedded) fn is_checkpoint_due(&self) -> bool {
        let inner = self.inner.read();
        inner
            .open
            .as_ref()
            .is_some_and(|open| open.journal.lock().is_full())
    }

    /// The journal's epoch.
    pub(in crate::embedded) fn epoch(&self) -> Option<u64> {
        let inner = self.inner.read();
        inner.open.as_ref().map(|open| open.journal.lock().epoch())
    }
}
