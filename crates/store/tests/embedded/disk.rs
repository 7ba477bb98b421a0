//! A disk that loses, tears and reorders what was not synced, runs full, fails and keeps count.
use orlop_store::embedded::{Disk, Part, StorageBackend};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::io;
use std::path::Path;
use std::sync::Arc;

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk(Arc<Mutex<Platter>>);

#[derive(Clone, Debug, Default)]
struct Platter {
    /// What a power cut leaves for certain.
    durable: Files,
    /// What the machine sees while it runs.
    seen: Files,
    /// Changes of each file since its last sync.
    unsynced: Vec<(Part, Change)>,
    /// Calls that change something, so far.
    calls: usize,
    counts: Counts,
    faults: Faults,
}

/// The bytes of each part of a store.
#[derive(Clone, Debug, Default)]
pub struct Files([Vec<u8>; 3]);

impl Files {
    pub fn of(&mut self, part: Part) -> &mut Vec<u8> {
        &mut self.0[Part::ALL.iter().position(|one| *one == part).unwrap()]
    }
}

#[derive(Clone, Debug)]
pub enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Change {
    /// What a sync makes certain.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Bytes(offset, data) => bytes[*offset..*offset + data.len()].copy_from_slice(data),
        }
    }
}

/// What is on the disk after a power cut: of what was not synced, a part, torn and in any order, and of a
/// sector that was being written perhaps neither the old nor the new.
pub fn survivors(mut files: Files, mut unsynced: Vec<(Part, Change)>, seed: u64) -> SimulatedDisk {
    let mut random = StdRng::seed_from_u64(seed);
    match random.random_range(0..4) {
        0 => unsynced.clear(),
        1 => {
            let kept = random.random_range(0..=unsynced.len());
            unsynced.truncate(kept);
        }
        2 => {}
        _ => unsynced.shuffle(&mut random),
    }
    let lossy = random.random_bool(0.5);
    for (part, change) in unsynced {
        if lossy && random.random_bool(0.3) {
            continue;
        }
        let bytes = files.of(part);
        match change {
            Change::Length(length) => bytes.resize(length, 0),
            Change::Bytes(offset, data) => {
                let torn = random.random_bool(0.2);
                for (index, sector) in data.chunks(SECTOR).enumerate() {
                    if torn && random.random_bool(0.5) {
                        continue;
                    }
                    let from = offset + index * SECTOR;
                    // The length may not have been kept: then neither is this.
                    let Some(place) = bytes.get_mut(from..from + sector.len()) else {
                        continue;
                    };
                    place.copy_from_slice(sector);
                    // The engine relies on whole sectors, the journal doesn't.
                    if torn && part != Part::Database && random.random_bool(0.2) {
                        random.fill(place);
                    }
                }
            }
        }
    }
    SimulatedDisk::of(files)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub syncs: usize,
    pub bytes_written: usize,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The power goes before this changing call.
    pub power_cut_at: Option<usize>,
    /// No file can grow to more than this many bytes.
    pub bytes_max: Option<usize>,
    /// Writes of new data find no space, although the file has its length: delayed allocation.
    pub no_blocks: bool,
    pub syncs_fail: bool,
    /// The file system has been made read-only under the store, as it is after an error of its own.
    pub read_only: bool,
    pub writes_fail: bool,
    pub next_read_fails: bool,
}

impl SimulatedDisk {
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    pub fn counts(&self) -> Counts {
        self.0.lock().counts
    }

    /// Changing calls so far.
    pub fn calls(&self) -> usize {
        self.0.lock().calls
    }

    /// What the next boot finds: everything synced, and of the rest whatever the seed says.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let platter = self.0.lock();
        survivors(platter.durable.clone(), platter.unsynced.clone(), seed)
    }

    /// What another process finds after this one was killed.
    pub fn after_kill(&self) -> Self {
        Self::of(self.0.lock().seen.clone())
    }

    /// The same with a part as it was before.
    pub fn with_earlier(&self, part: Part, earlier: &Self) -> Self {
        let mut files = self.0.lock().seen.clone();
        *files.of(part) = earlier.0.lock().seen.of(part).clone();
        Self::of(files)
    }

    /// The same bytes of the database with one of them changed.
    pub fn flip(&self, at: usize) {
        self.flip_in(Part::Database, at);
    }

    pub fn flip_in(&self, part: Part, at: usize) {
        self.0.lock().seen.of(part)[at] ^= 0x40;
    }

    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        self.find_in(Part::Database, bytes)
    }

    pub fn find_in(&self, part: Part, bytes: &[u8]) -> Option<usize> {
        let mut platter = self.0.lock();
        platter
            .seen
            .of(part)
            .windows(bytes.len())
            .position(|window| window == bytes)
    }

    fn of(files: Files) -> Self {
        let platter = Platter {
            durable: files.clone(),
            seen: files,
            ..Platter::default()
        };
        Self(Arc::new(Mutex::new(platter)))
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, part: Part) -> io::Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(SimulatedFile {
            disk: self.clone(),
            part,
        }))
    }

    fn path(&self) -> &Path {
        Path::new("(simulated)")
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    part: Part,
}

impl Platter {
    fn call(&mut self) -> io::Result<()> {
        if self.faults.power_cut_at.is_some_and(|at| self.calls >= at) {
            return Err(io::Error::other("the power is off"));
        }
        if self.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.calls += 1;
        Ok(())
    }
}

impl StorageBackend for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().seen.of(self.part).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.disk.0.lock();
        if std::mem::take(&mut platter.faults.next_read_fails) {
            return Err(io::Error::other("unreadable"));
        }
        let from = offset as usize;
        let found = platter.seen.of(self.part).get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.disk.0.lock();
        platter.call()?;
        let now = platter.seen.of(self.part).len();
        if platter
            .faults
            .bytes_max
            .is_some_and(|max| len as usize > max.max(now))
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.seen.of(self.part).resize(len as usize, 0);
        platter.unsynced.push((self.part, Change::Length(len as usize)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.disk.0.lock();
        // Nothing is left to sync where nothing could be written.
        if platter.faults.read_only {
            return Ok(());
        }
        platter.call()?;
        platter.counts.syncs += 1;
        if platter.faults.syncs_fail {
            return Err(io::Error::other("the disk is gone"));
        }
        let seen = platter.seen.of(self.part).clone();
        *platter.durable.of(self.part) = seen;
        platter.unsynced.retain(|(part, _)| *part != self.part);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.disk.0.lock();
        platter.call()?;
        if platter.faults.writes_fail {
            return Err(io::Error::other("the write failed"));
        }
        let from = offset as usize;
        if platter.faults.no_blocks && (from >= 4096 || self.part != Part::Database) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.counts.bytes_written += data.len();
        let place = platter.seen.of(self.part).get_mut(from..from + data.len());
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        platter
            .unsynced
            .push((self.part, Change::Bytes(from, data.to_vec())));
        Ok(())
    }
}
