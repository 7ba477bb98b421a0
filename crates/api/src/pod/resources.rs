//! What a whole pod asks for: regular containers and sidecars together, or the hungriest moment of
//! initialisation if that is more, plus overhead; pod-level values override.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity::{Amount, amount};

/// Resource name → amount.
pub type Resources = BTreeMap<String, Amount>;

/// Reads a quantity map.
pub fn amounts(map: Option<&BTreeMap<String, Quantity>>) -> Resources {
    map.map(|m| m.iter().map(|(k, q)| (k.clone(), amount(q))).collect())
        .unwrap_or_default()
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Resources, more: &Resources) {
    for (key, a) in more {
        let entry = sum.entry(key.clone()).or_default();
        *entry = entry.plus(*a);
    }
}

fn raise(max: &mut Resources, other: &Resources) {
    for (key, a) in other {
        max.entry(key.clone())
            .and_modify(|m| *m = m.at_least(*a))
            .or_insert(*a);
    }
}

fn aggregate(
    spec: &PodSpec,
    pick: impl Fn(&ResourceRequirements) -> Option<&BTreeMap<String, Quantity>>,
) -> Resources {
    let of = |c: &Container| amounts(c.resources.as_ref().and_then(&pick));
    let mut running = Resources::new();
    for container in &spec.containers {
        add(&mut running, &of(container));
    }
    let mut sidecars = Resources::new();
    let mut initialising = Resources::new();
    for init in super::init_containers(spec) {
        let mut moment = of(init);
        if super::is_sidecar(init) {
            add(&mut sidecars, &moment);
            moment = sidecars.clone();
        } else {
            add(&mut moment, &sidecars);
        }
        raise(&mut initialising, &moment);
    }
    add(&mut running, &sidecars);
    raise(&mut running, &initialising);
    if let Some(map) = spec.resources.as_ref().and_then(&pick) {
        // Only cpu, memory and huge pages can be set for a pod as a whole.
        for (key, quantity) in map {
            if is_pod_level(key) {
                running.insert(key.clone(), amount(quantity));
            }
        }
    }
    running
}

/// Resources that may be given in pod-level `spec.resources`.
pub fn is_pod_level(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || resource.starts_with("hugepages-")
}

/// What the containers request, without overhead.
pub fn container_requests(spec: &PodSpec) -> Resources {
    aggregate(spec, |r| r.requests.as_ref())
}

/// What the containers may use at most, without overhead. See [`resource_limits`].
pub fn container_limits(spec: &PodSpec) -> Resources {
    aggregate(spec, |r| r.limits.as_ref())
}

/// What a pod requests of its node, overhead included.
pub fn resource_requests(spec: &PodSpec) -> Resources {
    let mut sum = container_requests(spec);
    add(&mut sum, &amounts(spec.overhead.as_ref()));
    sum
}

/// What a pod may use at most; overhead only counts where a limit exists. A resource that some container
/// leaves unlimited still shows the sum of the others: ask [`every_container_limits`] before enforcing it.
pub fn resource_limits(spec: &PodSpec) -> Resources {
    let mut sum = container_limits(spec);
    for (key, overhead) in amounts(spec.overhead.as_ref()) {
        if let Some(limit) = sum.get_mut(&key).filter(|l| !l.is_zero()) {
            *limit = limit.plus(overhead);
        }
    }
    sum
}

/// Is the resource limited for the pod as a whole, or for each regular container and sidecar?
pub fn every_container_limits(spec: &PodSpec, resource: &str) -> bool {
    let has = |r: Option<&ResourceRequirements>| {
        r.and_then(|r| r.limits.as_ref())
            .and_then(|l| l.get(resource))
            .is_some_and(|q| !amount(q).is_zero())
    };
    has(spec.resources.as_ref())
        || spec
            .containers
            .iter()
            .chain(
                super::init_containers(spec)
                    .iter()
                    .filter(|c| super::is_sidecar(c)),
            )
            .all(|c| has(c.resources.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn cpu(n: &str) -> serde_json::Value {
        json!({"requests": {"cpu": n}, "limits": {"cpu": n}})
    }

    #[test]
    fn init_and_sidecar_rule() {
        for (name, value, want) in [
            (
                "sum",
                json!({"containers": [{"name": "a", "resources": cpu("1")}, {"name": "b", "resources": cpu("500m")}]}),
                1500,
            ),
            (
                "init is a maximum",
                json!({"initContainers": [{"name": "i", "resources": cpu("2")}], "containers": [{"name": "a", "resources": cpu("1")}]}),
                2000,
            ),
            (
                "sidecar adds",
                json!({"initContainers": [{"name": "s", "restartPolicy": "Always", "resources": cpu("1")}], "containers": [{"name": "a", "resources": cpu("1")}]}),
                2000,
            ),
            (
                "init after sidecar",
                json!({"initContainers": [{"name": "s", "restartPolicy": "Always", "resources": cpu("1")}, {"name": "i", "resources": cpu("3")}], "containers": [{"name": "a", "resources": cpu("1")}]}),
                4000,
            ),
            (
                "init before sidecar",
                json!({"initContainers": [{"name": "i", "resources": cpu("3")}, {"name": "s", "restartPolicy": "Always", "resources": cpu("1")}], "containers": [{"name": "a", "resources": cpu("1")}]}),
                3000,
            ),
            (
                "overhead",
                json!({"overhead": {"cpu": "250m"}, "containers": [{"name": "a", "resources": cpu("1")}]}),
                1250,
            ),
            (
                "pod level",
                json!({"resources": cpu("5"), "containers": [{"name": "a", "resources": cpu("1")}]}),
                5000,
            ),
        ] {
            let spec = spec(value);
            assert_eq!(resource_requests(&spec)["cpu"].milli_value(), want, "{name}");
            assert_eq!(
                resource_limits(&spec)["cpu"].milli_value(),
                want,
                "{name} (limits)"
            );
        }
    }

    #[test]
    fn overhead_does_not_create_limits() {
        let spec = spec(json!({"overhead": {"cpu": "250m"}, "containers": [{"name": "a"}]}));
        assert!(resource_limits(&spec).is_empty());
        assert_eq!(resource_requests(&spec)["cpu"].milli_value(), 250);
    }

    #[test]
    fn a_limit_for_all_or_none() {
        let one = spec(json!({"containers": [{"name": "a", "resources": cpu("1")}, {"name": "b"}]}));
        assert!(!every_container_limits(&one, "cpu"));
        let all = spec(
            json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a", "resources": cpu("1")}]}),
        );
        assert!(every_container_limits(&all, "cpu"));
    }
}
