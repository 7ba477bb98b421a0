//! What a client of the API server counts: its calls, and how long their answers took.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Upper ends of the classes of durations, in seconds.
const CALLED: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    code: String,
    method: String,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    verb: String,
    host: String,
}

/// The series of one part's calls; a clone is another handle.
#[derive(Clone)]
pub struct CallMetrics {
    calls: Family<Called, Counter>,
    lasted: Family<Call, Histogram, fn() -> Histogram>,
}

impl Default for CallMetrics {
    fn default() -> Self {
        let called: fn() -> Histogram = || Histogram::new(CALLED.iter().copied());
        Self {
            calls: Family::default(),
            lasted: Family::new_with_constructor(called),
        }
    }
}

impl CallMetrics {
    /// Adds them to what a registry shows.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "rest_client_requests",
            "Calls to the API server",
            self.calls.clone(),
        );
        registry.register(
            "rest_client_request_duration_seconds",
            "Time until the API server answered",
            self.lasted.clone(),
        );
    }

    /// The API server answered (`code`: `<error>` if it did not).
    pub fn called(&self, method: &str, host: &str, code: &str, lasted: Duration) {
        let host = host.to_owned();
        let called = Called {
            code: code.to_owned(),
            method: method.to_owned(),
            host: host.clone(),
        };
        self.calls.get_or_create(&called).inc();
        let call = Call {
            verb: method.to_owned(),
            host,
        };
        self.lasted.get_or_create(&call).observe(lasted.as_secs_f64());
    }
}
