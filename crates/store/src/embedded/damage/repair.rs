//! `orlop store repair`: what can be saved of a damaged store, in a new file.
use super::Damage;
use super::health::{Health, examine};
use super::salvage::salvage;
use crate::StoreError;
use crate::embedded::database::Db;
use crate::embedded::disk::{Disk, FileDisk, MemoryDisk};
use crate::embedded::lock::LockFile;
use crate::embedded::{DATABASE_FILE, Options, fault};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a repair has come to.
#[derive(Debug)]
pub enum Repaired {
    /// The store is sound.
    Nothing,
    /// Keys would be lost, and the caller did not agree to that. Nothing was changed.
    Refused(Damage),
    Done {
        damage: Damage,
        keys: usize,
        /// Where the damaged file lies now.
        kept: PathBuf,
    },
}

/// Replaces a damaged store by what is left of it.
pub fn repair(directory: &Path, drop_damaged: bool) -> Result<Repaired, StoreError> {
    let path = directory.join(DATABASE_FILE);
    if !path.exists() {
        return Err(StoreError::NoStore {
            path: directory.to_owned(),
        });
    }
    let _lock = LockFile::take(directory)?;
    let io_error = |error| fault::from_io(error, &path);
    let bytes = std::fs::read(&path).map_err(io_error)?;
    let cache_bytes = Options::default().cache_bytes;
    let disk = MemoryDisk::new(path.clone(), bytes);
    let found = match examine(&*disk.open().map_err(io_error)?).map_err(io_error)? {
        Health::Damaged(found) => found,
        Health::Empty | Health::Sound => Vec::new(),
        Health::Unclean => {
            // The engine changes what it opens.
            let copy = Arc::new(disk.fork());
            match Db::open(copy, cache_bytes) {
                Ok(db) => {
                    db.close();
                    return Ok(Repaired::Nothing);
                }
                Err(error) => vec![error.to_string()],
            }
        }
    };
    let salvage = salvage(&*disk.open().map_err(io_error)?, &path, found)?;
    let damage = salvage.damage.clone();
    if damage.found.is_empty() && damage.lost.is_empty() {
        return Ok(Repaired::Nothing);
    }
    if !damage.lost.is_empty() && !drop_damaged {
        return Ok(Repaired::Refused(damage));
    }
    let fresh = directory.join(format!("{DATABASE_FILE}.repaired"));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_error(error)),
        _ => {}
    }
    let db = Db::open(Arc::new(FileDisk::new(fresh.clone())), cache_bytes)?;
    salvage.write(&db).map_err(|fault| db.error(fault))?;
    db.close();
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let kept = directory.join(format!("{DATABASE_FILE}.damaged-{seconds}"));
    // A second name first, so that there is a store under its own name at any moment.
    std::fs::hard_link(&path, &kept).map_err(io_error)?;
    std::fs::rename(&fresh, &path).map_err(io_error)?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error)?;
    Ok(Repaired::Done {
        damage,
        keys: salvage.keys(),
        kept,
    })
}
