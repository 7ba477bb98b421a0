//! Whom a critical pod may push aside (contract, static pods §7.3). Pure.
use k8s_openapi::api::core::v1::Pod;
use orlop_api::placement::Reason;
use orlop_api::pod::{QosClass, is_critical, qos_class, resource_requests, uid};
use orlop_api::quantity::Amount;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is missing, by resource; processors in thousandths.
pub type Shortage = BTreeMap<String, i64>;

/// What `failures` say is missing; `None` if something else than room is in the way.
pub fn shortage(failures: &[Reason]) -> Option<Shortage> {
    let of = |failure: &Reason| match failure {
        Reason::TooManyPods { used, capacity } => Some(("pods".to_owned(), used + 1 - capacity)),
        Reason::Insufficient {
            resource,
            requested,
            used,
            capacity,
        } => Some((resource.clone(), requested + used - capacity)),
        _ => None,
    };
    failures.iter().map(of).collect()
}

/// The pods that have to go, the fewest and least important that make the room; `None` if there is no such set.
pub fn victims(pod: &Pod, active: &[Arc<Pod>], shortage: &Shortage) -> Option<Vec<Arc<Pod>>> {
    let candidates: Vec<&Arc<Pod>> = active.iter().filter(|other| may_go(other, pod)).collect();
    let of_class = |class| -> Vec<&Arc<Pod>> {
        candidates
            .iter()
            .copied()
            .filter(|pod| qos_class(pod) == class)
            .collect()
    };
    let best_effort = of_class(QosClass::BestEffort);
    let burstable = of_class(QosClass::Burstable);
    let guaranteed = of_class(QosClass::Guaranteed);
    let less = |of: &[&[&Arc<Pod>]]| without(shortage, of.iter().flat_map(|pods| pods.iter().copied()));
    if !less(&[&best_effort, &burstable, &guaranteed]).is_empty() {
        return None;
    }
    let guaranteed = closest(guaranteed, less(&[&best_effort, &burstable]));
    let burstable = closest(burstable, less(&[&best_effort, &guaranteed]));
    let best_effort = closest(best_effort, less(&[&burstable, &guaranteed]));
    let all = best_effort.into_iter().chain(burstable).chain(guaranteed);
    Some(all.cloned().collect())
}

/// Not critical, or less so by both pods' own numbers.
fn may_go(other: &Pod, pod: &Pod) -> bool {
    let priority = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.priority);
    let lower = match (priority(other), priority(pod)) {
        (Some(other), Some(own)) => other < own,
        _ => false,
    };
    lower || !is_critical(other)
}

/// What a pod frees of a resource.
fn frees(pod: &Pod, resource: &str) -> i64 {
    if resource == "pods" {
        return 1;
    }
    let requests = pod.spec.as_ref().map(resource_requests).unwrap_or_default();
    let amount = requests.get(resource).copied().unwrap_or(Amount::ZERO);
    match resource {
        "cpu" => amount.milli_value(),
        _ => amount.value(),
    }
}

/// What is still missing when these are gone.
fn without<'a>(shortage: &Shortage, gone: impl Iterator<Item = &'a Arc<Pod>>) -> Shortage {
    let mut left = shortage.clone();
    for pod in gone {
        for (resource, missing) in &mut left {
            *missing -= frees(pod, resource);
        }
    }
    left.retain(|_, missing| *missing > 0);
    left
}

/// Takes pods until nothing is missing, each time the one that brings it closest; of equals the smallest.
fn closest(mut pods: Vec<&Arc<Pod>>, mut missing: Shortage) -> Vec<&Arc<Pod>> {
    let mut taken = Vec::new();
    while !missing.is_empty() {
        let distance = |pod: &Arc<Pod>| -> f64 {
            let parts = missing.iter().map(|(resource, missing)| {
                let left = (*missing - frees(pod, resource)).max(0) as f64;
                (left / *missing as f64).powi(2)
            });
            parts.sum()
        };
        let better = |a: &&Arc<Pod>, b: &&Arc<Pod>| {
            let size = |pod: &Arc<Pod>| (frees(pod, "memory"), frees(pod, "cpu"));
            let by_distance = distance(a).total_cmp(&distance(b));
            by_distance.then_with(|| size(a).cmp(&size(b)))
        };
        let Some(best) = pods.iter().copied().min_by(better) else {
            return taken;
        };
        pods.retain(|pod| uid(pod) != uid(best));
        missing = without(&missing, [best].into_iter());
        taken.push(best);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, class: &str, cpu: &str, priority: Option<i32>) -> Arc<Pod> {
        let resources = match class {
            "guaranteed" => {
                json!({"limits": {"cpu": cpu, "memory": "1Gi"}, "requests": {"cpu": cpu, "memory": "1Gi"}})
            }
            "burstable" => json!({"requests": {"cpu": cpu}}),
            _ => json!({}),
        };
        let object = json!({
            "metadata": {"name": name, "uid": name},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": resources}]},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn chosen(active: &[Arc<Pod>], shortage: &[(&str, i64)]) -> Option<Vec<String>> {
        let shortage = shortage
            .iter()
            .map(|(name, missing)| ((*name).to_owned(), *missing))
            .collect();
        let critical = pod("critical", "guaranteed", "1", Some(2_000_001_000));
        let found = victims(&critical, active, &shortage)?;
        Some(found.iter().map(|pod| uid(pod).to_owned()).collect())
    }

    #[test]
    fn a50_best_effort_stays_where_it_does_not_help() {
        let active = [
            pod("best-effort", "", "0", None),
            pod("burstable", "burstable", "500m", None),
            pod("guaranteed", "guaranteed", "500m", None),
        ];
        assert_eq!(
            chosen(&active, &[("cpu", 1000)]).unwrap(),
            ["burstable", "guaranteed"]
        );
        assert_eq!(chosen(&active, &[("cpu", 300)]).unwrap(), ["burstable"]);
        assert_eq!(chosen(&active, &[("pods", 1)]).unwrap(), ["best-effort"]);
    }

    #[test]
    fn a53_nothing_is_chosen_when_all_together_would_not_do() {
        let active = [pod("a", "burstable", "500m", None)];
        assert_eq!(chosen(&active, &[("cpu", 501)]), None);
        assert_eq!(
            chosen(
                &[pod("critical2", "burstable", "4", Some(2_000_001_000))],
                &[("cpu", 1)]
            ),
            None
        );
    }

    #[test]
    fn s12_the_closest_fit_goes_and_a_lower_critical_class_may() {
        let active = [
            pod("big", "burstable", "4", Some(0)),
            pod("fitting", "burstable", "1", Some(0)),
            pod("small", "burstable", "100m", Some(0)),
        ];
        assert_eq!(chosen(&active, &[("cpu", 900)]).unwrap(), ["fitting"]);
        let lower = [pod("lower", "burstable", "1", Some(2_000_000_000))];
        assert_eq!(chosen(&lower, &[("cpu", 900)]).unwrap(), ["lower"]);
    }

    #[test]
    fn only_shortages_of_resources_make_room() {
        let cpu = Reason::Insufficient {
            resource: "cpu".into(),
            requested: 300,
            used: 900,
            capacity: 1000,
        };
        assert_eq!(
            shortage(std::slice::from_ref(&cpu)),
            Some([("cpu".to_owned(), 200)].into())
        );
        assert_eq!(shortage(&[cpu, Reason::NodePorts]), None);
    }
}
