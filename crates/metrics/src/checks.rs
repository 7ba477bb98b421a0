//! Outcomes of health checks, for `/metrics/slis`: what dashboards of a service level read.
use crate::exposition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Check {
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Checked {
    name: String,
    r#type: &'static str,
    status: &'static str,
}

/// The series of one part.
#[derive(Debug)]
pub struct CheckMetrics {
    registry: Registry,
    last: Family<Check, Gauge>,
    outcomes: Family<Checked, Counter>,
}

impl Default for CheckMetrics {
    fn default() -> Self {
        let (last, outcomes) = (Family::default(), Family::default());
        let mut registry = Registry::default();
        registry.register(
            "kubernetes_healthcheck",
            "The last outcome of a health check",
            Family::clone(&last),
        );
        registry.register(
            "kubernetes_healthchecks",
            "Outcomes of health checks",
            Family::clone(&outcomes),
        );
        Self {
            registry,
            last,
            outcomes,
        }
    }
}

impl CheckMetrics {
    /// A check was made for an endpoint, such as `readyz`.
    pub fn checked(&self, endpoint: &'static str, name: &str, passed: bool) {
        let check = Check {
            name: name.to_owned(),
            r#type: endpoint,
        };
        self.last.get_or_create(&check).set(i64::from(passed));
        let checked = Checked {
            name: check.name,
            r#type: endpoint,
            status: if passed { "success" } else { "error" },
        };
        self.outcomes.get_or_create(&checked).inc();
    }

    /// All series, as text.
    pub fn render(&self) -> String {
        // Writing to a String cannot fail.
        exposition::render(&self.registry).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_outcome_is_shown_and_all_are_counted() {
        let checks = CheckMetrics::default();
        checks.checked("readyz", "etcd", true);
        checks.checked("readyz", "etcd", true);
        checks.checked("readyz", "etcd", false);
        checks.checked("healthz", "ping", true);
        let text = checks.render();
        for line in [
            r#"kubernetes_healthcheck{name="etcd",type="readyz"} 0"#,
            r#"kubernetes_healthcheck{name="ping",type="healthz"} 1"#,
            r#"kubernetes_healthchecks_total{name="etcd",type="readyz",status="success"} 2"#,
            r#"kubernetes_healthchecks_total{name="etcd",type="readyz",status="error"} 1"#,
            r#"kubernetes_healthchecks_total{name="ping",type="healthz",status="success"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
