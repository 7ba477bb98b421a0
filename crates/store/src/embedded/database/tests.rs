use super::*;
use crate::embedded::SystemClock;
use crate::embedded::disk::{MemoryDisk, Part, StorageBackend};
use crate::embedded::tree::Tree;
use std::path::Path;

/// A disk whose database has room for so many bytes.
#[derive(Debug, Default)]
struct Small {
    disk: MemoryDisk,
    room: Arc<Mutex<u64>>,
}

#[derive(Debug)]
struct SmallFile {
    file: Arc<dyn StorageBackend>,
    room: Arc<Mutex<u64>>,
}

impl Disk for Small {
    fn open(&self, part: Part) -> io::Result<Arc<dyn StorageBackend>> {
        let file = self.disk.open(part)?;
        Ok(match part {
            Part::Database => Arc::new(SmallFile {
                file,
                room: self.room.clone(),
            }),
            Part::Journal(_) => file,
        })
    }

    fn path(&self) -> &Path {
        self.disk.path()
    }
}

impl StorageBackend for SmallFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match len > *self.room.lock() {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.file.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

fn fill(db: &Db) -> Result<(), Fault> {
    let txn = db.begin_durable_write()?;
    {
        let mut tree = Tree::open(&txn)?;
        for number in 0..500_u32 {
            tree.keys
                .insert(number.to_be_bytes().as_slice(), [7; 5000].as_slice())?;
        }
    }
    Ok(txn.commit()?)
}

#[test]
fn a_store_that_is_written_at_once_is_on_the_disk_or_refused() {
    for is_full in [true, false] {
        let disk = Arc::new(Small::default());
        *disk.room.lock() = u64::MAX;
        let db = Db::open(
            disk.clone(),
            Arc::new(SystemClock::default()),
            &Options::default(),
        )
        .unwrap();
        if is_full {
            *disk.room.lock() = db.size().unwrap();
        }
        let filled = fill(&db).map_err(|fault| db.error(fault));
        match is_full {
            true => assert!(matches!(filled, Err(StoreError::DiskFull { .. })), "{filled:?}"),
            false => {
                filled.unwrap();
                db.close().unwrap();
            }
        }
    }
}
