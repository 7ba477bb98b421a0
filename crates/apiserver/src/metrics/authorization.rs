//! What authorizers decide, and how webhooks among them are asked.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Upper ends of the classes of durations, in seconds; upstream's.
const WEBHOOKS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    decision: &'static str,
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Matched {
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    name: String,
    result: &'static str,
}

type Durations = Family<Asked, Histogram, fn() -> Histogram>;

/// All of that.
pub struct AuthorizationMetrics {
    decisions: Family<Decided, Counter>,
    passed_by: Family<Matched, Counter>,
    not_matched: Family<Matched, Counter>,
    asked: Family<Asked, Counter>,
    failed_open: Family<Asked, Counter>,
    durations: Durations,
}

impl Default for AuthorizationMetrics {
    fn default() -> Self {
        Self {
            decisions: Family::default(),
            passed_by: Family::default(),
            not_matched: Family::default(),
            asked: Family::default(),
            failed_open: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(WEBHOOKS.iter().copied())),
        }
    }
}

impl AuthorizationMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_authorization_decisions",
            "Decisions about what callers may do, by who has made them",
            self.decisions.clone(),
        );
        registry.register(
            "apiserver_authorization_match_condition_exclusions",
            "Times that a webhook was not asked because of its conditions",
            self.passed_by.clone(),
        );
        registry.register(
            "apiserver_authorization_match_condition_evaluation_errors",
            "Times that the conditions of a webhook had no answer",
            self.not_matched.clone(),
        );
        registry.register(
            "apiserver_authorization_webhook_evaluations",
            "Questions to webhooks",
            self.asked.clone(),
        );
        registry.register(
            "apiserver_authorization_webhook_evaluations_fail_open",
            "Questions to webhooks whose failure left it to others",
            self.failed_open.clone(),
        );
        registry.register(
            "apiserver_authorization_webhook_duration_seconds",
            "Time that webhooks took",
            self.durations.clone(),
        );
    }

    /// One has allowed or denied something.
    pub fn decided(&self, sort: &'static str, name: &str, decision: &'static str) {
        let decided = Decided {
            decision,
            name: name.to_owned(),
            r#type: sort,
        };
        self.decisions.get_or_create(&decided).inc();
    }

    /// A webhook was not asked.
    pub fn passed_by(&self, name: &str) {
        self.passed_by.get_or_create(&of_webhook(name)).inc();
    }

    /// Whether a webhook was to be asked could not be told.
    pub fn not_matched(&self, name: &str) {
        self.not_matched.get_or_create(&of_webhook(name)).inc();
    }

    /// A webhook was asked.
    pub fn asked(&self, name: &str, result: &'static str, lasted: Duration) {
        let asked = Asked {
            name: name.to_owned(),
            result,
        };
        self.asked.get_or_create(&asked).inc();
        self.durations.get_or_create(&asked).observe(lasted.as_secs_f64());
    }

    /// That brought nothing, and others were asked.
    pub fn failed_open(&self, name: &str, result: &'static str) {
        let asked = Asked {
            name: name.to_owned(),
            result,
        };
        self.failed_open.get_or_create(&asked).inc();
    }
}

fn of_webhook(name: &str) -> Matched {
    Matched {
        name: name.to_owned(),
        r#type: "Webhook",
    }
}
