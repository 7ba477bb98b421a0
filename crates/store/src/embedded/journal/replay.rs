//! Giving the tree what it lacks.
use super::{Before, Found, Row, Scan, TableId};
use crate::embedded::fault::Fault;
use crate::embedded::tree::Tree;
use redb::WriteTransaction;

/// Writes all rows of a sound journal into the tree; answers of how many batches. Rows that are there
/// already are written once more.
pub(in crate::embedded) fn replay(scan: &Scan<'_>, txn: &WriteTransaction) -> Result<u64, Fault> {
    let mut tree = Tree::open(txn)?;
    let mut batches = 0;
    for found in &scan.found {
        let Found::Sound(record) = found else {
            return Err(unreadable());
        };
        let (rows, whole) = record.rows();
        if !whole {
            return Err(unreadable());
        }
        for row in rows {
            write(&mut tree, row)?;
        }
        batches += u64::from(!record.is_mark());
    }
    Ok(batches)
}

/// Takes a batch back that the journal did not get.
pub(in crate::embedded) fn take_back(before: &Before, txn: &WriteTransaction) -> Result<(), Fault> {
    let mut tree = Tree::open(txn)?;
    before
        .rows()
        .into_iter()
        .try_for_each(|row| write(&mut tree, row))
}

fn unreadable() -> Fault {
    Fault::Rotten("its journal is rotten".to_owned())
}

fn write(tree: &mut Tree<'_>, row: Row<'_>) -> Result<(), Fault> {
    let Row { table, key, value } = row;
    match (table, value) {
        (TableId::Meta, Some(value)) => {
            tree.meta.insert(name(key)?, value)?;
        }
        (TableId::Meta, None) => {
            tree.meta.remove(name(key)?)?;
        }
        (TableId::Keys, Some(value)) => {
            tree.keys.insert(key, value)?;
        }
        (TableId::Keys, None) => {
            tree.keys.remove(key)?;
        }
        (TableId::Log, Some(value)) => {
            tree.log.insert(key, value)?;
        }
        (TableId::Log, None) => {
            tree.log.remove(key)?;
        }
        (TableId::Leases, Some(value)) => {
            tree.leases.insert(number(key)?, number(value)? as u64)?;
        }
        (TableId::Leases, None) => {
            tree.leases.remove(number(key)?)?;
        }
        (TableId::LeaseKeys, Some(_)) => {
            tree.lease_keys.insert(key, ())?;
        }
        (TableId::LeaseKeys, None) => {
            tree.lease_keys.remove(key)?;
        }
    }
    Ok(())
}

fn name(key: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(key).map_err(|_| unreadable())
}

/// As `Row`s of leases have them, and the engine, too.
fn number(bytes: &[u8]) -> Result<i64, Fault> {
    match bytes.try_into() {
        Ok(bytes) => Ok(i64::from_le_bytes(bytes)),
        Err(_) => Err(unreadable()),
    }
}
