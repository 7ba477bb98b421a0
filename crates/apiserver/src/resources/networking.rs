//! `networking.k8s.io`: stored and shown.
use super::definition::{Resource, STATUS};
use super::rules::Rules;

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
.with_rules(Rules::WITH_GENERATION);
