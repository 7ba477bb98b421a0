//! Giving the tree what it lacks.
use super::{Before, Found, Row, Scan, TableId};
use crate::embedded::fault::Fault;
use crate::embedded::format::{KEYS, LEASE_KEYS, LEASES, LOG, META};
use redb::{Table, WriteTransaction};

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
            tree.write(row)?;
        }
        batches += u64::from(!record.is_mark());
    }
    Ok(batches)
}

/// Takes a batch back that the journal did not get.
pub(in crate::embedded) fn take_back(before: &Before, txn: &WriteTransaction) -> Result<(), Fault> {
    let mut tree = Tree::open(txn)?;
    before.rows().into_iter().try_for_each(|row| tree.write(row))
}

fn unreadable() -> Fault {
    Fault::Rotten("its journal is rotten".to_owned())
}

struct Tree<'t> {
    meta: Table<'t, &'static str, &'static [u8]>,
    keys: Table<'t, &'static [u8], &'static [u8]>,
    log: Table<'t, &'static [u8], &'static [u8]>,
    leases: Table<'t, i64, u64>,
    lease_keys: Table<'t, &'static [u8], ()>,
}

impl<'t> Tree<'t> {
    fn open(txn: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            meta: txn.open_table(META)?,
            keys: txn.open_table(KEYS)?,
            log: txn.open_table(LOG)?,
            leases: txn.open_table(LEASES)?,
            lease_keys: txn.open_table(LEASE_KEYS)?,
        })
    }

    fn write(&mut self, row: Row<'_>) -> Result<(), Fault> {
        let Row { table, key, value } = row;
        match (table, value) {
            (TableId::Meta, Some(value)) => {
                self.meta.insert(name(key)?, value)?;
            }
            (TableId::Meta, None) => {
                self.meta.remove(name(key)?)?;
            }
            (TableId::Keys, Some(value)) => {
                self.keys.insert(key, value)?;
            }
            (TableId::Keys, None) => {
                self.keys.remove(key)?;
            }
            (TableId::Log, Some(value)) => {
                self.log.insert(key, value)?;
            }
            (TableId::Log, None) => {
                self.log.remove(key)?;
            }
            (TableId::Leases, Some(value)) => {
                self.leases.insert(number(key)?, number(value)? as u64)?;
            }
            (TableId::Leases, None) => {
                self.leases.remove(number(key)?)?;
            }
            (TableId::LeaseKeys, Some(_)) => {
                self.lease_keys.insert(key, ())?;
            }
            (TableId::LeaseKeys, None) => {
                self.lease_keys.remove(key)?;
            }
        }
        Ok(())
    }
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
