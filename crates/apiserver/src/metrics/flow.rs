//! How requests shared the server: `apiserver_flowcontrol_…`.
use crate::flow::{Admitted, Class, LevelState, TurnedAway};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper ends of the classes of waiting times, in seconds; upstream's.
const WAITS: &[f64] = &[
    0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rejected {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Waited {
    priority_level: String,
    flow_schema: String,
    execute: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Level {
    priority_level: String,
}

/// The series of one server.
pub struct FlowMetrics {
    dispatched: Family<Of, Counter>,
    rejected: Family<Rejected, Counter>,
    waited: Family<Waited, Histogram, fn() -> Histogram>,
    nominal: Family<Level, Gauge>,
    seated: Family<Level, Gauge>,
    waiting: Family<Level, Gauge>,
}

impl Default for FlowMetrics {
    fn default() -> Self {
        Self {
            dispatched: Family::default(),
            rejected: Family::default(),
            waited: Family::new_with_constructor(|| Histogram::new(WAITS.iter().copied())),
            nominal: Family::default(),
            seated: Family::default(),
            waiting: Family::default(),
        }
    }
}

impl FlowMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let mut named = |name: &str, help: &str, metric: &dyn Register| {
            metric.register(registry, &format!("apiserver_flowcontrol_{name}"), help);
        };
        named(
            "dispatched_requests",
            "Requests that were let in",
            &self.dispatched,
        );
        named(
            "rejected_requests",
            "Requests that were turned away",
            &self.rejected,
        );
        named(
            "request_wait_duration_seconds",
            "Time that requests waited for a seat",
            &self.waited,
        );
        named("nominal_limit_seats", "Seats of a priority level", &self.nominal);
        named(
            "current_executing_seats",
            "Seats that are taken now",
            &self.seated,
        );
        named(
            "current_inqueue_requests",
            "Requests that wait now",
            &self.waiting,
        );
    }

    pub fn admitted(&self, admitted: &Admitted) {
        let Some(class) = &admitted.class else {
            return;
        };
        self.dispatched.get_or_create(&of(class)).inc();
        if !admitted.waited.is_zero() {
            self.wait(class, true, admitted.waited.as_secs_f64());
        }
    }

    pub fn turned_away(&self, turned_away: &TurnedAway) {
        let (priority_level, flow_schema) =
            turned_away.class.as_ref().map_or_else(Default::default, |class| {
                let Of {
                    priority_level,
                    flow_schema,
                } = of(class);
                (priority_level, flow_schema)
            });
        let rejected = Rejected {
            priority_level,
            flow_schema,
            reason: turned_away.reason,
        };
        self.rejected.get_or_create(&rejected).inc();
    }

    fn wait(&self, class: &Class, execute: bool, seconds: f64) {
        let Of {
            priority_level,
            flow_schema,
        } = of(class);
        let waited = Waited {
            priority_level,
            flow_schema,
            execute,
        };
        self.waited.get_or_create(&waited).observe(seconds);
    }

    /// Takes in what the levels do now.
    pub fn observe(&self, levels: &[LevelState]) {
        for level in levels {
            let of = Level {
                priority_level: level.name.to_string(),
            };
            self.nominal.get_or_create(&of).set(i64::from(level.nominal));
            self.seated.get_or_create(&of).set(i64::from(level.seated));
            let waiting = i64::try_from(level.waiting).unwrap_or(i64::MAX);
            self.waiting.get_or_create(&of).set(waiting);
        }
    }
}

fn of(class: &Class) -> Of {
    Of {
        priority_level: class.level.to_string(),
        flow_schema: class.schema.to_string(),
    }
}

/// A family that can be registered.
trait Register {
    fn register(&self, registry: &mut Registry, name: &str, help: &str);
}

impl<S, M, C> Register for Family<S, M, C>
where
    Self: prometheus_client::registry::Metric + Clone,
{
    fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register(name, help, self.clone());
    }
}
