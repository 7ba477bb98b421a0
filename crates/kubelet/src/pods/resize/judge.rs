//! Whether a pod may have what it now asks for, beside those that are there. Pure.
use super::Why;
use k8s_openapi::api::core::v1::{Node, Pod};
use orlop_api::placement::{NodeUsage, Reason};
use orlop_api::pod::{QosClass, qos_class, resource_requests};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

/// Lets the pod have it, or says why not. `active` are the other pods, with what they were given.
pub fn judge(pod: &Pod, node: &Node, active: &[Arc<Pod>]) -> Result<(), (Why, String)> {
    let Some(spec) = pod.spec.as_ref() else {
        return Ok(());
    };
    let alone = NodeUsage::default().insufficient(spec, node);
    let never = alone.into_iter().find_map(|reason| match reason {
        Reason::Insufficient {
            resource,
            requested,
            capacity,
            ..
        } => Some(format!(
            "Node didn't have enough capacity: {resource}, requested: {requested}, capacity: {capacity}"
        )),
        _ => None,
    });
    if let Some(message) = never {
        return Err((Why::Infeasible, message));
    }
    let others = NodeUsage::of(active.iter().map(AsRef::as_ref));
    match others
        .insufficient(spec, node)
        .into_iter()
        .find(Reason::is_resource)
    {
        Some(lacking) => Err((Why::Deferred, lacking.admission_message())),
        None => Ok(()),
    }
}

/// A resize that waits for room.
pub struct Waiting {
    /// What the pod asks for.
    pub asked: Arc<Pod>,
    /// What it has.
    pub given: Arc<Pod>,
    /// Since when.
    pub since: Instant,
}

/// Whose turn is first: who gives something back, then the higher priority, then the better class, then the longer wait.
pub fn in_order(waiting: &mut [Waiting]) {
    waiting.sort_by_key(|one| {
        let priority = one
            .asked
            .spec
            .as_ref()
            .and_then(|spec| spec.priority)
            .unwrap_or(0);
        let is_guaranteed = qos_class(&one.asked) == QosClass::Guaranteed;
        (
            asks_for_more(&one.asked, &one.given),
            Reverse(priority),
            !is_guaranteed,
            one.since,
        )
    });
}

fn asks_for_more(asked: &Pod, given: &Pod) -> bool {
    let requests = |pod: &Pod| pod.spec.as_ref().map(resource_requests).unwrap_or_default();
    let (asked, given) = (requests(asked), requests(given));
    asked.iter().any(|(resource, amount)| {
        let had = given.get(resource).copied().unwrap_or_default();
        *amount > had
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, cpu: &str) -> Arc<Pod> {
        let object = json!({"metadata": {"name": name, "uid": name}, "spec": {
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn resize_fits_waits_for_room_or_never_fits() {
        let node: Node = serde_json::from_value(
            json!({"status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "10"}}}),
        )
        .unwrap();
        let others = [pod("other", "2")];
        assert_eq!(judge(&pod("p", "2"), &node, &others), Ok(()));
        let deferred = judge(&pod("p", "2500m"), &node, &others);
        let message = "Node didn't have enough resource: cpu, requested: 2500, used: 2000, capacity: 4000";
        assert_eq!(deferred, Err((Why::Deferred, message.to_owned())));
        let infeasible = judge(&pod("p", "5"), &node, &others);
        let message = "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000";
        assert_eq!(infeasible, Err((Why::Infeasible, message.to_owned())));
    }

    #[test]
    fn who_gives_back_goes_first_then_priority_class_and_patience() {
        let now = Instant::now();
        let wait = |name: &str, cpu: &str, priority: Option<i32>, limits: bool, seconds: u64| {
            let mut asked = Pod::clone(&pod(name, cpu));
            let spec = asked.spec.as_mut().unwrap();
            spec.priority = priority;
            if limits {
                let resources = spec.containers[0].resources.as_mut().unwrap();
                resources.limits.clone_from(&resources.requests);
            }
            Waiting {
                asked: Arc::new(asked),
                given: pod(name, "1"),
                since: now - std::time::Duration::from_secs(seconds),
            }
        };
        let mut waiting = [
            wait("young", "2", None, false, 1),
            wait("old", "2", None, false, 9),
            wait("guaranteed", "2", None, true, 1),
            wait("important", "2", Some(7), false, 1),
            wait("smaller", "500m", None, false, 1),
        ];
        in_order(&mut waiting);
        let names: Vec<_> = waiting
            .iter()
            .map(|one| orlop_api::pod::name(&one.asked))
            .collect();
        assert_eq!(names, ["smaller", "important", "guaranteed", "old", "young"]);
    }
}
