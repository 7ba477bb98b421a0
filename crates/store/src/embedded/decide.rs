//! Which branches of a transaction, and of those within it, are applied: decided before the first write, so
//! that all compares look at the same moment.
use super::fault::Fault;
use super::format::Raw;
use super::read;
use crate::{Op, Txn};
use redb::ReadableTable;

/// A transaction of which the compares have been made.
#[derive(Debug)]
pub(super) struct Decided<'t> {
    pub succeeded: bool,
    /// What is to be applied, in order.
    pub ops: &'t [Op],
    /// Of the transactions among `ops`, in their order.
    pub nested: Vec<Decided<'t>>,
}

pub(super) fn decide<'t>(keys: &impl ReadableTable<Raw, Raw>, txn: &'t Txn) -> Result<Decided<'t>, Fault> {
    let succeeded = read::holds(keys, &txn.compare)?;
    let ops = if succeeded { &txn.success } else { &txn.failure };
    let mut nested = Vec::new();
    for op in ops {
        if let Op::Txn(txn) = op {
            nested.push(decide(keys, txn)?);
        }
    }
    Ok(Decided {
        succeeded,
        ops,
        nested,
    })
}
