//! What the scheduler counts, under upstream's names.
use crate::run::queue::Lengths;
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

/// Upper ends of the classes of the time from a pod's arrival to its binding, in seconds.
const WAITS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
    655.36, 1310.72, 2621.44, 5242.88,
];
/// Upper ends of the classes of numbers of attempts, and of victims.
const ATTEMPTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0];
const VICTIMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// From so many attempts on their number is no longer told.
const ATTEMPTS_TOLD_MAX: u32 = 15;

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
    profile: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tried {
    attempts: String,
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
    tried: Histogram,
    waited: Family<Tried, Histogram, fn() -> Histogram>,
    preemptions: Counter,
    victims: Histogram,
}

impl Metrics {
    /// Registers them with the part's.
    pub fn new(part: &PartMetrics) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(DURATIONS.iter().copied());
        let of = |classes: &'static [f64]| Histogram::new(classes.iter().copied());
        let waits: fn() -> Histogram = || Histogram::new(WAITS.iter().copied());
        let metrics = Self {
            attempts: Family::default(),
            durations: Family::new_with_constructor(histogram),
            algorithm: histogram(),
            binding: histogram(),
            whole: histogram(),
            waiting: Family::default(),
            tried: of(ATTEMPTS),
            waited: Family::new_with_constructor(waits),
            preemptions: Counter::default(),
            victims: of(VICTIMS),
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
            registry.register(
                name("pod_scheduling_attempts"),
                "Attempts that it took to place a pod",
                metrics.tried.clone(),
            );
            registry.register(
                name("pod_scheduling_sli_duration_seconds"),
                "Time from a pod's arrival to its binding",
                metrics.waited.clone(),
            );
            registry.register(
                name("preemption_attempts"),
                "Attempts to make room for a pod",
                metrics.preemptions.clone(),
            );
            registry.register(
                name("preemption_victims"),
                "Pods that had to go for one",
                metrics.victims.clone(),
            );
        });
        metrics
    }

    /// A node was looked for.
    pub fn decided(&self, time: Duration) {
        self.algorithm.observe(time.as_secs_f64());
    }

    /// A pod has its node, after so many attempts and that long after it came.
    pub fn placed(&self, attempts: u32, waited: Duration) {
        self.tried.observe(f64::from(attempts));
        let told = match attempts {
            ATTEMPTS_TOLD_MAX.. => format!("{ATTEMPTS_TOLD_MAX}+"),
            few => few.to_string(),
        };
        let waited = waited.as_secs_f64();
        self.waited
            .get_or_create(&Tried { attempts: told })
            .observe(waited);
    }

    /// Room was looked for by making others go; how many have to, if there is a way.
    #[expect(clippy::cast_precision_loss, reason = "numbers of pods are small")]
    pub fn preempted(&self, victims: Option<usize>) {
        self.preemptions.inc();
        if let Some(victims) = victims {
            self.victims.observe(victims as f64);
        }
    }

    /// An attempt for a pod of that scheduler ended. `binding`: how long the binding took, if there was one.
    pub fn ended(&self, profile: &str, attempt: Attempt, whole: Duration, binding: Option<Duration>) {
        let ended = Ended {
            result: match attempt {
                Attempt::Scheduled => "scheduled",
                Attempt::Unschedulable => "unschedulable",
                Attempt::Error => "error",
            },
            profile: profile.to_owned(),
        };
        self.attempts.get_or_create(&ended).inc();
        self.durations.get_or_create(&ended).observe(whole.as_secs_f64());
        if let Some(binding) = binding {
            self.binding.observe(binding.as_secs_f64());
            self.whole.observe(whole.as_secs_f64());
        }
    }

    /// So many pods wait now, and so many don't even do that yet.
    pub fn waiting(&self, lengths: Lengths, gated: usize) {
        for (queue, pods) in [
            ("active", lengths.active),
            ("backoff", lengths.backing_off),
            ("unschedulable", lengths.waiting),
            ("gated", gated),
        ] {
            let pods = i64::try_from(pods).unwrap_or(i64::MAX);
            self.waiting.get_or_create(&Waiting { queue }).set(pods);
        }
    }
}
