//! `resourceFieldRef`: a container's own requests and limits (contract, node agent §14.4).
use crate::node::memory_capacity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector, ResourceRequirements};
use orlop_api::quantity::{Amount, amount};
use std::collections::BTreeMap;

/// Why a resource has no value.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    #[error("container {0} not found")]
    NoContainer(String),
    #[error("unsupported container resource: {0}")]
    Unsupported(String),
}

/// The node's own amounts, which stand in for limits that are not set.
pub trait NodeAmounts {
    fn allocatable(&self, resource: &str) -> Amount;
}

/// The machine this runs on, less what is kept back from pods.
#[derive(Clone, Debug, Default)]
pub struct ThisNode {
    kept_back: BTreeMap<String, Amount>,
}

impl ThisNode {
    /// With so much of each resource for others than pods.
    pub fn less(kept_back: BTreeMap<String, Amount>) -> Self {
        Self { kept_back }
    }

    fn whole(resource: &str) -> Amount {
        match resource {
            "cpu" => {
                let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
                Amount::from_units(i64::try_from(cores).unwrap_or(1))
            }
            "memory" => Amount::from_bytes(memory_capacity()),
            "ephemeral-storage" => {
                let disk = rustix::fs::statvfs("/var/lib").or_else(|_| rustix::fs::statvfs("/"));
                let bytes = disk.map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
                Amount::from_bytes(i64::try_from(bytes).unwrap_or(i64::MAX))
            }
            _ => Amount::ZERO,
        }
    }
}

impl NodeAmounts for ThisNode {
    fn allocatable(&self, resource: &str) -> Amount {
        let kept_back = self.kept_back.get(resource).copied().unwrap_or(Amount::ZERO);
        let left = Self::whole(resource).minus(kept_back);
        if left.is_negative() { Amount::ZERO } else { left }
    }
}

/// The value of a selector seen from `own`, or from the container it names (as volumes do).
pub fn resource_value(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    node: &dyn NodeAmounts,
) -> Result<String, ResourceError> {
    let spec = pod.spec.as_ref();
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        Some(wanted) => spec
            .into_iter()
            .flat_map(|spec| {
                spec.containers
                    .iter()
                    .chain(spec.init_containers.iter().flatten())
            })
            .find(|container| container.name == wanted)
            .ok_or_else(|| ResourceError::NoContainer(wanted.to_owned()))?,
        None => own.ok_or_else(|| ResourceError::NoContainer(String::new()))?,
    };
    let unsupported = || ResourceError::Unsupported(selector.resource.clone());
    let (side, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let known =
        matches!(resource, "cpu" | "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
    if !known {
        return Err(unsupported());
    }
    let own_resources = container.resources.as_ref();
    let pod_resources = spec.and_then(|spec| spec.resources.as_ref());
    let value = match side {
        "limits" => of(own_resources, resource, true)
            .or_else(|| of(pod_resources, resource, true))
            .unwrap_or_else(|| node.allocatable(resource)),
        "requests" => of(own_resources, resource, false)
            .or_else(|| of(own_resources, resource, true))
            .unwrap_or(Amount::ZERO),
        _ => return Err(unsupported()),
    };
    let divisor = selector
        .divisor
        .as_ref()
        .map(amount)
        .filter(|divisor| divisor.nanos() > 0);
    let divisor = divisor.unwrap_or_else(|| Amount::from_units(1));
    Ok(divide_up(value.nanos(), divisor.nanos()).to_string())
}

fn of(resources: Option<&ResourceRequirements>, resource: &str, limit: bool) -> Option<Amount> {
    let map = if limit {
        resources?.limits.as_ref()
    } else {
        resources?.requests.as_ref()
    };
    map?.get(resource).map(amount)
}

fn divide_up(value: i128, divisor: i128) -> i128 {
    value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_back_from_pods_is_no_default() {
        let whole = ThisNode::default().allocatable("cpu");
        let kept = [
            ("cpu".to_owned(), Amount::from_units(1)),
            ("memory".to_owned(), Amount::from_bytes(i64::MAX)),
        ];
        let node = ThisNode::less(kept.into());
        assert_eq!(node.allocatable("cpu"), whole.minus(Amount::from_units(1)));
        assert_eq!(node.allocatable("memory"), Amount::ZERO);
    }

    struct Node;
    impl NodeAmounts for Node {
        fn allocatable(&self, resource: &str) -> Amount {
            if resource == "cpu" {
                Amount::from_units(4)
            } else {
                Amount::from_bytes(1 << 30)
            }
        }
    }

    #[test]
    fn e04_limits_requests_divisors_and_the_node() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {"containers": [
            {"name": "set", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}},
            {"name": "bare"}]}}))
        .unwrap();
        for (container, resource, divisor, want) in [
            ("set", "limits.cpu", None, "2"),
            ("set", "limits.cpu", Some("1m"), "1500"),
            ("set", "requests.cpu", Some("1m"), "250"),
            ("set", "limits.memory", Some("1Mi"), "64"),
            ("set", "limits.memory", Some("0"), "67108864"),
            ("set", "requests.memory", None, "67108864"),
            ("bare", "limits.cpu", None, "4"),
            ("bare", "limits.memory", Some("1Gi"), "1"),
            ("bare", "requests.memory", None, "0"),
        ] {
            let selector: ResourceFieldSelector = serde_json::from_value(
                serde_json::json!({"containerName": container, "resource": resource, "divisor": divisor}),
            )
            .unwrap();
            assert_eq!(
                resource_value(&pod, None, &selector, &Node).unwrap(),
                want,
                "{container} {resource}"
            );
        }
        let selector = ResourceFieldSelector {
            resource: "limits.gpu".into(),
            ..Default::default()
        };
        let error = resource_value(
            &pod,
            pod.spec.as_ref().unwrap().containers.first(),
            &selector,
            &Node,
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "unsupported container resource: limits.gpu"
        );
    }
}
