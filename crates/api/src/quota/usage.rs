//! What one object uses.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use serde::Deserialize;
use serde_json::Value;

use super::names::{DEVICES_OF_CLASS, Kind, Measured, STORAGE_CLASS, count_name, is_extended};
use crate::pod::resources::{Resources, add, resource_limits, resource_requests};
use crate::quantity::{Amount, amount};

/// What an object uses of all that can be bounded, whether somebody bounds it or not.
pub fn usage(kind: Kind<'_>, object: &Value, now: Timestamp) -> Resources {
    let mut used = Resources::from([(count_name(kind), ONE)]);
    if let Some(name) = kind.old_name() {
        used.insert(name.to_owned(), ONE);
    }
    // Objects were checked against their types when they came in.
    match kind.measured() {
        Measured::Pods => used.extend(
            Pod::deserialize(object)
                .map(|pod| of_pod(&pod, now))
                .unwrap_or_default(),
        ),
        Measured::Services => used.extend(
            Service::deserialize(object)
                .map(|s| of_service(&s))
                .unwrap_or_default(),
        ),
        Measured::Claims => {
            let claim = PersistentVolumeClaim::deserialize(object);
            used.extend(claim.map(|claim| of_claim(&claim)).unwrap_or_default());
        }
        Measured::Devices => used.extend(of_device_claim(object)),
        Measured::No => {}
    }
    used
}

const ONE: Amount = Amount::ONE;

/// Pods that have ended, or should have long ago, use nothing but their place in the store.
fn of_pod(pod: &Pod, now: Timestamp) -> Resources {
    let overdue = pod.metadata.deletion_timestamp.as_ref().is_some_and(|deletion| {
        // The time of deletion includes the grace period.
        pod.metadata.deletion_grace_period_seconds.is_some() && deletion.0 < now
    });
    let Some(spec) = pod
        .spec
        .as_ref()
        .filter(|_| !crate::pod::is_terminal(pod) && !overdue)
    else {
        return Resources::new();
    };
    let mut used = compute(&resource_requests(spec), &resource_limits(spec));
    used.insert("pods".to_owned(), ONE);
    used
}

/// Requests and limits under the names that quotas use.
pub(super) fn compute(requests: &Resources, limits: &Resources) -> Resources {
    let mut used = Resources::new();
    for (name, requested) in requests {
        let bare =
            matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
        if bare {
            used.insert(name.clone(), *requested);
        }
        if bare || is_extended(name) {
            used.insert(format!("requests.{name}"), *requested);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(limit) = limits.get(name) {
            used.insert(format!("limits.{name}"), *limit);
        }
    }
    used
}

fn of_service(service: &Service) -> Resources {
    let Some(spec) = &service.spec else {
        return Resources::new();
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let all = ports.len();
    let named = ports
        .iter()
        .filter(|port| port.node_port.is_some_and(|n| n != 0))
        .count();
    let (node_ports, balancers) = match spec.type_.as_deref() {
        Some("NodePort") => (all, 0),
        // Ports are given later; what counts is whether they will be.
        Some("LoadBalancer") if spec.allocate_load_balancer_node_ports == Some(false) => (named, 1),
        Some("LoadBalancer") => (all, 1),
        _ => (0, 0),
    };
    let count = |n: usize| Amount::from_units(i64::try_from(n).unwrap_or(i64::MAX));
    Resources::from([
        ("services".to_owned(), ONE),
        ("services.nodeports".to_owned(), count(node_ports)),
        ("services.loadbalancers".to_owned(), count(balancers)),
    ])
}

fn of_claim(claim: &PersistentVolumeClaim) -> Resources {
    let spec = claim.spec.clone().unwrap_or_default();
    let requested = spec.resources.and_then(|r| r.requests).unwrap_or_default();
    let allocated = claim.status.as_ref().and_then(|s| s.allocated_resources.as_ref());
    let allocated = allocated.and_then(|a| a.get("storage")).map(amount);
    let storage = requested.get("storage").map(|quantity| {
        let asked = amount(quantity);
        allocated
            .map_or(asked, |allocated| asked.at_least(allocated))
            .rounded_up()
    });
    let mut used = Resources::from([("persistentvolumeclaims".to_owned(), ONE)]);
    used.extend(storage.map(|storage| ("requests.storage".to_owned(), storage)));
    let annotations = claim.metadata.annotations.as_ref();
    let class = annotations
        .and_then(|a| a.get("volume.beta.kubernetes.io/storage-class").cloned())
        .or(spec.storage_class_name)
        .filter(|class| !class.is_empty());
    if let Some(class) = class {
        let of_class: Vec<_> = used
            .iter()
            .map(|(name, amount)| (format!("{class}{STORAGE_CLASS}{name}"), *amount))
            .collect();
        used.extend(of_class);
    }
    used
}

/// What one request for all devices of a class may be given: the most results an allocation has.
const DEVICES_MAX: i64 = 32;

/// Devices by their class; of alternatives, the most of each class that one of them asks for.
fn of_device_claim(claim: &Value) -> Resources {
    let mut used = Resources::new();
    for request in claim["spec"]["devices"]["requests"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let mut most = Resources::new();
        let alternatives = request["firstAvailable"].as_array();
        let exactly = request.get("exactly").into_iter();
        for asked in alternatives.into_iter().flatten().chain(exactly) {
            let count = match asked["allocationMode"].as_str() {
                None | Some("" | "ExactCount") => asked["count"].as_i64().unwrap_or(1),
                Some("All") => DEVICES_MAX,
                Some(_) => 0,
            };
            let class = asked["deviceClassName"].as_str().unwrap_or_default();
            let devices = most.entry(format!("{class}{DEVICES_OF_CLASS}")).or_default();
            *devices = devices.at_least(Amount::from_units(count));
        }
        add(&mut used, &most);
    }
    used
}
