//! The store without a protocol in between, as `orlop up` uses it.
use super::disk::Syncs;
use super::{VALUE_BYTES, latency};
use crate::report;
use anyhow::Result;
use orlop_store::embedded::{Disk, EmbeddedStore, FileDisk, Options, Part, StorageBackend, SystemClock};
use orlop_store::{Op, Store, Txn};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 300;
const KEYS: usize = 100_000;
const KEYS_PER_TXN: usize = 500;
const OPENINGS: usize = 5;
/// A Lease object as the store has it.
const LEASE_BYTES: usize = 600;
/// A node renews its Lease this often, and nothing else writes while its pods are well.
const LEASE_PERIOD: Duration = Duration::from_secs(10);
const PODS: usize = 40;
const POD_BYTES: usize = 4000;
const RENEWALS: u64 = 60;

pub async fn measure() -> Result<()> {
    put_latency().await?;
    opening().await?;
    renewals().await
}

fn put(key: String, bytes: usize) -> Txn {
    Txn::default().then(Op::put(key, vec![7; bytes].into(), None))
}

async fn put_latency() -> Result<()> {
    let directory = tempfile::tempdir_in(".")?;
    let store = EmbeddedStore::open(directory.path(), Options::default())?;
    let mut disk = Syncs::new()?;
    let (mut syncs, mut puts) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        syncs.push(disk.once()?);
        let start = Instant::now();
        store.txn(put(format!("/{}", round % 50), VALUE_BYTES)).await?;
        puts.push(start.elapsed());
    }
    report::above(
        "in process: durable put, above one data sync",
        &puts,
        &syncs,
        latency::BAR,
    );
    Ok(())
}

async fn opening() -> Result<()> {
    let directory = tempfile::tempdir_in(".")?;
    let store = EmbeddedStore::open(directory.path(), Options::default())?;
    for first in (0..KEYS).step_by(KEYS_PER_TXN) {
        let txn = (first..first + KEYS_PER_TXN).fold(Txn::default(), |txn, number| {
            txn.then(Op::put(
                format!("/registry/keys/{number:06}"),
                vec![7; 1000].into(),
                None,
            ))
        });
        store.txn(txn).await?;
    }
    store.close().await;
    drop(store);
    let mut openings = Vec::new();
    for _ in 0..OPENINGS {
        let start = Instant::now();
        let store = EmbeddedStore::open(directory.path(), Options::default())?;
        anyhow::ensure!(store.status().await?.keys == KEYS as u64, "keys are missing");
        openings.push(start.elapsed());
        store.close().await;
    }
    let milliseconds = report::median(&openings).as_secs_f64() * 1e3;
    report::bar("opening 100,000 keys", milliseconds, "ms", "-", 300.0);
    Ok(())
}

/// What renewing a node's Lease costs, counted at the disk: 40 pods and all that is with them lie
/// still.
async fn renewals() -> Result<()> {
    let directory = tempfile::tempdir_in(".")?;
    let disk = CountingDisk::new(directory.path().join("counted"));
    let counts = disk.counts.clone();
    let clock = Arc::new(SystemClock::default());
    let store = EmbeddedStore::with_disk(Arc::new(disk), clock, Options::default())?;
    for pod in 0..PODS {
        store
            .txn(put(format!("/registry/pods/default/pod-{pod:02}"), POD_BYTES))
            .await?;
    }
    let before = counts.now();
    for _ in 0..RENEWALS {
        store
            .txn(put("/registry/leases/kube-node-lease/node".into(), LEASE_BYTES))
            .await?;
    }
    let after = counts.now();
    let per_second = |count: u64| count as f64 / RENEWALS as f64 / LEASE_PERIOD.as_secs_f64();
    report::bar(
        "node with 40 pods, leases renewing: syncs/s",
        per_second(after.syncs - before.syncs),
        "/s",
        "-",
        0.2,
    );
    report::bar(
        "node with 40 pods, leases renewing: written",
        per_second(after.bytes - before.bytes) / 1024.0,
        "KiB/s",
        "-",
        5.0,
    );
    Ok(())
}

#[derive(Debug, Default)]
struct Counts {
    syncs: AtomicU64,
    bytes: AtomicU64,
}

struct Now {
    syncs: u64,
    bytes: u64,
}

impl Counts {
    fn now(&self) -> Now {
        Now {
            syncs: self.syncs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Files of which the writes and syncs are counted.
#[derive(Debug)]
struct CountingDisk {
    disk: FileDisk,
    path: PathBuf,
    counts: Arc<Counts>,
}

impl CountingDisk {
    fn new(path: PathBuf) -> Self {
        Self {
            disk: FileDisk::new(path.clone()),
            path,
            counts: Arc::default(),
        }
    }
}

impl Disk for CountingDisk {
    fn open(&self, part: Part) -> io::Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(Counted {
            file: self.disk.open(part)?,
            counts: self.counts.clone(),
        }))
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug)]
struct Counted {
    file: Arc<dyn StorageBackend>,
    counts: Arc<Counts>,
}

impl StorageBackend for Counted {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.counts.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.file.write(offset, data)
    }
}
