//! Where the bytes live. A [`Disk`] can be opened again after a failure and finds the same bytes.
pub use redb::StorageBackend;

use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a store consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The tree.
    Database,
    /// The two files of the journal, written in turn.
    Journal(Side),
}

/// One file of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Even,
    Odd,
}

impl Part {
    pub const ALL: [Self; 3] = [
        Self::Database,
        Self::Journal(Side::Even),
        Self::Journal(Side::Odd),
    ];
}

/// A place for one store, real, in memory or simulated.
pub trait Disk: std::fmt::Debug + Send + Sync + 'static {
    /// Opens the bytes of a part, creating them empty if need be. The store never writes by two
    /// backends of one part at the same time.
    fn open(&self, part: Part) -> io::Result<Arc<dyn StorageBackend>>;

    /// What errors call this disk.
    fn path(&self) -> &Path;
}

/// Files of the file system, side by side.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    /// Whether a data sync is one.
    syncs: bool,
}

impl FileDisk {
    /// `path`: the database's.
    pub fn new(path: PathBuf) -> Self {
        Self { path, syncs: true }
    }

    /// Which does not wait for what is written to be on the medium: the power takes what the system had in memory, and may
    /// leave the rest damaged.
    #[must_use]
    pub fn without_sync(self) -> Self {
        Self { syncs: false, ..self }
    }

    /// Where a part of the store lies.
    pub fn file(&self, part: Part) -> PathBuf {
        match part {
            Part::Database => self.path.clone(),
            Part::Journal(Side::Even) => self.path.with_extension("journal-0"),
            Part::Journal(Side::Odd) => self.path.with_extension("journal-1"),
        }
    }
}

impl Disk for FileDisk {
    fn open(&self, part: Part) -> io::Result<Arc<dyn StorageBackend>> {
        let path = self.file(part);
        let created = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        if created && let Some(directory) = path.parent() {
            // Else a power cut could take the file's name with it.
            File::open(directory)?.sync_all()?;
        }
        Ok(Arc::new(OpenFile {
            file,
            syncs: self.syncs,
        }))
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Growth by up to this much is written out: the data sync of a commit into blocks that were only
/// reserved has to wait for the file system's journal, too, which costs half as much again. More
/// would hold up the writer for seconds on a memory card.
const TOUCH_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug)]
struct OpenFile {
    file: File,
    syncs: bool,
}

impl OpenFile {
    /// Writes zeros to blocks that were reserved and read as zeros already.
    fn touch(&self, from: u64, to: u64) -> io::Result<()> {
        if to - from > TOUCH_BYTES_MAX {
            return Ok(());
        }
        let zeros = vec![0; 64 << 10];
        let mut at = from;
        while at < to {
            let chunk = (to - at).min(zeros.len() as u64);
            self.file.write_all_at(&zeros[..chunk as usize], at)?;
            at += chunk;
        }
        Ok(())
    }
}

impl StorageBackend for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let current = self.len()?;
        if len > current {
            // Reserve the blocks now: a full disk then shows here, not in the middle of a commit.
            match rustix::fs::fallocate(
                &self.file,
                rustix::fs::FallocateFlags::empty(),
                current,
                len - current,
            ) {
                Ok(()) => return self.touch(current, len),
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(errno) => {
                    // What was reserved so far must not stay: the disk is full.
                    self.file.set_len(current)?;
                    return Err(errno.into());
                }
            }
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.syncs {
            true => self.file.sync_data(),
            false => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

/// Bytes in memory that live as long as the disk.
#[derive(Debug)]
pub struct MemoryDisk {
    path: PathBuf,
    parts: [Arc<Mutex<Vec<u8>>>; 3],
}

impl MemoryDisk {
    /// Begins with these bytes, in the order of [`Part::ALL`]; errors call them `path`.
    pub fn new(path: PathBuf, parts: [Vec<u8>; 3]) -> Self {
        Self {
            path,
            parts: parts.map(|bytes| Arc::new(Mutex::new(bytes))),
        }
    }

    fn part(&self, part: Part) -> &Arc<Mutex<Vec<u8>>> {
        match part {
            Part::Database => &self.parts[0],
            Part::Journal(Side::Even) => &self.parts[1],
            Part::Journal(Side::Odd) => &self.parts[2],
        }
    }

    /// A disk of its own with the same bytes.
    pub(super) fn fork(&self) -> Self {
        Self::new(
            self.path.clone(),
            Part::ALL.map(|part| self.part(part).lock().clone()),
        )
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new("(memory)".into(), Default::default())
    }
}

impl Disk for MemoryDisk {
    fn open(&self, part: Part) -> io::Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(OpenMemory(self.part(part).clone())))
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug)]
struct OpenMemory(Arc<Mutex<Vec<u8>>>);

impl StorageBackend for OpenMemory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock();
        let from = offset as usize;
        let found = bytes
            .get(from..from + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock();
        let from = offset as usize;
        bytes
            .get_mut(from..from + data.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(data);
        Ok(())
    }
}
