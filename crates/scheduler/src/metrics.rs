//! What the scheduler counts, under upstream's names.
use orlop_metrics::PartMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

/// Upper ends of the classes of durations, in seconds: doubling from a millisecond, upstream's.
const DURATIONS: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];

/// How an attempt to place a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Scheduled,
    Unschedulable,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    result: &'static str,
    profile: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Waiting {
    queue: &'static str,
}

/// The series of one scheduler.
pub struct Metrics {
    attempts: Family<Ended, Counter>,
    durations: Family<Ended, Histogram, fn() -> Histogram>,
    algorithm: Histogram,
    binding: Histogram,
    whole: Histogram,
    waiting: Family<Waiting, Gauge>,
}

impl Metrics {
    /// Registers them with the part's.
    pub fn new(part: &PartMetrics) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(DURATIONS.iter().copied());
        let metrics = Self {
            attempts: Family::default(),
            durations: Family::new_with_constructor(histogram),
            algorithm: histogram(),
            binding: histogram(),
            whole: histogram(),
            waiting: Family::default(),
        };
        part.registry(|registry| {
            let name = |name: &str| format!("scheduler_{name}");
            registry.register(
                name("schedule_attempts"),
                "Attempts to place pods",
                metrics.attempts.clone(),
            );
            registry.register(
                name("scheduling_attempt_duration_seconds"),
                "Time of an attempt, binding included",
                metrics.durations.clone(),
            );
            registry.register(
                name("scheduling_algorithm_duration_seconds"),
                "Time to choose a node",
                metrics.algorithm.clone(),
            );
            registry.register(
                name("binding_duration_seconds"),
                "Time to bind",
                metrics.binding.clone(),
            );
            registry.register(
                name("e2e_scheduling_duration_seconds"),
                "Time from the choice of a pod to its binding",
                metrics.whole.clone(),
            );
            // Volumes are bound by nobody here yet; dashboards ask all the same.
            registry.register(
                name("volume_scheduling_duration_seconds"),
                "Time to choose volumes",
                histogram(),
            );
            registry.register(
                name("pending_pods"),
                "Pods that wait for a node",
                metrics.waiting.clone(),
            );
        });
        metrics
    }

    /// A node was looked for.
    pub fn decided(&self, time: Duration) {
        self.algorithm.observe(time.as_secs_f64());
    }

    /// An attempt ended. `binding`: how long the binding took, if there was one.
    pub fn ended(&self, attempt: Attempt, whole: Duration, binding: Option<Duration>) {
        let ended = Ended {
            result: match attempt {
                Attempt::Scheduled => "scheduled",
                Attempt::Unschedulable => "unschedulable",
                Attempt::Error => "error",
            },
            profile: "default-scheduler",
        };
        self.attempts.get_or_create(&ended).inc();
        self.durations.get_or_create(&ended).observe(whole.as_secs_f64());
        if let Some(binding) = binding {
            self.binding.observe(binding.as_secs_f64());
            self.whole.observe(whole.as_secs_f64());
        }
    }

    /// So many pods wait now.
    pub fn waiting(&self, pods: usize) {
        let pods = i64::try_from(pods).unwrap_or(i64::MAX);
        self.waiting.get_or_create(&Waiting { queue: "active" }).set(pods);
    }
}
