//! Time: leases and history by a clock that the test turns.
use crate::common::*;
use crate::disk::SimulatedDisk;
use crate::{everything, open_with_clock};
use futures::future::BoxFuture;
use orlop_store::embedded::{
    Clock, Disk, EmbeddedStore, Histogram, ManualClock, MemoryDisk, Options, Part, StorageBackend,
};
use orlop_store::*;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// etcd 3.4 loses this event: its compaction takes deletions at the compacted revision away, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_at_the_compacted_revision_is_still_told() {
    let store = EmbeddedStore::in_memory().unwrap();
    put(&*store, "a", "1").await;
    let two = remove(&*store, "a").await;
    store.compact(two).await.unwrap();
    let mut stream = store.watch(WatchRequest::prefix("", Some(two))).await.unwrap();
    assert_eq!(described_events(&mut stream, 1).await, [format!("{two} -a")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_end_together_and_not_before() {
    let clock = Arc::new(ManualClock::default());
    let disk = SimulatedDisk::default();
    let store = open_with_clock(&disk, clock.clone());
    let short = store.lease_grant(10).await.unwrap();
    let kept = store.lease_grant(10).await.unwrap();
    for (key, lease) in [("a", short), ("b", kept), ("c", short)] {
        put_leased(&*store, key, "1", Some(lease)).await;
    }
    let mut stream = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    clock.advance(Duration::from_secs(9));
    assert_eq!(store.lease_keep_alive(kept).await.unwrap(), 10);
    assert_eq!(everything(&store).await.len(), 3);
    clock.advance(Duration::from_secs(1));
    let batch = next_batch(&mut stream).await.unwrap();
    let keys: Vec<_> = batch
        .events
        .iter()
        .map(|event| event.kv.key.to_string())
        .collect();
    assert_eq!(keys, ["a", "c"]);
    clock.advance(Duration::from_secs(9));
    assert_eq!(events(&mut stream, 1).await[0].kv.key, "b");
    assert_eq!(everything(&store).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_listed_as_they_end() {
    let clock = Arc::new(ManualClock::default());
    let store = open_with_clock(&SimulatedDisk::default(), clock.clone());
    let long = store.lease_grant(30).await.unwrap();
    let short = store.lease_grant(10).await.unwrap();
    assert_eq!(store.leases().await.unwrap(), [short, long]);
    clock.advance(Duration::from_secs(9));
    let last = store.lease_grant(40).await.unwrap();
    let middle = store.lease_grant(5).await.unwrap();
    assert_eq!(store.leases().await.unwrap(), [short, middle, long, last]);
    store.lease_keep_alive(short).await.unwrap();
    assert_eq!(store.leases().await.unwrap(), [middle, short, long, last]);
    store.lease_revoke(long).await.unwrap();
    assert_eq!(store.leases().await.unwrap(), [middle, short, last]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_gives_leases_their_full_time_again() {
    let clock = Arc::new(ManualClock::default());
    let disk = SimulatedDisk::default();
    let store = open_with_clock(&disk, clock.clone());
    let lease = store.lease_grant(10).await.unwrap();
    put_leased(&*store, "a", "1", Some(lease)).await;
    clock.advance(Duration::from_secs(8));
    drop(store);
    let store = open_with_clock(&disk, clock.clone());
    let mut stream = store.watch(WatchRequest::prefix("", None)).await.unwrap();
    clock.advance(Duration::from_secs(8));
    put(&*store, "b", "1").await;
    assert_eq!(everything(&store).await, ["a=1", "b=1"]);
    clock.advance(Duration::from_secs(2));
    assert_eq!(events(&mut stream, 2).await[1].kv.key, "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_kept_for_five_minutes_then_forgotten() {
    let clock = Arc::new(ManualClock::default());
    let disk = SimulatedDisk::default();
    let store = open_with_clock(&disk, clock.clone());
    let one = put(&*store, "a", "1").await;
    let mut last = one;
    for number in 0..299 {
        clock.advance(Duration::from_secs(1));
        last = put(&*store, "a", &number.to_string()).await;
    }
    assert_eq!(list_at(&*store, "", Some(one)).await, ["a=1"], "299 s old");
    // Behind every advance a write waits its turn, and with it for what the clock has brought.
    clock.advance(Duration::from_secs(400));
    put(&*store, "b", "1").await;
    put(&*store, "b", "2").await;
    let status = store.status().await.unwrap();
    assert_eq!(status.compacted, Some(last));
    let mut old = RangeRequest::key("a");
    old.revision = Some(one);
    let error = store.range(old).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    let mut stream = store.watch(WatchRequest::prefix("", Some(last))).await.unwrap();
    assert_eq!(events(&mut stream, 3).await.len(), 3);
}

/// A clock that someone sets, back as well.
#[derive(Debug)]
struct SetClock(watch::Sender<Duration>);

impl Clock for SetClock {
    fn now(&self) -> Duration {
        *self.0.borrow()
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            let _ = now.wait_for(|now| *now >= at).await;
        })
    }
}

/// The machine's own never goes back; that nothing rests on it is seen with one that does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ends_no_lease_early_and_harms_nothing() {
    const DAY: Duration = Duration::from_secs(86_400);
    let clock = Arc::new(SetClock(watch::Sender::new(10 * DAY)));
    let disk = SimulatedDisk::default();
    let store = open_with_clock(&disk, clock.clone());
    let lease = store.lease_grant(10).await.unwrap();
    put_leased(&*store, "leased", "1", Some(lease)).await;
    for day in [9, 0, 5, 10] {
        clock.0.send_replace(day * DAY);
        put(&*store, "a", &day.to_string()).await;
        assert_eq!(store.lease_info(lease).await.unwrap().keys.len(), 1, "day {day}");
        assert_eq!(everything(&store).await.len(), 2);
    }
    let mut stream = store.watch(WatchRequest::prefix("leased", None)).await.unwrap();
    clock.0.send_replace(100_000 * DAY);
    assert_eq!(events(&mut stream, 1).await[0].kind, EventKind::Delete);
    let late = store.lease_grant(10).await.unwrap();
    put_leased(&*store, "late", "1", Some(late)).await;
    clock.0.send_replace(DAY);
    put(&*store, "b", "1").await;
    drop((store, stream));
    let store = open_with_clock(&disk.after_kill(), clock);
    assert_eq!(everything(&store).await.len(), 3);
}

/// What a data sync takes of [`SlowDisk`].
const SYNC: Duration = Duration::from_millis(3);

/// Its data syncs take their time, by a clock.
#[derive(Debug)]
struct SlowDisk {
    disk: MemoryDisk,
    clock: Arc<ManualClock>,
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn StorageBackend>,
    clock: Arc<ManualClock>,
}

impl Disk for SlowDisk {
    fn open(&self, part: Part) -> io::Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(SlowFile {
            file: self.disk.open(part)?,
            clock: self.clock.clone(),
        }))
    }

    fn path(&self) -> &Path {
        self.disk.path()
    }
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
        self.clock.advance(SYNC);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_tells_how_long_the_disk_takes() {
    let clock = Arc::new(ManualClock::default());
    let disk = SlowDisk {
        disk: MemoryDisk::default(),
        clock: clock.clone(),
    };
    let store = EmbeddedStore::with_disk(Arc::new(disk), clock, Options::default()).unwrap();
    for number in 0..5 {
        put(&*store, "a", &number.to_string()).await;
    }
    let within = |times: &Histogram, limit: f64| {
        let found = times.buckets.iter().find(|(at, _)| *at == limit);
        found.map(|(_, count)| *count)
    };
    let times = store.sync_times();
    assert_eq!((times.journal.count, times.tree.count), (5, 0), "{times:?}");
    assert_eq!(within(&times.journal, 0.002), Some(0), "{times:?}");
    assert_eq!(within(&times.journal, 0.004), Some(5), "{times:?}");
    assert!((times.journal.sum - 0.015).abs() < 1e-9, "{times:?}");
    // What the journal has goes into the tree.
    store.close().await;
    let times = store.sync_times();
    assert_eq!((times.journal.count, times.tree.count), (5, 1), "{times:?}");
    assert_eq!(within(&times.tree, 0.002), Some(0), "{times:?}");
}
