//! What Pod Security comes to.
use crate::admission::Operation;
use orlop_api::pod_security::{Standard, Version};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Evaluated {
    decision: &'static str,
    mode: &'static str,
    policy_level: String,
    policy_version: String,
    request_operation: &'static str,
    resource: &'static str,
    subresource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Exempt {
    request_operation: &'static str,
    resource: &'static str,
    subresource: &'static str,
}

/// What was written, as counts name it.
#[derive(Clone, Copy)]
pub struct Written<'r> {
    pub operation: Operation,
    /// The plural of the kind.
    pub plural: &'r str,
    pub subresource: &'r str,
}

/// Evaluations by what they come to, and what was not evaluated.
pub struct PodSecurityMetrics {
    evaluations: Family<Evaluated, Counter>,
    exemptions: Family<Exempt, Counter>,
}

impl Default for PodSecurityMetrics {
    fn default() -> Self {
        let metrics = Self {
            evaluations: Family::default(),
            exemptions: Family::default(),
        };
        // Who has never exempted anything shows that.
        for operation in [Operation::Create, Operation::Update] {
            for plural in ["pods", "deployments"] {
                let written = Written {
                    operation,
                    plural,
                    subresource: "",
                };
                drop(metrics.exemptions.get_or_create(&exempt(written)));
            }
        }
        metrics
    }
}

impl PodSecurityMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "pod_security_evaluations",
            "Policies that were looked at for something that was written",
            self.evaluations.clone(),
        );
        registry.register(
            "pod_security_exemptions",
            "Times that no policy was looked at, because of who or what it was",
            self.exemptions.clone(),
        );
    }

    /// `mode`: enforce, audit or warn.
    pub fn evaluated(&self, written: Written<'_>, mode: &'static str, standard: Standard, allowed: bool) {
        let of = exempt(written);
        let evaluated = Evaluated {
            decision: if allowed { "allow" } else { "deny" },
            mode,
            policy_level: standard.level.to_string(),
            policy_version: match standard.version {
                Version::Latest => "latest".to_owned(),
                version => version.to_string(),
            },
            request_operation: of.request_operation,
            resource: of.resource,
            subresource: of.subresource,
        };
        self.evaluations.get_or_create(&evaluated).inc();
    }

    pub fn exempted(&self, written: Written<'_>) {
        self.exemptions.get_or_create(&exempt(written)).inc();
    }
}

fn exempt(written: Written<'_>) -> Exempt {
    Exempt {
        request_operation: match written.operation {
            Operation::Update => "update",
            _ => "create",
        },
        resource: match written.plural {
            "pods" => "pod",
            "namespaces" => "namespace",
            _ => "controller",
        },
        subresource: match written.subresource {
            "ephemeralcontainers" => "ephemeralcontainers",
            "resize" => "resize",
            _ => "",
        },
    }
}
