//! A disk that loses, tears and reorders what was not synced, runs full, fails and keeps count.
use orlop_store::embedded::{Disk, StorageBackend};
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
    durable: Vec<u8>,
    /// What the machine sees while it runs.
    seen: Vec<u8>,
    /// Changes since the last sync.
    unsynced: Vec<Change>,
    /// Calls that change something, so far.
    calls: usize,
    counts: Counts,
    faults: Faults,
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

/// What is on the disk after a power cut: of what was not synced, a part, torn and in any order.
pub fn survivors(mut bytes: Vec<u8>, mut unsynced: Vec<Change>, seed: u64) -> SimulatedDisk {
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
    for change in unsynced {
        if lossy && random.random_bool(0.3) {
            continue;
        }
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
                    if let Some(place) = bytes.get_mut(from..from + sector.len()) {
                        place.copy_from_slice(sector);
                    }
                }
            }
        }
    }
    SimulatedDisk::of(bytes)
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
    /// The disk has no more blocks than this many bytes need.
    pub bytes_max: Option<usize>,
    /// Writes of new data find no space, although the file has its length: delayed allocation.
    pub no_blocks: bool,
    pub syncs_fail: bool,
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

    /// The same bytes with one of them changed.
    pub fn flip(&self, at: usize) {
        self.0.lock().seen[at] ^= 0x40;
    }

    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let platter = self.0.lock();
        platter
            .seen
            .windows(bytes.len())
            .position(|window| window == bytes)
    }

    fn of(bytes: Vec<u8>) -> Self {
        let platter = Platter {
            durable: bytes.clone(),
            seen: bytes,
            ..Platter::default()
        };
        Self(Arc::new(Mutex::new(platter)))
    }
}

impl Disk for SimulatedDisk {
    fn open(&self) -> io::Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(self.clone()))
    }

    fn path(&self) -> &Path {
        Path::new("(simulated)")
    }
}

impl Platter {
    fn call(&mut self) -> io::Result<()> {
        if self.faults.power_cut_at.is_some_and(|at| self.calls >= at) {
            return Err(io::Error::other("the power is off"));
        }
        self.calls += 1;
        Ok(())
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.0.lock();
        if std::mem::take(&mut platter.faults.next_read_fails) {
            return Err(io::Error::other("unreadable"));
        }
        let from = offset as usize;
        let found = platter.seen.get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.call()?;
        if platter
            .faults
            .bytes_max
            .is_some_and(|max| len as usize > max.max(platter.seen.len()))
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.seen.resize(len as usize, 0);
        platter.unsynced.push(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.call()?;
        platter.counts.syncs += 1;
        if platter.faults.syncs_fail {
            return Err(io::Error::other("the disk is gone"));
        }
        platter.durable = platter.seen.clone();
        platter.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.call()?;
        if platter.faults.writes_fail {
            return Err(io::Error::other("the write failed"));
        }
        let from = offset as usize;
        if platter.faults.no_blocks && from >= 4096 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.counts.bytes_written += data.len();
        let place = platter.seen.get_mut(from..from + data.len());
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        platter.unsynced.push(Change::Bytes(from, data.to_vec()));
        Ok(())
    }
}
