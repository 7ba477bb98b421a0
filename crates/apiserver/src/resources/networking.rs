//! `networking.k8s.io` (contract §18).
mod ingresses;
mod policies;
mod ranges;

use super::definition::{Field, Read, Resource, STATUS};
use super::meaning::fill;
use super::rules::{Rules, StatusMetadata};
use crate::status::{Cause, cause};
use ingresses::{ingress_warnings, validate_class, validate_ingress};
use policies::{default_policy, validate_policy};
use ranges::{validate_address, validate_cidr, validate_cidr_update};
use serde_json::{Value, json};

const GROUP: &str = "networking.k8s.io";

pub const INGRESSES: Resource = Resource::new(GROUP, "ingresses", "ingress", "Ingress")
    .short(&["ing"])
    .stored_under("ingress")
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        prepare_create: |ingress| ingress["status"] = json!({"loadBalancer": {}}),
        validate_create: validate_ingress,
        validate_update: |new, _| validate_ingress(new),
        warnings: ingress_warnings,
        ..Rules::WITH_GENERATION
    });

pub const INGRESSCLASSES: Resource = Resource::new(GROUP, "ingressclasses", "ingressclass", "IngressClass")
    .cluster_scoped()
    .with_rules(Rules {
        default: |class| {
            if class["spec"]["parameters"].is_object() {
                fill(&mut class["spec"]["parameters"], "scope", || json!("Cluster"));
            }
        },
        validate_create: validate_class,
        validate_update: |new, old| {
            let mut causes = validate_class(new);
            let controller = &new["spec"]["controller"];
            if *controller != old["spec"]["controller"] {
                causes.push(cause::invalid(
                    "spec.controller",
                    controller,
                    "field is immutable",
                ));
            }
            causes
        },
        ..Rules::WITH_GENERATION
    });

/// An address that belongs to somebody; its name is the address.
pub const IPADDRESSES: Resource = Resource::new(GROUP, "ipaddresses", "ipaddress", "IPAddress")
    .cluster_scoped()
    .short(&["ip"])
    .with_fields(&[Field {
        name: "spec.parentRef.name",
        read: Read::Text("/spec/parentRef/name"),
    }])
    .with_rules(Rules {
        validate_create: validate_address,
        validate_update: |new, old| fixed(new, old, "parentRef"),
        ..Rules::GENERIC
    });

pub const SERVICECIDRS: Resource = Resource::new(GROUP, "servicecidrs", "servicecidr", "ServiceCIDR")
    .cluster_scoped()
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        status_metadata: StatusMetadata::Kept,
        prepare_create: |range| range["status"] = json!({}),
        validate_create: validate_cidr,
        validate_update: validate_cidr_update,
        ..Rules::GENERIC
    });

pub const NETWORKPOLICIES: Resource =
    Resource::new(GROUP, "networkpolicies", "networkpolicy", "NetworkPolicy")
        .short(&["netpol"])
        .with_rules(Rules {
            default: default_policy,
            validate_create: validate_policy,
            validate_update: |new, _| validate_policy(new),
            ..Rules::WITH_GENERATION
        });

fn list<'v>(object: &'v Value, member: &str) -> impl Iterator<Item = (usize, &'v Value)> + Clone {
    object[member].as_array().into_iter().flatten().enumerate()
}

fn text<'v>(object: &'v Value, member: &str) -> &'v str {
    object[member].as_str().unwrap_or_default()
}

fn fixed(new: &Value, old: &Value, member: &str) -> Vec<Cause> {
    if new["spec"][member] == old["spec"][member] {
        return Vec::new();
    }
    let field = format!("spec.{member}");
    vec![cause::invalid(&field, &new["spec"][member], "field is immutable")]
}
