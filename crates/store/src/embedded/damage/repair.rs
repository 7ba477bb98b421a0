//! `orlop store repair`: what can be saved of a damaged store, in a new file.
use super::Damage;
use super::health::{Health, examine};
use super::salvage::salvage;
use crate::StoreError;
use crate::embedded::database::Db;
use crate::embedded::disk::{Disk, FileDisk, MemoryDisk, Part, Side};
use crate::embedded::lock::LockFile;
use crate::embedded::{DATABASE_FILE, Options, SystemClock, fault};
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
    let (clock, options) = (Arc::new(SystemClock::default()), Options::default());
    let files = FileDisk::new(path.clone());
    let disk = copy(&files).map_err(io_error)?;
    let health = disk
        .open(Part::Database)
        .and_then(|file| examine(&*file, &*options.spawner))
        .map_err(io_error)?;
    let found = match health {
        Health::Damaged(found) => found,
        Health::Empty => Vec::new(),
        Health::Sound | Health::Unclean => {
            // The engine changes what it opens.
            match Db::open(Arc::new(disk.fork()), clock.clone(), &options) {
                Ok(db) => {
                    let sound = db.read(super::records).is_ok_and(|verified| verified.is_sound());
                    let _ = db.close();
                    if sound {
                        return Ok(Repaired::Nothing);
                    }
                    Vec::new()
                }
                Err(error) => vec![error.to_string()],
            }
        }
    };
    let salvage = salvage(&disk, found)?;
    let damage = salvage.damage.clone();
    if damage.found.is_empty() && damage.lost.is_empty() {
        return Ok(Repaired::Nothing);
    }
    if !damage.lost.is_empty() && !drop_damaged {
        return Ok(Repaired::Refused(damage));
    }
    let fresh = FileDisk::new(directory.join(format!("{DATABASE_FILE}.repaired")));
    let remove = |path: &Path| match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error(error)),
        _ => Ok(()),
    };
    for part in Part::ALL {
        remove(&fresh.file(part))?;
    }
    let fresh_path = fresh.file(Part::Database);
    let fresh_journal = [Side::Even, Side::Odd].map(|side| fresh.file(Part::Journal(side)));
    let db = Db::open(Arc::new(fresh), clock, &options)?;
    salvage.write(&db).map_err(|fault| db.error(fault))?;
    db.close()?;
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    // A second name first, so that there is a store under its own name at any moment.
    for part in Part::ALL {
        let file = files.file(part);
        if file.exists() {
            std::fs::hard_link(&file, kept_name(&file, seconds)).map_err(io_error)?;
        }
    }
    std::fs::rename(&fresh_path, &path).map_err(io_error)?;
    // The old journal is none of the new store's, whose own is empty and is made when it is opened.
    for path in fresh_journal {
        remove(&path)?;
    }
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error)?;
    Ok(Repaired::Done {
        damage,
        keys: salvage.keys(),
        kept: kept_name(&path, seconds),
    })
}

fn kept_name(file: &Path, seconds: u64) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".damaged-{seconds}"));
    name.into()
}

/// All files of a store, in memory.
fn copy(files: &FileDisk) -> std::io::Result<MemoryDisk> {
    let mut parts = Part::ALL.map(|part| (part, Vec::new()));
    for (part, bytes) in &mut parts {
        match std::fs::read(files.file(*part)) {
            Ok(read) => *bytes = read,
            // The journal of an older format.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(MemoryDisk::new(
        files.path().to_owned(),
        parts.map(|(_, bytes)| bytes),
    ))
}
