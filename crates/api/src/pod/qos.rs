//! Quality of service class (node-agent §17.2).

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity::{Amount, amount};

/// How dispensable a pod is when its node runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QosClass {
    /// Asks for nothing.
    BestEffort,
    /// Everything between.
    Burstable,
    /// Requests equal limits throughout.
    Guaranteed,
}

impl QosClass {
    /// The word in `status.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            QosClass::BestEffort => "BestEffort",
            QosClass::Burstable => "Burstable",
            QosClass::Guaranteed => "Guaranteed",
        }
    }
}

impl QosClass {
    /// The class by what the pod as a whole and its containers, those of initialisation included, ask for. Pod-level
    /// resources, if any are set, decide alone; ephemeral containers never count.
    pub fn of<R: Borrow<ResourceRequirements>>(
        of_pod: &ResourceRequirements,
        containers: impl Iterator<Item = R>,
    ) -> Self {
        let given = |map: &Option<BTreeMap<String, Quantity>>| map.as_ref().is_some_and(|m| !m.is_empty());
        if given(&of_pod.limits) || given(&of_pod.requests) {
            return of_all(&[of_pod]);
        }
        of_all(&containers.collect::<Vec<_>>())
    }
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const COUNTED: [&str; 2] = ["cpu", "memory"];

fn positive(map: Option<&BTreeMap<String, Quantity>>, key: &str) -> Option<Amount> {
    map.and_then(|m| m.get(key))
        .map(amount)
        .filter(|a| !a.is_zero() && !a.is_negative())
}

/// The class of a pod; a recorded `status.qosClass` does not matter here.
pub fn qos_class(pod: &Pod) -> QosClass {
    pod.spec.as_ref().map_or(QosClass::BestEffort, of_spec)
}

/// The class of a spec.
pub fn of_spec(spec: &PodSpec) -> QosClass {
    let nothing = ResourceRequirements::default();
    let containers = spec.containers.iter().chain(super::init_containers(spec));
    QosClass::of(
        spec.resources.as_ref().unwrap_or(&nothing),
        containers.map(|container| container.resources.as_ref().unwrap_or(&nothing)),
    )
}

fn of_all<R: Borrow<ResourceRequirements>>(sets: &[R]) -> QosClass {
    let mut asks = false;
    let mut every_limit = true;
    let mut balanced = true;
    for key in COUNTED {
        let (mut requests, mut limits) = (Amount::ZERO, Amount::ZERO);
        for set in sets.iter().map(Borrow::borrow) {
            if let Some(a) = positive(set.requests.as_ref(), key) {
                requests = requests.plus(a);
                asks = true;
            }
            match positive(set.limits.as_ref(), key) {
                Some(a) => {
                    limits = limits.plus(a);
                    asks = true;
                }
                None => every_limit = false,
            }
        }
        balanced &= requests == limits;
    }
    match (asks, every_limit && balanced) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes() {
        let full = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}});
        for (name, spec, want) in [
            (
                "nothing",
                json!({"containers": [{"name": "a"}]}),
                QosClass::BestEffort,
            ),
            (
                "zero is nothing",
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "0"}}}]}),
                QosClass::BestEffort,
            ),
            (
                "other resources do not count",
                json!({"containers": [{"name": "a", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}]}),
                QosClass::BestEffort,
            ),
            (
                "request only",
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]}),
                QosClass::Burstable,
            ),
            (
                "full",
                json!({"containers": [{"name": "a", "resources": full}]}),
                QosClass::Guaranteed,
            ),
            (
                "limits without requests are not defaulted here",
                json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1"}}}]}),
                QosClass::Burstable,
            ),
            (
                "one of two",
                json!({"containers": [{"name": "a", "resources": full}, {"name": "b"}]}),
                QosClass::Burstable,
            ),
            (
                "init counts",
                json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a", "resources": full}]}),
                QosClass::Burstable,
            ),
            (
                "ephemeral does not",
                json!({"ephemeralContainers": [{"name": "i"}], "containers": [{"name": "a", "resources": full}]}),
                QosClass::Guaranteed,
            ),
            (
                "pod level decides",
                json!({"resources": full, "containers": [{"name": "a"}]}),
                QosClass::Guaranteed,
            ),
        ] {
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(of_spec(&spec), want, "{name}");
        }
    }
}
