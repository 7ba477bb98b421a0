//! How long the disk takes, counted as it goes: two looks at the clock and two additions for each data sync.
use super::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets with an upper limit: a millisecond, and twice as much each time up to 8 s, as etcd has them.
const LIMITS: usize = 14;

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Limits in seconds, which grow, and how many took no longer.
    pub buckets: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// What all of them took together, in seconds.
    pub sum: f64,
}

/// How long the disk takes to make things durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncTimes {
    /// Data syncs of the journal: one a batch.
    pub journal: Histogram,
    /// Durable commits of the tree: one for each time that the journal begins anew.
    pub tree: Histogram,
}

/// Takes the time of what is done again and again.
#[derive(Debug)]
pub(super) struct Stopwatch {
    clock: Arc<dyn Clock>,
    /// Those within a limit and not within the one before; the last: those beyond all.
    counts: [AtomicU64; LIMITS + 1],
    nanoseconds: AtomicU64,
}

impl Stopwatch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            counts: Default::default(),
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Notes how long it takes, whatever it comes to.
    pub(super) fn time<T>(&self, run: impl FnOnce() -> T) -> T {
        let start = self.clock.now();
        let result = run();
        let took = self.clock.now().saturating_sub(start);
        self.counts[bucket(took)].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        result
    }

    /// What it has come to so far.
    pub(super) fn histogram(&self) -> Histogram {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(LIMITS);
        for (at, within) in self.counts.iter().enumerate() {
            count += within.load(Ordering::Relaxed);
            if at < LIMITS {
                buckets.push((f64::from(1_u32 << at) / 1000.0, count));
            }
        }
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        Histogram {
            buckets,
            count,
            sum: sum.as_secs_f64(),
        }
    }
}

/// The first bucket that has room for it.
fn bucket(took: Duration) -> usize {
    // All limits are whole milliseconds.
    let milliseconds = u64::try_from(took.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let doublings = u64::BITS - milliseconds.saturating_sub(1).leading_zeros();
    LIMITS.min(doublings as usize)
}

#[cfg(test)]
mod tests {
    use super::super::clock::ManualClock;
    use super::*;

    #[test]
    fn what_takes_no_longer_than_a_limit_is_within_it() {
        let clock = Arc::new(ManualClock::default());
        let stopwatch = Stopwatch::new(clock.clone());
        for microseconds in [0, 1000, 1001, 4000, 4001, 8_192_000, 8_192_001] {
            stopwatch.time(|| clock.advance(Duration::from_micros(microseconds)));
        }
        let found = stopwatch.histogram();
        assert_eq!(found.buckets.len(), LIMITS);
        let within = |limit: f64| found.buckets.iter().find(|(at, _)| *at == limit).map(|(_, n)| *n);
        assert_eq!(within(0.001), Some(2));
        assert_eq!(within(0.002), Some(3));
        assert_eq!(within(0.004), Some(4));
        assert_eq!(within(0.008), Some(5));
        assert_eq!(within(4.096), Some(5));
        assert_eq!(within(8.192), Some(6));
        assert_eq!(found.count, 7);
        assert!((found.sum - 16.394_003).abs() < 1e-6, "{}", found.sum);
    }
}
