//! Keys waiting to be worked on: each at most once, never on two workers at a time, with delays.
//!
//! The rules are those every Kubernetes controller relies on: a key added while it is being worked
//! on is handed out again afterwards; a failing key comes back after 5 ms, doubling to 1000 s; all
//! failing keys together come back no faster than 10 a second after a burst of 100.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use orlop_metrics::QueueMetrics;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// As good as for ever: times that objects give may lie behind all that a clock can tell.
pub const DELAY_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// First delay of a failing key.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(5);
/// Longest delay of a failing key.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(1000);
/// Retries a second over all keys, once the burst is used up.
pub const RETRY_RATE_PER_SECOND: f64 = 10.0;
/// Retries that may happen at once over all keys.
pub const RETRY_BURST: f64 = 100.0;

/// A deduplicating queue with delays and per-key back-off. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct WorkQueue<K> {
    state: Mutex<State<K>>,
    /// Wakes one waiting worker, to take a key or to sleep until an earlier deadline.
    changed: Notify,
}

#[derive(Debug)]
struct State<K> {
    ready: VecDeque<K>,
    /// Keys to hand out: those in `ready`, and those re-added while being worked on.
    dirty: HashSet<K>,
    working: HashSet<K>,
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    /// The key behind each entry of `delayed`; an entry whose number is gone was superseded.
    delayed_keys: HashMap<u64, K>,
    /// The earliest pending delay of each key, so that one key waits at most once.
    due: HashMap<K, (Instant, u64)>,
    next_number: u64,
    failures: HashMap<K, u32>,
    bucket: Bucket,
    closed: bool,
    measured: Option<Measured<K>>,
}

/// What is counted of a queue that somebody measures.
#[derive(Debug)]
struct Measured<K> {
    metrics: QueueMetrics,
    /// Since when keys wait, and are worked on.
    waiting: HashMap<K, Instant>,
    working: HashMap<K, Instant>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    refilled: Instant,
}

impl Bucket {
    /// Takes one token, going into debt when there is none; the debt is the delay.
    fn reserve(&mut self, now: Instant) -> Duration {
        let gained = now.duration_since(self.refilled).as_secs_f64() * RETRY_RATE_PER_SECOND;
        self.tokens = (self.tokens + gained).min(RETRY_BURST) - 1.0;
        self.refilled = now;
        Duration::from_secs_f64((-self.tokens).max(0.0) / RETRY_RATE_PER_SECOND)
    }
}

/// The delay before attempt `failures + 1` of one key.
pub fn retry_delay(failures: u32) -> Duration {
    RETRY_DELAY_MIN
        .saturating_mul(2u32.saturating_pow(failures.min(31)))
        .min(RETRY_DELAY_MAX)
}

