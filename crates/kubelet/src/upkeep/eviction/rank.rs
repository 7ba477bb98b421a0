//! Whom a shortage takes, and what it is told (contract, node agent §18.2). Pure.
use super::signals::{Observed, Rule, Signal, quantity};
use crate::pods::verdict::Verdict;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::pod::{init_containers, is_critical, is_sidecar, resource_limits, resource_requests};
use orlop_api::quantity::{Amount, value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A pod, and what it uses of what is short.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub pod: Arc<Pod>,
    /// Bytes, inodes or processes.
    pub usage: i64,
    /// By container.
    pub containers: BTreeMap<String, i64>,
}

impl Candidate {
    fn request(&self, resource: &str) -> i64 {
        let spec = self.pod.spec.as_ref();
        let requests = spec.map(resource_requests).unwrap_or_default();
        requests.get(resource).copied().unwrap_or(Amount::ZERO).value()
    }

    fn priority(&self) -> i32 {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.priority).unwrap_or(0)
    }
}

/// The pod that goes: those that use more than they asked for first, then by priority, then by how much more. Critical
/// pods never go.
pub fn victim(signal: Signal, candidates: &[Candidate]) -> Option<&Candidate> {
    let resource = signal.resource();
    let key = |candidate: &&Candidate| {
        let over = match resource {
            "memory" | "ephemeral-storage" => candidate.usage - candidate.request(resource),
            _ => candidate.usage,
        };
        let within = matches!(resource, "memory" | "ephemeral-storage") && over <= 0;
        (within, candidate.priority(), std::cmp::Reverse(over))
    };
    let pods = candidates.iter().filter(|candidate| !is_critical(&candidate.pod));
    pods.min_by_key(key)
}

/// What a shortage tells of the pod that it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What the pod, its event and its condition say.
    pub verdict: Verdict,
    /// The same for programs, on the event: what was short, and which containers had more of it than they asked for.
    pub annotations: BTreeMap<String, String>,
}

/// What is told where `candidate` goes.
pub fn told(rule: &Rule, seen: Observed, candidate: &Candidate) -> Told {
    let (signal, resource) = (rule.signal, rule.signal.resource());
    let mut message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        rule.quantity(seen.capacity),
        quantity(signal, seen.available)
    );
    let (mut names, mut usages) = (Vec::new(), Vec::new());
    for (name, usage) in &candidate.containers {
        let request = container(&candidate.pod, name).map_or(0, |container| request_of(container, resource));
        if *usage > request && !matches!(resource, "pids" | "inodes") {
            let (used, asked) = (quantity(signal, *usage), quantity(signal, request));
            message.push_str(&format!(
                "Container {name} was using {used}, request is {asked}, has larger consumption of {resource}. "
            ));
            names.push(name.as_str());
            usages.push(used);
        }
    }
    let annotations = [
        ("starved_resource", resource.to_owned()),
        ("offending_containers", names.join(",")),
        ("offending_containers_usage", usages.join(",")),
    ];
    Told {
        verdict: Verdict::evicted(message),
        annotations: annotations
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(init_containers(spec));
    all.find(|container| container.name == name)
}

fn request_of(container: &Container, resource: &str) -> i64 {
    let resources = container.resources.as_ref();
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    requests
        .and_then(|requests| requests.get(resource))
        .map_or(0, value)
}

/// What a pod has on the node's disk.
#[derive(Clone, Debug, Default)]
pub struct LocalUse {
    /// emptyDir volumes on disk, bytes.
    pub volumes: BTreeMap<String, i64>,
    /// Layers and logs by container, bytes.
    pub containers: BTreeMap<String, i64>,
}

/// Whether a pod has limits that are to be held against what it writes.
pub fn is_limited(pod: &Pod) -> bool {
    let Some(spec) = pod.spec.as_ref() else {
        return false;
    };
    let sized = |volume: &k8s_openapi::api::core::v1::Volume| {
        let directory = volume.empty_dir.as_ref();
        directory.is_some_and(|directory| {
            directory.size_limit.is_some() && directory.medium.as_deref().unwrap_or_default().is_empty()
        })
    };
    spec.volumes.iter().flatten().any(sized) || resource_limits(spec).contains_key("ephemeral-storage")
}

fn limit_of(container: &Container) -> Option<i64> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    limits.get("ephemeral-storage").map(value)
}

