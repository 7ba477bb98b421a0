//! From a batch of commands to one commit, and to the truth about a commit that failed.
use super::batch::{Batch, Committed};
use super::commands::Command;
use super::database::{Db, Failed, Uncommitted};
use super::fault::Fault;
use super::forget::STEP_ENTRIES;
use super::format::State;
use super::journal::Rows;
use crate::{LeaseId, Revision, StoreError, TxnResponse};

/// What one batch has to do besides the commands.
#[derive(Default)]
pub(super) struct Chores {
    pub ended: Vec<LeaseId>,
    pub compact: Option<u64>,
    pub forget: bool,
}

/// What a batch has come to, if its commit goes through.
pub(super) struct Outcome {
    pub answers: Vec<Answer>,
    pub change: Option<(State, Vec<Committed>)>,
    pub forgotten: bool,
}

/// The answer to the command at the same place of the batch.
pub(super) enum Answer {
    Txn(Result<TxnResponse, StoreError>),
    Grant(Result<LeaseId, StoreError>),
    Revoke(Result<(), StoreError>),
    Compact(Result<(), StoreError>),
    /// Answered after the commit, from memory.
    Later,
}

/// Applies and commits. After an I/O error it opens the database anew and finds out what has become
/// of the commit.
pub(super) fn run(db: &Db, commands: &[Command], chores: &Chores) -> Result<Outcome, StoreError> {
    let mut echoes = 0;
    loop {
        let Failed {
            uncommitted,
            generation,
            attempted,
        } = match try_once(db, commands, chores) {
            Ok(outcome) => return Ok(outcome),
            Err(failed) => *failed,
        };
        let (fault, epoch) = match uncommitted {
            Uncommitted::Nothing(fault) => (fault, None),
            Uncommitted::InTree { fault, epoch } => (fault, Some(epoch)),
            Uncommitted::Unsure(error) => return Err(error),
        };
        if !fault.is_io() {
            return Err(db.error(fault));
        }
        if let Err(error) = db.recover(generation) {
            return Err(match (error, epoch) {
                // "Nothing was written" is more than is known now.
                (StoreError::DiskFull { path }, Some(_)) => StoreError::Io {
                    path,
                    source: std::io::ErrorKind::StorageFull.into(),
                },
                (error, _) => error,
            });
        }
        if let Some(outcome) = attempted
            && epoch.is_some()
            && db.epoch() == epoch
        {
            // The commit has reached the file, but perhaps not the disk.
            db.checkpoint().map_err(|fault| db.error(fault))?;
            return Ok(outcome);
        }
        if !fault.is_echo() || echoes == 1 {
            return Err(db.error(fault));
        }
        // A reader met the error, not we: the same batch deserves a try of its own.
        echoes += 1;
    }
}

fn try_once(db: &Db, commands: &[Command], chores: &Chores) -> Result<Outcome, Box<Failed<Outcome>>> {
    let written = db.write(|txn| {
        let (outcome, rows) = apply(Batch::begin(txn)?, commands, chores)?;
        let rows = outcome.change.is_some().then_some(rows);
        Ok((outcome, rows))
    });
    written.map_err(Box::new)
}

/// Applies everything of one batch, in order.
fn apply(mut batch: Batch<'_>, commands: &[Command], chores: &Chores) -> Result<(Outcome, Rows), Fault> {
    for lease in &chores.ended {
        refused(batch.revoke(*lease))?.ok();
    }
    let mut answers = Vec::with_capacity(commands.len());
    for command in commands {
        answers.push(match command {
            Command::Txn { txn, .. } => Answer::Txn(refused(batch.txn(txn))?),
            Command::Grant {
                ttl_seconds, chosen, ..
            } => Answer::Grant(refused(batch.grant(*ttl_seconds, *chosen))?),
            Command::Revoke { lease, .. } => Answer::Revoke(refused(batch.revoke(*lease))?),
            Command::Compact { revision, .. } => Answer::Compact(refused(batch.compact(*revision))?),
            Command::KeepAlive { .. }
            | Command::TimeToLive { .. }
            | Command::Leases { .. }
            | Command::Defragment { .. }
            | Command::Close { .. } => Answer::Later,
        });
    }
    if let Some(revision) = chores.compact {
        // Someone may have compacted further by hand.
        refused(batch.compact(Revision(revision)))?.ok();
    }
    let forgotten = chores.forget && batch.forget(STEP_ENTRIES)?;
    let (change, rows) = batch.finish()?;
    let outcome = Outcome {
        answers,
        change,
        forgotten,
    };
    Ok((outcome, rows))
}

/// Splits what is wrong with one request from what is wrong with the store.
fn refused<T>(result: Result<T, Fault>) -> Result<Result<T, StoreError>, Fault> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Refused(error)) => Ok(Err(error)),
        Err(fault) => Err(fault),
    }
}
