//! Writing from front to back what was planned.
use crate::page::{LEAF, PAGE_BYTES};
use crate::plan::{Plan, pad, put_elements, put_header};
use std::io::{self, Write};

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("what is written is not what was planned")]
    NotAsPlanned,
}

/// Takes the entries of all buckets, in the order in which they were planned.
#[derive(Debug)]
pub struct Writer<W> {
    plan: Plan,
    out: W,
    /// The leaf in the making, and the page it begins at.
    leaf: usize,
    page: u64,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Plan {
    /// Begins to write the file.
    pub fn write<W: Write>(self, mut out: W) -> io::Result<Writer<W>> {
        out.write_all(&self.head)?;
        Ok(Writer {
            page: (self.head.len() / PAGE_BYTES) as u64,
            plan: self,
            out,
            leaf: 0,
            entries: Vec::new(),
        })
    }
}

impl<W: Write> Writer<W> {
    /// Writes the next entry.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        let leaf = self.plan.leaves.get(self.leaf).ok_or(WriteError::NotAsPlanned)?;
        if self.entries.is_empty() && leaf.first_key != key {
            return Err(WriteError::NotAsPlanned);
        }
        self.entries.push((key.to_vec(), value.to_vec()));
        if self.entries.len() < leaf.entries {
            return Ok(());
        }
        let entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_slice()))
            .collect();
        let mut bytes = Vec::with_capacity(leaf.bytes.next_multiple_of(PAGE_BYTES));
        put_header(&mut bytes, self.page, LEAF, entries.len(), leaf.pages());
        put_elements(&mut bytes, 0, &entries);
        if bytes.len() != leaf.bytes {
            return Err(WriteError::NotAsPlanned);
        }
        pad(&mut bytes);
        self.out.write_all(&bytes)?;
        self.page += leaf.pages();
        self.leaf += 1;
        self.entries.clear();
        Ok(())
    }

    /// Gives the output back, if everything that was planned has been written to it.
    pub fn finish(self) -> Result<W, WriteError> {
        if self.leaf < self.plan.leaves.len() {
            return Err(WriteError::NotAsPlanned);
        }
        Ok(self.out)
    }
}
