//! `networking.k8s.io` (contract §18).
use super::definition::{Resource, STATUS};
use super::meaning::{fill, items};
use super::rules::Rules;
use serde_json::{Value, json};

pub const INGRESSES: Resource = Resource::new("networking.k8s.io", "ingresses", "ingress", "Ingress")
    .short(&["ing"])
    .stored_under("ingress")
    .with_subresources(&[STATUS])
    .with_rules(Rules::WITH_GENERATION);

pub const INGRESSCLASSES: Resource = Resource::new(
    "networking.k8s.io",
    "ingressclasses",
    "ingressclass",
    "IngressClass",
)
.cluster_scoped()
.with_rules(Rules::WITH_GENERATION);

pub const NETWORKPOLICIES: Resource = Resource::new(
    "networking.k8s.io",
    "networkpolicies",
    "networkpolicy",
    "NetworkPolicy",
)
.short(&["netpol"])
.with_rules(Rules {
    default: default_policy,
    ..Rules::WITH_GENERATION
});

fn default_policy(policy: &mut Value) {
    let spec = &mut policy["spec"];
    let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
    fill(spec, "policyTypes", || match egress {
        true => json!(["Ingress", "Egress"]),
        false => json!(["Ingress"]),
    });
    for direction in ["ingress", "egress"] {
        for rule in items(&mut spec[direction]) {
            for port in items(&mut rule["ports"]) {
                fill(port, "protocol", || json!("TCP"));
            }
        }
    }
}
