//! What waits for the disk, and what must not.
use crate::common::*;
use crate::everything;
use orlop_store::embedded::{Disk, EmbeddedStore, MemoryDisk, Options, Part, StorageBackend, SystemClock};
use orlop_store::*;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No data sync lasts longer, whoever has forgotten it.
const LONGEST: Duration = Duration::from_secs(20);

/// A disk whose data syncs last until they are let go.
#[derive(Clone, Debug, Default)]
struct SlowDisk {
    disk: Arc<MemoryDisk>,
    state: Arc<(Mutex<Syncs>, Condvar)>,
}

#[derive(Debug, Default)]
struct Syncs {
    are_slow: bool,
    /// One is under way.
    waits: bool,
}

impl SlowDisk {
    fn set_slow(&self, are_slow: bool) {
        self.state.0.lock().are_slow = are_slow;
        self.state.1.notify_all();
    }

    fn wait_for_a_sync(&self) {
        let mut syncs = self.state.0.lock();
        self.state
            .1
            .wait_while_for(&mut syncs, |syncs| !syncs.waits, LONGEST);
        assert!(syncs.waits, "nothing is synced");
    }
}

impl Disk for SlowDisk {
    fn open(&self, part: Part) -> io::Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(SlowFile {
            file: self.disk.open(part)?,
            disk: self.clone(),
        }))
    }

    fn path(&self) -> &Path {
        self.disk.path()
    }
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn StorageBackend>,
    disk: SlowDisk,
}

impl StorageBackend for SlowFile {
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
        let (syncs, changed) = &*self.disk.state;
        let mut syncs = syncs.lock();
        syncs.waits = true;
        changed.notify_all();
        changed.wait_while_for(&mut syncs, |syncs| syncs.are_slow, LONGEST);
        syncs.waits = false;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

/// On the one thread that there is for all connections.
#[tokio::test]
async fn a_read_that_has_to_wait_for_a_data_sync_holds_nobody_up() {
    let disk = SlowDisk::default();
    let clock = Arc::new(SystemClock::default());
    let store = EmbeddedStore::with_disk(Arc::new(disk.clone()), clock, Options::default()).unwrap();
    let started = Instant::now();
    for round in 0..3 {
        // The tree does not show it yet, so that a read needs what the write behind it holds.
        let first = put(&*store, "a", "1").await;
        disk.set_slow(true);
        let writing = tokio::spawn({
            let store = store.clone();
            async move { put(&*store, "b", "2").await }
        });
        tokio::task::yield_now().await;
        disk.wait_for_a_sync();
        let reading = async {
            match round {
                0 => assert!(everything(&store).await.contains(&"a=1".to_owned())),
                1 => assert!(store.status().await.unwrap().revision >= first),
                _ => {
                    let request = WatchRequest::prefix("a", Some(first));
                    let mut stream = store.watch(request).await.unwrap();
                    assert_eq!(events(&mut stream, 1).await[0].kv.key, "a");
                }
            }
        };
        let others = async { disk.set_slow(false) };
        tokio::join!(reading, others);
        writing.await.unwrap();
        // The batches after a read are shown at once.
        for _ in 0..20 {
            put(&*store, "c", "3").await;
        }
    }
    assert!(started.elapsed() < LONGEST, "the thread waited for the disk");
}
