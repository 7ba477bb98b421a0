//! What the parts that are clients of the API server count: their queues and their calls. Each part has its own, also
//! where several run in one process.
use crate::{CallMetrics, CheckMetrics, exposition, process, runtime};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Upper ends of the classes of durations, in seconds.
const QUEUED: &[f64] = &[1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0];

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    name: &'static str,
}

/// The series of one part.
pub struct PartMetrics {
    /// On a page of their own.
    pub checks: CheckMetrics,
    /// Of its clients.
    pub calls: CallMetrics,
    registry: Mutex<Registry>,
    adds: Family<Queue, Counter>,
    retries: Family<Queue, Counter>,
    depth: Family<Queue, Gauge>,
    queued: Durations<Queue>,
    worked: Durations<Queue>,
}

impl PartMetrics {
    /// `git_version`: that of the part, such as `v1.36.0`.
    pub fn new(git_version: &str) -> Self {
        let queued: fn() -> Histogram = || Histogram::new(QUEUED.iter().copied());
        let mut registry = Registry::default();
        process::register(&mut registry);
        runtime::register_build(&mut registry, git_version);
        runtime::register_tasks(&mut registry);
        let part = Self {
            checks: CheckMetrics::default(),
            calls: CallMetrics::default(),
            registry: Mutex::default(),
            adds: Family::default(),
            retries: Family::default(),
            depth: Family::default(),
            queued: Family::new_with_constructor(queued),
            worked: Family::new_with_constructor(queued),
        };
        registry.register("workqueue_adds", "Keys added to a queue", part.adds.clone());
        registry.register(
            "workqueue_retries",
            "Keys that are tried again",
            part.retries.clone(),
        );
        registry.register("workqueue_depth", "Keys that wait now", part.depth.clone());
        registry.register(
            "workqueue_queue_duration_seconds",
            "Time that keys waited",
            part.queued.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "Time that keys were worked on",
            part.worked.clone(),
        );
        part.calls.register(&mut registry);
        *part.registry.lock() = registry;
        part
    }

    /// Adds what is the part's own.
    pub fn registry<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.registry.lock())
    }

    /// The series of a queue.
    pub fn queue(&self, name: &'static str) -> QueueMetrics {
        let queue = Queue { name };
        QueueMetrics {
            adds: self.adds.get_or_create_owned(&queue),
            retries: self.retries.get_or_create_owned(&queue),
            depth: self.depth.get_or_create_owned(&queue),
            queued: self.queued.get_or_create_owned(&queue),
            worked: self.worked.get_or_create_owned(&queue),
        }
    }

    /// All series, as text.
    pub fn render(&self) -> String {
        // Writing to a String cannot fail.
        exposition::render(&self.registry.lock()).unwrap_or_default()
    }
}

/// The series of one queue.
#[derive(Clone, Debug)]
pub struct QueueMetrics {
    adds: Counter,
    retries: Counter,
    depth: Gauge,
    queued: Histogram,
    worked: Histogram,
}

impl QueueMetrics {
    pub fn added(&self) {
        self.adds.inc();
    }

    pub fn retried(&self) {
        self.retries.inc();
    }

    /// So many keys wait now.
    pub fn waiting(&self, keys: usize) {
        self.depth.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// A key waited this long.
    pub fn waited(&self, time: Duration) {
        self.queued.observe(time.as_secs_f64());
    }

    /// A key was worked on this long.
    pub fn worked(&self, time: Duration) {
        self.worked.observe(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_own_series_only() {
        let (one, other) = (PartMetrics::new("v1.36.0"), PartMetrics::new("v1.36.0"));
        one.queue("daemonset").added();
        one.calls
            .called("GET", "localhost:6443", "200", Duration::from_millis(3));
        let text = one.render();
        assert!(
            text.contains("workqueue_adds_total{name=\"daemonset\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "rest_client_requests_total{code=\"200\",method=\"GET\",host=\"localhost:6443\"} 1\n"
            )
        );
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(text.contains("git_version=\"v1.36.0\""), "{text}");
        assert!(!other.render().contains("daemonset"));
    }
}
