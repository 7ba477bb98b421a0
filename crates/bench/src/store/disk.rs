//! The disk by itself: what a durable write costs at the least.
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// One page, as a store would write at the least.
const PAGE: [u8; 4096] = [7; 4096];

/// A file that is written and synced page by page.
pub struct Syncs {
    file: File,
    at: u64,
}

impl Syncs {
    pub fn new() -> Result<Self> {
        let file = tempfile::tempfile_in(".")?;
        // As a store does: blocks are there before they are written.
        file.write_all_at(&vec![0; 1 << 20], 0)?;
        file.sync_all()?;
        Ok(Self { file, at: 0 })
    }

    /// One page written over an old one, and the data sync.
    pub fn once(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.file.write_all_at(&PAGE, self.at)?;
        self.file.sync_data()?;
        self.at = (self.at + PAGE.len() as u64) % (1 << 20);
        Ok(start.elapsed())
    }
}
