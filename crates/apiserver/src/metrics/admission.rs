//! How long admission takes, and what webhooks answer.
use crate::admission::Operation;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::OnceLock;
use std::time::Duration;

/// Upper ends of the classes of durations, in seconds; upstream's.
const STEPS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const WEBHOOKS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Upstream gives no number above this.
const CODE_MAX: u16 = 600;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Passed {
    name: &'static str,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    code: u16,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rejected {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Opened {
    name: String,
    r#type: &'static str,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// The phases of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Admit,
    Validate,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
        }
    }
}

/// The series of a plugin's passings by phase and operation, once it has let something pass: most plugins take less time
/// than to find their series among all.
#[derive(Default)]
pub struct Passings([[OnceLock<Histogram>; Operation::COUNT]; 2]);

/// What became of a question to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// With this status code.
    Denied(u16),
    /// There was no usable answer, and without one the request is refused.
    Failed,
    /// There was none, and the request goes on.
    FailedOpen,
}

/// A webhook that was asked about a request.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    pub webhook: &'q str,
    /// `admit` or `validating`.
    pub kind: &'static str,
    pub operation: Operation,
}

/// See the module's documentation.
#[derive(Clone)]
pub struct AdmissionMetrics {
    steps: Durations<Step>,
    plugins: Durations<Passed>,
    asked: Durations<Asked>,
    answered: Family<Answered, Counter>,
    rejected: Family<Rejected, Counter>,
    opened: Family<Opened, Counter>,
}

impl Default for AdmissionMetrics {
    fn default() -> Self {
        Self {
            steps: Family::new_with_constructor(|| Histogram::new(STEPS.iter().copied())),
            plugins: Family::new_with_constructor(|| Histogram::new(STEPS.iter().copied())),
            asked: Family::new_with_constructor(|| Histogram::new(WEBHOOKS.iter().copied())),
            answered: Family::default(),
            rejected: Family::default(),
            opened: Family::default(),
        }
    }
}

fn text(rejected: bool) -> &'static str {
    if rejected { "true" } else { "false" }
}

impl AdmissionMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_admission_step_admission_duration_seconds",
            "Time that a phase of admission took",
            self.steps.clone(),
        );
        registry.register(
            "apiserver_admission_controller_admission_duration_seconds",
            "Time that a plugin of admission took",
            self.plugins.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_admission_duration_seconds",
            "Time that a webhook took",
            self.asked.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_request",
            "Questions to webhooks",
            self.answered.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_rejection_count",
            "Requests that were refused because of webhooks",
            self.rejected.clone(),
        );
        registry.register(
            "apiserver_admission_webhook_fail_open_count",
            "Requests that went on without a webhook's answer",
            self.opened.clone(),
        );
    }

    /// A phase is over.
    pub fn step(&self, phase: Phase, operation: Operation, rejected: bool, took: Duration) {
        let step = Step {
            r#type: phase.name(),
            operation: operation.name(),
            rejected: text(rejected),
        };
        self.steps.get_or_create(&step).observe(took.as_secs_f64());
    }

    /// A plugin is through with its part of a phase. `passings`: its own.
    pub fn plugin(
        &self,
        passings: &Passings,
        name: &'static str,
        phase: Phase,
        operation: Operation,
        rejected: bool,
        took: Duration,
    ) {
        let series = || {
            self.plugins.get_or_create_owned(&Passed {
                name,
                r#type: phase.name(),
                operation: operation.name(),
                rejected: text(rejected),
            })
        };
        let took = took.as_secs_f64();
        match rejected {
            true => series().observe(took),
            false => passings.0[phase as usize][operation as usize]
                .get_or_init(series)
                .observe(took),
        }
    }

    pub fn asked(&self, question: Question<'_>, verdict: Verdict, took: Duration) {
        let (rejected, code, error) = match verdict {
            Verdict::Allowed => (false, 200, ""),
            Verdict::Denied(code) => (true, code.min(CODE_MAX), "no_error"),
            Verdict::Failed => (true, 500, "calling_webhook_error"),
            Verdict::FailedOpen => (false, 500, "calling_webhook_error"),
        };
        let (name, kind, operation) = (
            question.webhook.to_owned(),
            question.kind,
            question.operation.name(),
        );
        let asked = Asked {
            name: name.clone(),
            r#type: kind,
            operation,
            rejected: text(rejected),
        };
        self.asked.get_or_create(&asked).observe(took.as_secs_f64());
        let answered = Answered {
            name: name.clone(),
            r#type: kind,
            operation,
            code,
            rejected: text(rejected),
        };
        self.answered.get_or_create(&answered).inc();
        if !error.is_empty() {
            let rejected = Rejected {
                name: name.clone(),
                r#type: kind,
                operation,
                error_type: error,
                rejection_code: if verdict == Verdict::FailedOpen { 0 } else { code },
            };
            self.rejected.get_or_create(&rejected).inc();
        }
        if verdict == Verdict::FailedOpen {
            self.opened.get_or_create(&Opened { name, r#type: kind }).inc();
        }
    }
}
