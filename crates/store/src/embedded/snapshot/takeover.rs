//! A member of etcd becomes a store, in the same directory.
use super::super::disk::{FileDisk, Part, Side};
use super::super::{DATABASE_FILE, EmbeddedStore, Options};
use super::{Restored, import};
use crate::snapshot::{SnapshotError, member};
use std::path::{Path, PathBuf};

/// Where the store is made.
const UNFINISHED: &str = ".taking-over";
/// What a member's things are called when a store has taken over; where there are some already, with a number behind.
const TAKEN_OVER: &str = "member.taken-over";

impl EmbeddedStore {
    /// If a directory is a member's of etcd and no store's yet, makes it a store's with all that the member had. What
    /// the member had stays, under another name: an etcd that is started there begins anew instead of going on with
    /// what has grown old. Blocks.
    ///
    /// # Errors
    /// The member is running, or was not stopped in order: some of what it has acknowledged is in its log alone.
    pub fn take_over(directory: &Path, options: &Options) -> Result<Option<Restored>, SnapshotError> {
        let disk = FileDisk::new(directory.join(DATABASE_FILE));
        let unfinished = directory.join(UNFINISHED);
        let io_error = SnapshotError::io(directory);
        let is_in_place = disk.file(Part::Database).exists();
        if is_in_place && !unfinished.exists() {
            return Ok(None);
        }
        let Some(database) = member::database(directory) else {
            // The power went when the names were given and only this was left: whoever finds it later must not take
            // another member for this one.
            if is_in_place {
                std::fs::remove_dir_all(&unfinished).map_err(io_error)?;
            }
            return Ok(None);
        };
        // Until the member has its other name, none is to begin here.
        let _locked = member::lock(&database)?;
        if is_in_place {
            // The power went when everything but the names was done.
            give_names(directory, &unfinished)?;
            return Ok(None);
        }
        member::check_settled(directory)?;
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
        import::sync(directory)?;
        give_names(directory, &unfinished)?;
        Ok(Some(restored))
    }
}

/// What is left when the store is in its place: the member's things get their other name.
fn give_names(directory: &Path, unfinished: &Path) -> Result<(), SnapshotError> {
    let io_error = SnapshotError::io(directory);
    let kept = free_name(directory);
    std::fs::rename(directory.join(member::MEMBER), &kept).map_err(io_error)?;
    import::sync(directory)?;
    tracing::info!(kept = %kept.display(), "what an etcd had is kept");
    std::fs::remove_dir_all(unfinished).map_err(io_error)
}

/// Another etcd may have been taken over here before.
fn free_name(directory: &Path) -> PathBuf {
    let mut name = directory.join(TAKEN_OVER);
    let mut number = 1;
    while name.exists() {
        number += 1;
        name = directory.join(format!("{TAKEN_OVER}-{number}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_runs_is_let_be() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("member/snap/db");
        std::fs::create_dir_all(database.parent().unwrap()).unwrap();
        let running = std::fs::File::create(&database).unwrap();
        running.lock().unwrap();
        let refused = EmbeddedStore::take_over(directory.path(), &Options::default()).unwrap_err();
        assert!(matches!(refused, SnapshotError::MemberRuns { .. }), "{refused}");
        assert!(refused.to_string().contains("keep it stopped"), "{refused}");
        assert!(database.exists());
    }

    #[test]
    fn names_that_the_power_went_before_are_given_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir_all(path.join("member/snap")).unwrap();
        std::fs::write(path.join("member/snap/db"), "").unwrap();
        std::fs::create_dir(path.join(UNFINISHED)).unwrap();
        std::fs::write(FileDisk::new(path.join(DATABASE_FILE)).file(Part::Database), "").unwrap();
        let taken = EmbeddedStore::take_over(path, &Options::default()).unwrap();
        assert!(taken.is_none());
        assert!(path.join(TAKEN_OVER).exists());
        assert!(!path.join("member").exists() && !path.join(UNFINISHED).exists());
    }

    #[test]
    fn what_was_taken_over_before_stays_beside_what_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for round in ["first", "second"] {
            let member = path.join("member/snap");
            std::fs::create_dir_all(&member).unwrap();
            std::fs::write(member.join("db"), round).unwrap();
            std::fs::create_dir(path.join(UNFINISHED)).unwrap();
            std::fs::write(FileDisk::new(path.join(DATABASE_FILE)).file(Part::Database), "").unwrap();
            EmbeddedStore::take_over(path, &Options::default()).unwrap();
        }
        let kept = |name: &str| std::fs::read_to_string(path.join(name).join("snap/db")).unwrap();
        assert_eq!(
            (kept(TAKEN_OVER), kept("member.taken-over-2")),
            ("first".into(), "second".into())
        );
    }

    #[test]
    fn what_is_left_when_the_power_went_last_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join(UNFINISHED)).unwrap();
        std::fs::write(FileDisk::new(path.join(DATABASE_FILE)).file(Part::Database), "").unwrap();
        let taken = EmbeddedStore::take_over(path, &Options::default()).unwrap();
        assert!(taken.is_none());
        assert!(!path.join(UNFINISHED).exists());
    }
}
