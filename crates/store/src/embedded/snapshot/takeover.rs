//! A member of etcd becomes a store, in the same directory.
use super::super::disk::{FileDisk, Part, Side};
use super::super::{DATABASE_FILE, EmbeddedStore, Options};
use super::{Restored, import};
use crate::snapshot::{SnapshotError, member};
use std::path::Path;

/// Where the store is made.
const UNFINISHED: &str = ".taking-over";
/// What a member's things are called when a store has taken over.
const TAKEN_OVER: &str = "member.taken-over";

impl EmbeddedStore {
    /// If a directory is a member's of etcd and no store's yet, makes it a store's with all that the member had. What
    /// the member had stays, under another name: an etcd that is started there begins anew instead of going on with
    /// what has grown old. Blocks.
    ///
    /// # Errors
    /// The member was not stopped in order: some of what it has acknowledged is in its log alone.
    pub fn take_over(directory: &Path, options: &Options) -> Result<Option<Restored>, SnapshotError> {
        let Some(database) = member::database(directory) else {
            return Ok(None);
        };
        let disk = FileDisk::new(directory.join(DATABASE_FILE));
        if disk.file(Part::Database).exists() {
            return Ok(None);
        }
        member::check_settled(directory)?;
        let io_error = |source| SnapshotError::Io {
            path: directory.to_owned(),
            source,
        };
        let unfinished = directory.join(UNFINISHED);
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(io_error)?;
        }
        let restored = import::restore(&database, &unfinished, options)?;
        // Whoever finds the tree finds the journal, too.
        let new = FileDisk::new(unfinished.join(DATABASE_FILE));
        for part in [
            Part::Journal(Side::Even),
            Part::Journal(Side::Odd),
            Part::Database,
        ] {
            let made = new.file(part);
            if made.exists() {
                std::fs::rename(made, disk.file(part)).map_err(io_error)?;
            }
        }
        std::fs::remove_dir_all(&unfinished).map_err(io_error)?;
        std::fs::rename(directory.join(member::MEMBER), directory.join(TAKEN_OVER)).map_err(io_error)?;
        Ok(Some(restored))
    }
}
