//! Opening a database that may be damaged.
use super::Damage;
use super::health::{Health, examine};
use super::salvage::salvage;
use crate::StoreError;
use crate::embedded::clock::Clock;
use crate::embedded::database::Db;
use crate::embedded::disk::{Disk, MemoryDisk, Part};
use crate::embedded::{Options, fault};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Opens what is sound, and what can be saved of anything else: then in memory, leaving the file
/// alone, and with a word about what it lacks.
pub(in crate::embedded) fn open(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: &Options,
) -> Result<(Db, Option<Damage>), StoreError> {
    let path = disk.path().to_owned();
    let io_error = |error| fault::from_io(error, &path);
    let health = disk
        .open(Part::Database)
        .and_then(|file| examine(&*file, &*options.spawner))
        .map_err(io_error)?;
    let found = match health {
        Health::Damaged(found) => found,
        Health::Empty | Health::Unclean | Health::Sound => {
            match open_engine(disk.clone(), clock.clone(), options) {
                Ok(db) => return Ok((db, None)),
                Err(StoreError::Damaged { reason, .. }) => vec![reason],
                Err(error) => return Err(error),
            }
        }
    };
    let salvage = salvage(&*disk, found)?;
    let damage = salvage.damage.clone();
    if damage.is_total() {
        return Err(StoreError::Damaged {
            path,
            reason: format!("{}; {}", damage.found.join(", "), super::WHAT_TO_DO),
        });
    }
    let db = Db::open(
        Arc::new(MemoryDisk::new(path.clone(), Default::default())),
        clock,
        options,
    )?;
    salvage.write(&db).map_err(|fault| db.error(fault))?;
    Ok((db, Some(damage)))
}

/// The engine promises not to panic on a file that it verifies; should it, the file is no good to us.
fn open_engine(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, options: &Options) -> Result<Db, StoreError> {
    let path = disk.path().to_owned();
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let db = Db::open(disk, clock, options)?;
        db.state()?;
        Ok(db)
    }));
    opened.unwrap_or_else(|_| {
        Err(StoreError::Damaged {
            path,
            reason: "its engine cannot make sense of it".to_owned(),
        })
    })
}