impl<K: Hash + Eq + Clone> Default for WorkQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq + Clone> WorkQueue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                dirty: HashSet::new(),
                working: HashSet::new(),
                delayed: BinaryHeap::new(),
                delayed_keys: HashMap::new(),
                due: HashMap::new(),
                next_number: 0,
                failures: HashMap::new(),
                bucket: Bucket {
                    tokens: RETRY_BURST,
                    refilled: Instant::now(),
                },
                closed: false,
                measured: None,
            }),
            changed: Notify::new(),
        }
    }

    /// An empty queue whose keys are counted.
    pub fn measured(metrics: QueueMetrics) -> Self {
        let queue = Self::new();
        queue.lock().measured = Some(Measured {
            metrics,
            waiting: HashMap::new(),
            working: HashMap::new(),
        });
        queue
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands `key` out as soon as a worker is free; a no-op if it is already waiting.
    pub fn add(&self, key: K) {
        if self.lock().add(key) {
            self.changed.notify_one();
        }
    }

    /// Hands `key` out after `delay`, [`DELAY_MAX`] at most. The earliest of several delays of one key wins.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.lock().add_at(key, Instant::now() + delay.min(DELAY_MAX));
        self.changed.notify_one();
    }

    /// Hands `key` out after its next back-off delay. Call after a failure.
    pub fn add_rate_limited(&self, key: K) {
        let delay = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let own = retry_delay(*failures);
            *failures = failures.saturating_add(1);
            if let Some(measured) = &state.measured {
                measured.metrics.retried();
            }
            own.max(state.bucket.reserve(Instant::now()))
        };
        self.add_after(key, delay);
    }

    /// Forgets the failures of `key`. Call after a success.
    pub fn forget(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// Says that the key handed out by [`next`](Self::next) was worked on.
    pub fn done(&self, key: &K) {
        let mut state = self.lock();
        state.working.remove(key);
        if let Some(measured) = &mut state.measured
            && let Some(since) = measured.working.remove(key)
        {
            measured.metrics.worked(since.elapsed());
        }
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Wakes all workers and makes [`next`](Self::next) return `None` from now on.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Keys ready to be handed out now, without those still delayed.
    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    /// Whether no key is ready now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next key; `None` once the queue is closed.
    pub async fn next(&self) -> Option<K> {
        loop {
            let changed = self.changed.notified();
            let wait_until = {
                let mut state = self.lock();
                if state.closed {
                    drop(state);
                    self.changed.notify_one();
                    return None;
                }
                state.release_due(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone());
                    state.taken(&key);
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(key);
                }
                state.delayed.peek().map(|Reverse((at, _))| *at)
            };
            match wait_until {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    /// Whether a worker has to be woken.
    fn add(&mut self, key: K) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) {
            return false;
        }
        if let Some(measured) = &mut self.measured {
            measured.metrics.added();
            measured.waiting.insert(key.clone(), Instant::now());
        }
        if self.working.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        self.tell_depth();
        true
    }

    /// A key goes from waiting to being worked on.
    fn taken(&mut self, key: &K) {
        if let Some(measured) = &mut self.measured {
            if let Some(since) = measured.waiting.remove(key) {
                measured.metrics.waited(since.elapsed());
            }
            measured.working.insert(key.clone(), Instant::now());
        }
        self.tell_depth();
    }

    fn tell_depth(&self) {
        if let Some(measured) = &self.measured {
            measured.metrics.waiting(self.ready.len());
        }
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if self.closed {
            return;
        }
        if let Some((due, number)) = self.due.get(&key) {
            if *due <= at {
                return;
            }
            self.delayed_keys.remove(number);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.delayed.push(Reverse((at, number)));
        self.delayed_keys.insert(number, key.clone());
        self.due.insert(key, (at, number));
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(Reverse((at, number))) = self.delayed.peek().copied() {
            let superseded = !self.delayed_keys.contains_key(&number);
            if at > now && !superseded {
                break;
            }
            self.delayed.pop();
            if let Some(key) = self.delayed_keys.remove(&number) {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_measured_queue_counts_its_keys() {
        let part = orlop_metrics::PartMetrics::new("v1.36.0");
        let queue = WorkQueue::measured(part.queue("things"));
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert!(part.render().contains("workqueue_depth{name=\"things\"} 2\n"));
        tokio::time::advance(Duration::from_secs(2)).await;
        let key = queue.next().await.unwrap();
        queue.add_rate_limited(key);
        queue.done(&key);
        let text = part.render();
        for line in [
            "workqueue_adds_total{name=\"things\"} 2\n",
            "workqueue_depth{name=\"things\"} 1\n",
            "workqueue_retries_total{name=\"things\"} 1\n",
            "workqueue_queue_duration_seconds_sum{name=\"things\"} 2.0\n",
            "workqueue_work_duration_seconds_count{name=\"things\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn a_failing_key_waits_five_milliseconds_doubling_to_a_thousand_seconds() {
        let delays: Vec<u128> = [0, 1, 2, 10, 17, 18, 40]
            .map(|n| retry_delay(n).as_millis())
            .to_vec();
        assert_eq!(delays, [5, 10, 20, 5120, 655_360, 1_000_000, 1_000_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_may_wait_longer_than_clocks_go() {
        let queue = WorkQueue::new();
        queue.add_after("never", Duration::from_secs(u64::MAX));
        queue.add_after("soon", Duration::from_secs(1));
        assert_eq!(queue.next().await, Some("soon"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_is_handed_out_once_and_again_only_after_done() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        assert!(queue.is_empty(), "not handed out while it is being worked on");
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn delays_release_in_order_and_the_earliest_delay_of_a_key_wins() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add_after("late", Duration::from_secs(5));
        queue.add_after("early", Duration::from_secs(3));
        queue.add_after("early", Duration::from_secs(1));
        queue.add_after("early", Duration::from_secs(9));
        assert_eq!(queue.next().await, Some("early"));
        assert_eq!(start.elapsed().as_secs(), 1);
        queue.done(&"early");
        assert_eq!(queue.next().await, Some("late"));
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(queue.lock().due.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn all_failing_keys_together_are_limited_to_ten_a_second_after_a_hundred() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        for key in 0..110 {
            queue.add_rate_limited(key);
        }
        for _ in 0..110 {
            let key = queue.next().await.unwrap();
            queue.done(&key);
        }
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test]
    async fn closing_ends_every_worker() {
        let queue = std::sync::Arc::new(WorkQueue::<u8>::new());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert_eq!(worker.await.unwrap(), None);
        }
    }
}
