//! The tables of the tree, open for writing.
use super::fault::Fault;
use super::format::{KEYS, LEASE_KEYS, LEASES, LOG, META, Raw};
use redb::{Table, WriteTransaction};

/// All tables of one write transaction.
pub(super) struct Tree<'t> {
    pub meta: Table<'t, &'static str, Raw>,
    pub keys: Table<'t, Raw, Raw>,
    pub log: Table<'t, Raw, Raw>,
    pub leases: Table<'t, i64, u64>,
    pub lease_keys: Table<'t, Raw, ()>,
}

impl<'t> Tree<'t> {
    /// Makes those that are not there yet.
    pub(super) fn open(txn: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            meta: txn.open_table(META)?,
            keys: txn.open_table(KEYS)?,
            log: txn.open_table(LOG)?,
            leases: txn.open_table(LEASES)?,
            lease_keys: txn.open_table(LEASE_KEYS)?,
        })
    }
}