/// Why a pod goes that has written more than its own limits allow.
pub fn over_its_limits(pod: &Pod, used: &LocalUse) -> Option<Verdict> {
    if is_critical(pod) {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    for volume in spec.volumes.iter().flatten() {
        let Some(directory) = &volume.empty_dir else {
            continue;
        };
        let limit = directory.size_limit.as_ref();
        let held = used.volumes.get(&volume.name);
        if let (Some(limit), Some(held)) = (limit, held)
            && *held > value(limit)
            && value(limit) > 0
        {
            return Some(Verdict::evicted(format!(
                "Usage of EmptyDir volume {:?} exceeds the limit {:?}. ",
                volume.name, limit.0
            )));
        }
    }
    let counted = spec
        .containers
        .iter()
        .chain(init_containers(spec).iter().filter(|own| is_sidecar(own)));
    for container in counted {
        let held = used.containers.get(&container.name).copied().unwrap_or(0);
        if let Some(limit) = limit_of(container).filter(|limit| held > *limit) {
            return Some(Verdict::evicted(format!(
                "Container {} exceeded its local ephemeral storage limit {:?}. ",
                container.name,
                Amount::from_bytes(limit).to_quantity().0
            )));
        }
    }
    let limits = resource_limits(spec);
    let limit = limits.get("ephemeral-storage")?.value();
    let all: i64 = used.volumes.values().chain(used.containers.values()).sum();
    (all > limit).then(|| {
        Verdict::evicted(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {}. ",
            Amount::from_bytes(limit).to_quantity().0
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KubeletConfiguration;
    use crate::upkeep::eviction::signals::rules;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value) -> Arc<Pod> {
        let object = json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": spec});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn candidate(name: &str, priority: i32, request: &str, usage: i64) -> Candidate {
        let spec = json!({"priority": priority, "containers": [
            {"name": "c", "resources": {"requests": {"memory": request, "ephemeral-storage": request}}}]});
        Candidate {
            pod: pod(name, spec),
            usage,
            containers: [("c".to_owned(), usage)].into(),
        }
    }

    fn first(signal: Signal, candidates: &[Candidate]) -> Option<&str> {
        victim(signal, candidates).map(|candidate| orlop_api::pod::uid(&candidate.pod))
    }

    #[test]
    fn g01_low_priority_over_its_request_goes_first_and_critical_pods_never() {
        let within = candidate("within", -5, "1000", 900);
        let high = candidate("high", 10, "100", 900);
        let low = candidate("low", 1, "100", 200);
        let lower_use = candidate("lower-use", 1, "100", 150);
        let critical = candidate("critical", 2_000_000_000, "0", 9000);
        let mut all = vec![within, high, lower_use, low, critical];
        let mut order = Vec::new();
        while let Some(next) = first(Signal::Memory, &all).map(str::to_owned) {
            all.retain(|candidate| orlop_api::pod::uid(&candidate.pod) != next);
            order.push(next);
        }
        assert_eq!(order, ["low", "lower-use", "high", "within"]);
    }

    #[test]
    fn a52_static_pod_is_never_evicted() {
        let mut pod = Pod::clone(&candidate("static", 0, "0", 0).pod);
        let source = ("kubernetes.io/config.source".to_owned(), "file".to_owned());
        pod.metadata.annotations = Some([source].into());
        let one = Candidate {
            pod: Arc::new(pod),
            usage: 9000,
            containers: BTreeMap::new(),
        };
        assert_eq!(first(Signal::NodeFs, &[one]), None);
    }

    #[test]
    fn g03_pod_of_which_a_sidecar_alone_has_a_limit_is_looked_at() {
        let limits = json!({"limits": {"ephemeral-storage": "10Mi"}});
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": limits});
        let with = |inits: Value| {
            pod(
                "p",
                json!({"containers": [{"name": "c"}], "initContainers": inits}),
            )
        };
        assert!(is_limited(&with(json!([sidecar]))));
        assert!(!is_limited(&with(json!([]))));
    }

    #[test]
    fn g04_inodes_are_taken_from_the_lowest_priority_with_the_most() {
        let all = [
            candidate("few", 0, "0", 3),
            candidate("heavy", 0, "1Gi", 3000),
            candidate("important", 5, "0", 9000),
        ];
        for signal in [Signal::NodeFsInodes, Signal::ImageFsInodes] {
            assert_eq!(first(signal, &all), Some("heavy"), "{signal:?}");
        }
    }

    #[test]
    fn g05_process_ids_are_taken_from_the_lowest_priority_with_the_most() {
        let all = [
            candidate("few", 0, "0", 3),
            candidate("bomb", 0, "0", 3000),
            candidate("important", 5, "0", 9000),
        ];
        assert_eq!(first(Signal::Pids, &all), Some("bomb"));
    }

    #[test]
    fn g01_message_names_the_threshold_and_the_container() {
        let configuration = KubeletConfiguration {
            eviction_hard: [("memory.available".to_owned(), "100Mi".to_owned())].into(),
            ..KubeletConfiguration::default()
        };
        let seen = Observed {
            available: 50 << 20,
            capacity: 1 << 30,
        };
        let candidate = candidate("hog", 0, "0", 900 << 20);
        let Told { verdict, annotations } = told(&rules(&configuration)[0], seen, &candidate);
        assert_eq!(verdict.reason, "Evicted");
        assert_eq!(
            verdict.message,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 900Mi, \
             request is 0, has larger consumption of memory. "
        );
        let annotation = |key: &str| annotations.get(key).map(String::as_str);
        assert_eq!(annotation("starved_resource"), Some("memory"));
        assert_eq!(annotation("offending_containers"), Some("c"));
        assert_eq!(annotation("offending_containers_usage"), Some("900Mi"));
    }

    #[test]
    fn g03_what_a_pod_writes_is_held_against_its_own_limits() {
        let spec = json!({
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "10Mi"}}],
            "containers": [
                {"name": "a", "resources": {"limits": {"ephemeral-storage": "10Mi"}}},
                {"name": "b", "resources": {"limits": {"ephemeral-storage": "10Mi"}}},
            ],
        });
        let pod = pod("p", spec);
        assert!(is_limited(&pod));
        let message = |volume: i64, a: i64, b: i64| {
            let used = LocalUse {
                volumes: [("v".to_owned(), volume << 20)].into(),
                containers: [("a".to_owned(), a << 20), ("b".to_owned(), b << 20)].into(),
            };
            over_its_limits(&pod, &used).map(|verdict| verdict.message)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(message(10, 5, 5), None);
        assert_eq!(
            message(11, 1, 1),
            text("Usage of EmptyDir volume \"v\" exceeds the limit \"10Mi\". ")
        );
        assert_eq!(
            message(1, 11, 1),
            text("Container a exceeded its local ephemeral storage limit \"10Mi\". ")
        );
        assert_eq!(
            message(10, 9, 9),
            text("Pod ephemeral local storage usage exceeds the total limit of containers 20Mi. ")
        );
    }
}
