//! Stands between one opening of the store and a file, until it is shut.
//!
//! The engine refuses all work after an I/O error, and a full disk, or one that has become read only, is
//! one. But only the next durable commit of the tree needs it, and reads must go on until then: what the disk
//! does not take is held here in the meantime.
use super::disk::StorageBackend;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the engine writes is whole pages of this size, but for its header.
const PAGE_BYTES: usize = 4096;

/// Set for good when a data sync failed. The kernel may then show data that the disk does not have, and
/// no later sync would tell: to serve it would break the promise that reads are durable, so the store
/// stops, as etcd does.
pub(super) type SyncFailure = Arc<Mutex<Option<String>>>;

#[derive(Debug)]
pub(super) struct Fence {
    file: Arc<dyn StorageBackend>,
    shut: RwLock<bool>,
    sync_failure: SyncFailure,
    /// Whether a sync means anything: of what is not committed durably nobody expects it.
    is_durable: AtomicBool,
    /// Whether there is anything in `held`.
    holds: AtomicBool,
    held: Mutex<Held>,
}

/// What the disk had no room for.
#[derive(Debug, Default)]
struct Held {
    /// The length that the file should have.
    len: Option<u64>,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Fence {
    pub(super) fn new(file: Arc<dyn StorageBackend>, sync_failure: SyncFailure) -> Self {
        Self {
            file,
            shut: RwLock::new(false),
            sync_failure,
            is_durable: AtomicBool::new(true),
            holds: AtomicBool::new(false),
            held: Mutex::default(),
        }
    }

    /// The file itself.
    pub(super) fn file(&self) -> &dyn StorageBackend {
        &*self.file
    }

    /// Waits for what is under way, then lets nothing through any more.
    pub(super) fn shut(&self) {
        *self.shut.write() = true;
    }

    fn pass<T>(&self, access: impl FnOnce(&dyn StorageBackend) -> io::Result<T>) -> io::Result<T> {
        let shut = self.shut.read();
        if *shut {
            return Err(io::Error::other("this opening of the store is over"));
        }
        access(&*self.file)
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        self.pass(StorageBackend::len)
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.pass(|file| file.set_len(len))
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.pass(|file| file.read(offset, out))
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pass(|file| file.write(offset, data))
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.pass(|file| {
            file.sync_data().inspect_err(|error| {
                if error.kind() != io::ErrorKind::StorageFull {
                    let reason = format!("a data sync failed ({error}); check the disk, then restart");
                    self.sync_failure.lock().get_or_insert(reason);
                }
            })
        })
    }

    /// Whether what the engine does next is meant to be durable. It syncs when the file grows, too, and that
    /// need not have succeeded before the next durable commit.
    pub(super) fn set_durable(&self, is_durable: bool) {
        self.is_durable.store(is_durable, Ordering::Release);
    }

    /// Writes what is held, if the disk has room for it now.
    pub(super) fn settle(&self) -> io::Result<()> {
        if !self.holds.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut held = self.held.lock();
        if let Some(len) = held.len {
            self.set_len(len)?;
            held.len = None;
        }
        while let Some((offset, page)) = held.pages.first_key_value() {
            self.write(*offset, page)?;
            held.pages.pop_first();
        }
        self.holds.store(false, Ordering::Release);
        Ok(())
    }

    fn hold(&self, offset: u64, data: &[u8]) {
        let mut held = self.held.lock();
        for (index, page) in data.chunks(PAGE_BYTES).enumerate() {
            held.pages
                .insert(offset + (index * PAGE_BYTES) as u64, page.to_vec());
        }
        self.holds.store(true, Ordering::Release);
    }
}

/// Whether the disk is full, or read only: what the tree learns then can still be read.
fn takes_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// The file as the engine sees it.
#[derive(Debug)]
pub(super) struct EngineFile(pub Arc<Fence>);

impl StorageBackend for EngineFile {
    fn len(&self) -> io::Result<u64> {
        let held = self.0.held.lock().len;
        match held {
            Some(len) => Ok(len),
            None => self.0.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let fence = &*self.0;
        if !fence.holds.load(Ordering::Acquire) {
            return fence.read(offset, out);
        }
        let held = fence.held.lock();
        let there = fence.len()?.saturating_sub(offset).min(out.len() as u64) as usize;
        let (found, behind) = out.split_at_mut(there);
        fence.read(offset, found)?;
        if held
            .len
            .is_none_or(|len| offset + (there + behind.len()) as u64 > len)
            && !behind.is_empty()
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        behind.fill(0);
        for (at, page) in held.pages.range(offset..offset + out.len() as u64) {
            let from = (at - offset) as usize;
            let to = out.len().min(from + page.len());
            out[from..to].copy_from_slice(&page[..to - from]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let fence = &*self.0;
        let mut held = fence.held.lock();
        held.pages.split_off(&len);
        match fence.set_len(len) {
            Err(error) if takes_nothing(&error) => {
                held.len = Some(len);
                fence.holds.store(true, Ordering::Release);
                Ok(())
            }
            done => {
                held.len = None;
                done
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let fence = &*self.0;
        let whole_pages = offset.is_multiple_of(PAGE_BYTES as u64) && data.len().is_multiple_of(PAGE_BYTES);
        if fence.holds.load(Ordering::Acquire) && whole_pages {
            // In the order of the writes: what is held of these pages is old.
            fence.hold(offset, data);
            return Ok(());
        }
        match fence.write(offset, data) {
            Err(error) if takes_nothing(&error) && whole_pages => {
                fence.hold(offset, data);
                Ok(())
            }
            done => done,
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Err(error) = self.0.settle() {
            return match self.0.is_durable.load(Ordering::Acquire) {
                true => Err(error),
                false => Ok(()),
            };
        }
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has room for this much.
    #[derive(Debug, Default)]
    struct Small {
        room: Mutex<u64>,
        bytes: Mutex<Vec<u8>>,
    }

    impl StorageBackend for Small {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let from = offset as usize;
            out.copy_from_slice(&self.bytes.lock()[from..from + out.len()]);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            if len > *self.room.lock() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.lock().resize(len as usize, 0);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            let from = offset as usize;
            self.bytes.lock()[from..from + data.len()].copy_from_slice(data);
            Ok(())
        }
    }

    #[test]
    fn what_has_no_room_is_held_until_there_is_some() {
        let disk = Arc::new(Small::default());
        *disk.room.lock() = 8192;
        let fence = Arc::new(Fence::new(disk.clone(), SyncFailure::default()));
        let file = EngineFile(fence.clone());
        file.set_len(8192).unwrap();
        file.write(0, &[1; 8192]).unwrap();
        file.set_len(16384).unwrap();
        file.write(4096, &[2; 8192]).unwrap();
        assert_eq!((file.len().unwrap(), disk.len().unwrap()), (16384, 8192));
        let seen = |file: &EngineFile| {
            let mut bytes = vec![9; 16384];
            file.read(0, &mut bytes).unwrap();
            [
                bytes[0],
                bytes[4095],
                bytes[4096],
                bytes[12287],
                bytes[12288],
                bytes[16383],
            ]
        };
        assert_eq!(seen(&file), [1, 1, 2, 2, 0, 0]);
        assert!(fence.settle().is_err());
        assert!(file.sync_data().is_err());
        fence.set_durable(false);
        file.sync_data().unwrap();
        fence.set_durable(true);
        *disk.room.lock() = 1 << 20;
        file.sync_data().unwrap();
        assert_eq!(disk.len().unwrap(), 16384);
        assert_eq!(seen(&file), [1, 1, 2, 2, 0, 0]);
        assert_eq!(disk.bytes.lock()[4096], 2);
    }
}
