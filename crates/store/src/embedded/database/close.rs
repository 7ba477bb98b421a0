//! Giving space back, and closing.
use super::Db;
use crate::StoreError;
use crate::embedded::fault::Fault;

impl Db {
    /// Moves everything to the front of the file and cuts it off behind. Reads wait meanwhile.
    pub(in crate::embedded) fn defragment(&self) -> Result<(), StoreError> {
        self.checkpoint().map_err(|fault| self.error(fault))?;
        let mut inner = self.inner.write();
        let generation = inner.generation;
        let result = match &mut inner.open {
            Some(open) => {
                open.fence.set_durable(true);
                let compacted = open.database.compact().map_err(Fault::from);
                open.fence.set_durable(false);
                compacted
            }
            None => return Err(StoreError::Closed),
        };
        drop(inner);
        match result {
            Ok(_) => Ok(()),
            Err(fault) => {
                if fault.is_io() {
                    self.recover(generation)?;
                }
                Err(self.error(fault))
            }
        }
    }

    /// Closes the database; everything after fails with [`StoreError::Closed`].
    ///
    /// # Errors
    /// It is closed, but left as a process leaves it that was killed: what was acknowledged is there, what was written
    /// by [`Db::begin_durable_write`] and committed, too.
    pub(in crate::embedded) fn close(&self) -> Result<(), StoreError> {
        let settled = self.settle();
        let mut inner = self.inner.write();
        inner.closed = true;
        let Some(open) = inner.open.take() else {
            return Ok(());
        };
        let closed = settled.and_then(|()| {
            open.fence.set_durable(true);
            open.database.close().map_err(Fault::from)
        });
        open.fence.shut();
        closed.map_err(|fault| self.error(fault))
    }

    /// Empties the journal, if there is anything in it.
    fn settle(&self) -> Result<(), Fault> {
        let is_empty = match &self.inner.read().open {
            Some(open) => open.journal.lock().is_empty(),
            None => true,
        };
        if is_empty { Ok(()) } else { self.checkpoint() }
    }
}
