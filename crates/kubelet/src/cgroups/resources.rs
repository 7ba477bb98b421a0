//! What containers and pods may use, from their requests and limits (contract, node agent §11.5, §17). Pure.
use super::limits::{Limits, period_us, quota_us, shares};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use orlop_api::annotations::{SYSTEM_NODE_CRITICAL, SYSTEM_NODE_CRITICAL_PRIORITY};
use orlop_api::pod::resources::{container_requests, every_container_limits};
use orlop_api::pod::{
    QosClass, init_containers, is_critical, is_sidecar, qos_class, resource_limits, resource_requests,
};
use orlop_api::quantity::{milli_value, value};
use orlop_cri::v1;
use std::collections::BTreeMap;
use std::time::Duration;

/// `oom_score_adj` of guaranteed and node-critical pods, and of those that asked for nothing.
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1000;
/// Everybody between: never as safe as the former, never as exposed as the latter.
const OOM_BURSTABLE: std::ops::RangeInclusive<i64> = 3..=999;

/// What of the node and its configuration limits depend on.
#[derive(Clone, Debug)]
pub struct NodeLimits {
    /// The machine's memory, bytes.
    pub memory_capacity: i64,
    /// `cpuCFSQuota`.
    pub cpu_quota: bool,
    /// `cpuCFSQuotaPeriod`.
    pub cpu_period: Duration,
    /// `podPidsLimit`; not positive: unlimited.
    pub pids_per_pod: i64,
    /// cgroup v2.
    pub unified: bool,
    /// `singleProcessOOMKill`: one process out of memory doesn't take its container along.
    pub single_process_oom_kill: bool,
    /// v2 with a swap controller: pods get no swap, or a share.
    pub limits_swap: bool,
    /// Bytes of swap that burstable pods share by what memory they asked for (`memorySwap.swapBehavior: LimitedSwap`).
    pub shared_swap: i64,
    /// Huge page sizes as the runtime names them: `2MB`, `1GB`, with the API's `2Mi`, `1Gi`.
    pub huge_pages: Vec<(String, String)>,
}

fn amount<'a>(list: &'a Option<BTreeMap<String, Quantity>>, name: &str) -> Option<&'a Quantity> {
    list.as_ref()?.get(name)
}

fn own_limit<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    amount(&container.resources.as_ref()?.limits, name)
}

/// A container's limit; where it has none of its own, that of its pod as a whole.
fn limit<'a>(pod: &'a Pod, container: &'a Container, name: &str) -> Option<&'a Quantity> {
    let own = own_limit(container, name).filter(|limit| !orlop_api::quantity::amount(limit).is_zero());
    own.or_else(|| amount(&pod.spec.as_ref()?.resources.as_ref()?.limits, name))
}

fn own_request<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    amount(&container.resources.as_ref()?.requests, name)
}

/// Limits of one container.
pub fn linux(pod: &Pod, container: &Container, node: &NodeLimits) -> v1::LinuxContainerResources {
    let mut resources = v1::LinuxContainerResources {
        cpu_shares: shares(
            // The limit stands in for a missing request.
            own_request(container, "cpu")
                .or_else(|| limit(pod, container, "cpu"))
                .map_or(0, milli_value),
        ),
        memory_limit_in_bytes: limit(pod, container, "memory").map_or(0, value),
        oom_score_adj: oom_score_adj(pod, container, node.memory_capacity),
        ..v1::LinuxContainerResources::default()
    };
    let cpu = limit(pod, container, "cpu").map_or(0, milli_value);
    if cpu > 0 && node.cpu_quota {
        resources.cpu_period = period_us(node.cpu_period);
        resources.cpu_quota = quota_us(cpu, node.cpu_period);
    }
    let huge_pages = node.huge_pages.iter().map(|(runtime, api)| v1::HugepageLimit {
        page_size: runtime.clone(),
        limit: limit(pod, container, &format!("hugepages-{api}"))
            .map_or(0, value)
            .unsigned_abs(),
    });
    resources.hugepage_limits = huge_pages.collect();
    if node.unified {
        let mut unified = vec![];
        if !node.single_process_oom_kill {
            unified.push(("memory.oom.group", "1".to_owned()));
        }
        if node.limits_swap {
            unified.push(("memory.swap.max", swap(pod, container, node).to_string()));
        }
        let owned = unified.into_iter().map(|(file, value)| (file.to_owned(), value));
        resources.unified = owned.collect();
    }
    resources
}

/// The swap that a container gets, bytes: its memory's share of the node's. Guaranteed, critical and best-effort pods get
/// none, nor do containers that asked for all that they may have.
fn swap(pod: &Pod, container: &Container, node: &NodeLimits) -> i64 {
    if node.shared_swap == 0 || qos_class(pod) != QosClass::Burstable || is_critical(pod) {
        return 0;
    }
    let asked = own_request(container, "memory").map_or(0, value);
    if own_limit(container, "memory").is_some_and(|limit| value(limit) == asked) {
        return 0;
    }
    let share = i128::from(asked) * i128::from(node.shared_swap) / i128::from(node.memory_capacity.max(1));
    i64::try_from(share).unwrap_or(i64::MAX)
}

/// How readily the kernel kills a container when memory runs out (§17.3).
pub fn oom_score_adj(pod: &Pod, container: &Container, capacity: i64) -> i64 {
    let Some(spec) = pod.spec.as_ref() else {
        return OOM_BEST_EFFORT;
    };
    let by_number = spec
        .priority
        .is_some_and(|priority| priority >= SYSTEM_NODE_CRITICAL_PRIORITY);
    // Nobody looks the number up for a static pod.
    let by_name = spec.priority_class_name.as_deref() == Some(SYSTEM_NODE_CRITICAL);
    if by_number || by_name && is_critical(pod) {
        return OOM_GUARANTEED;
    }
    let unshared = unshared_memory(spec);
    let burstable = |container: &Container| {
        let asked = own_request(container, "memory").or_else(|| own_limit(container, "memory"));
        let asked = asked.map_or(0, value).saturating_add(unshared);
        let share = i128::from(asked) * 1000 / i128::from(capacity.max(1));
        let score = 1000 - i64::try_from(share).unwrap_or(i64::MAX);
        score.clamp(*OOM_BURSTABLE.start(), *OOM_BURSTABLE.end())
    };
    match qos_class(pod) {
        QosClass::Guaranteed => OOM_GUARANTEED,
        QosClass::BestEffort => OOM_BEST_EFFORT,
        QosClass::Burstable => {
            let own = burstable(container);
            let mut init = init_containers(spec).iter();
            if !init.any(|init| init.name == container.name && is_sidecar(init)) {
                return own;
            }
            // A sidecar must not die before all of those that it serves.
            let readiest = spec.containers.iter().map(burstable).max();
            readiest.map_or(own, |readiest| own.min(readiest))
        }
    }
}

/// What a pod as a whole asks for beyond what its containers do, shared out among them.
fn unshared_memory(spec: &PodSpec) -> i64 {
    let Some(asked) = spec
        .resources
        .as_ref()
        .and_then(|whole| amount(&whole.requests, "memory"))
    else {
        return 0;
    };
    let alone = PodSpec {
        resources: None,
        ..spec.clone()
    };
    let shared = container_requests(&alone)
        .get("memory")
        .map_or(0, |sum| sum.value());
    let containers = spec.containers.len() + init_containers(spec).len();
    value(asked).saturating_sub(shared) / i64::try_from(containers.max(1)).unwrap_or(1)
}

/// Limits of a whole pod: shares for all it asked for, and a limit only where every container has one.
pub fn of_pod(pod: &Pod, node: &NodeLimits) -> Limits {
    let pids = (node.pids_per_pod > 0).then_some(node.pids_per_pod);
    let Some(spec) = pod.spec.as_ref() else {
        return Limits {
            pids,
            ..Limits::default()
        };
    };
    let limits = resource_limits(spec);
    let for_pod = |name: &str| {
        let limited = every_container_limits(spec, name);
        limited.then(|| limits.get(name).copied()).flatten()
    };
    let quota = for_pod("cpu").filter(|_| node.cpu_quota).map(|cpu| {
        let period = period_us(node.cpu_period);
        (quota_us(cpu.milli_value(), node.cpu_period), period)
    });
    Limits {
        shares: Some(shares(milli_cpu(pod))),
        quota,
        memory: for_pod("memory").map(|memory| memory.value()),
        pids,
    }
}

/// Bytes of huge pages that a pod may have, in every size of the node.
pub fn huge_pages_of_pod<'a>(pod: &Pod, node: &'a NodeLimits) -> Vec<(&'a str, i64)> {
    let limits = pod.spec.as_ref().map(resource_limits).unwrap_or_default();
    let of = |api: &str| {
        limits
            .get(&format!("hugepages-{api}"))
            .map_or(0, |limit| limit.value())
    };
    let sizes = node.huge_pages.iter();
    sizes.map(|(runtime, api)| (runtime.as_str(), of(api))).collect()
}

/// Thousandths of a core that a pod asked for.
pub fn milli_cpu(pod: &Pod) -> i64 {
    let requests = pod.spec.as_ref().map(resource_requests).unwrap_or_default();
    requests.get("cpu").map_or(0, |cpu| cpu.milli_value())
}

/// The same as [`of_pod`] for the sandbox's request, for runtimes that want to know.
pub fn of_sandbox(pod: &Pod, node: &NodeLimits) -> v1::LinuxContainerResources {
    let mut bare = pod.clone();
    if let Some(spec) = &mut bare.spec {
        // It is told apart.
        spec.overhead = None;
    }
    let limits = of_pod(&bare, node);
    let (cpu_quota, cpu_period) = limits.quota.unwrap_or_default();
    v1::LinuxContainerResources {
        cpu_shares: limits.shares.unwrap_or_default(),
        cpu_period,
        cpu_quota,
        memory_limit_in_bytes: limits.memory.unwrap_or_default(),
        ..v1::LinuxContainerResources::default()
    }
}

/// What the runtime itself needs for the pod (`overhead` of its RuntimeClass): asked for and limited alike.
pub fn of_overhead(spec: &PodSpec) -> Option<v1::LinuxContainerResources> {
    const PERIOD: Duration = Duration::from_millis(100);
    let of = |name: &str| amount(&spec.overhead, name);
    spec.overhead.as_ref()?;
    let cpu = of("cpu").map_or(0, milli_value);
    Some(v1::LinuxContainerResources {
        cpu_shares: shares(cpu),
        cpu_period: period_us(PERIOD),
        cpu_quota: if cpu > 0 { quota_us(cpu, PERIOD) } else { 0 },
        memory_limit_in_bytes: of("memory").map_or(0, value),
        ..v1::LinuxContainerResources::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node() -> NodeLimits {
        NodeLimits {
            memory_capacity: 1 << 30,
            cpu_quota: true,
            cpu_period: Duration::from_millis(100),
            pids_per_pod: -1,
            unified: false,
            single_process_oom_kill: true,
            limits_swap: false,
            shared_swap: 0,
            huge_pages: Vec::new(),
        }
    }

    fn pod(containers: Value) -> Pod {
        let object = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": containers}});
        serde_json::from_value(object).unwrap()
    }

    fn one(resources: Value) -> Pod {
        pod(json!([{"name": "c", "resources": resources}]))
    }

    fn settings(pod: &Pod, node: &NodeLimits) -> v1::LinuxContainerResources {
        linux(pod, &pod.spec.as_ref().unwrap().containers[0], node)
    }

    #[test]
    fn s07_container_limits_follow_its_requests_and_limits() {
        // Resources, then shares, quota, memory.
        let cases = [
            (json!({}), (2, 0, 0)),
            (
                json!({"requests": {"cpu": "100m", "memory": "100Mi"}}),
                (102, 0, 0),
            ),
            (
                json!({"limits": {"cpu": "500m", "memory": "64Mi"}}),
                (512, 50_000, 64 << 20),
            ),
            (
                json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "2"}}),
                (256, 200_000, 0),
            ),
        ];
        for (resources, expected) in cases {
            let made = settings(&one(resources.clone()), &node());
            let got = (made.cpu_shares, made.cpu_quota, made.memory_limit_in_bytes);
            assert_eq!(got, expected, "{resources}");
            assert_eq!(made.cpu_period, if made.cpu_quota > 0 { 100_000 } else { 0 });
            assert!(made.unified.is_empty() && made.hugepage_limits.is_empty());
        }
        let without = NodeLimits {
            cpu_quota: false,
            ..node()
        };
        assert_eq!(
            settings(&one(json!({"limits": {"cpu": "1"}})), &without).cpu_quota,
            0
        );
    }

    #[test]
    fn p21_v2_files_follow_the_configuration() {
        for (single, swap, expected) in [
            (false, false, vec![("memory.oom.group", "1")]),
            (true, false, vec![]),
            (true, true, vec![("memory.swap.max", "0")]),
        ] {
            let node = NodeLimits {
                unified: true,
                single_process_oom_kill: single,
                limits_swap: swap,
                ..node()
            };
            let unified = settings(&one(json!({})), &node).unified;
            let expected = expected
                .into_iter()
                .map(|(file, value)| (file.to_owned(), value.to_owned()));
            assert_eq!(unified, expected.collect());
        }
    }

    #[test]
    fn burstable_containers_share_the_swap_by_the_memory_they_asked_for() {
        let node = NodeLimits {
            unified: true,
            limits_swap: true,
            shared_swap: 512 << 20,
            ..node()
        };
        let asks = |request: &str, limit: &str| json!({"requests": {"memory": request}, "limits": {"memory": limit}});
        for (resources, priority, expected) in [
            (json!({"requests": {"memory": "256Mi"}}), 0, 128 << 20),
            (asks("256Mi", "512Mi"), 0, 128 << 20),
            (json!({"requests": {"cpu": "1"}}), 0, 0),
            (json!({}), 0, 0),
            (asks("256Mi", "256Mi"), 0, 0),
            (json!({"requests": {"memory": "256Mi"}}), 2_000_000_000, 0),
        ] {
            let mut pod = one(resources.clone());
            pod.spec.as_mut().unwrap().priority = Some(priority);
            let given = settings(&pod, &node).unified["memory.swap.max"].clone();
            assert_eq!(given, expected.to_string(), "{resources} {priority}");
        }
    }

    #[test]
    fn huge_pages_are_limited_in_every_size_of_the_node() {
        let node = NodeLimits {
            huge_pages: vec![("2MB".into(), "2Mi".into()), ("1GB".into(), "1Gi".into())],
            ..node()
        };
        let made = settings(
            &one(json!({"limits": {"hugepages-2Mi": "4Mi", "memory": "1Mi"}})),
            &node,
        );
        let limits: Vec<_> = made
            .hugepage_limits
            .iter()
            .map(|l| (l.page_size.as_str(), l.limit))
            .collect();
        assert_eq!(limits, [("2MB", 4 << 20), ("1GB", 0)]);
    }

    #[test]
    fn s09_oom_score_follows_class_priority_and_request() {
        let all = json!({"cpu": "1", "memory": "1Gi"});
        let cases = [
            (json!({}), None, 1000),
            (json!({"requests": all, "limits": all}), None, -997),
            (json!({"requests": {"memory": "256Mi"}}), None, 750),
            (json!({"requests": {"memory": "1Mi"}}), None, 999),
            (json!({"requests": {"cpu": "1"}}), None, 999),
            (json!({"requests": {"memory": "8Gi"}}), None, 3),
            (json!({}), Some(2_000_001_000), -997),
            (json!({}), Some(2_000_000_000), 1000),
        ];
        for (resources, priority, expected) in cases {
            let mut pod = one(resources.clone());
            pod.spec.as_mut().unwrap().priority = priority;
            assert_eq!(
                settings(&pod, &node()).oom_score_adj,
                expected,
                "{resources} {priority:?}"
            );
        }
    }

    #[test]
    fn s09_static_pod_of_the_nodes_own_class_is_as_safe_without_the_number() {
        let score = |class: &str, source: &str| {
            let mut pod = one(json!({}));
            pod.spec.as_mut().unwrap().priority_class_name = Some(class.to_owned());
            let source = ("kubernetes.io/config.source".to_owned(), source.to_owned());
            pod.metadata.annotations = Some([source].into());
            settings(&pod, &node()).oom_score_adj
        };
        assert_eq!(score("system-node-critical", "file"), -997);
        assert_eq!(score("system-cluster-critical", "file"), 1000);
        assert_eq!(score("system-node-critical", "api"), 1000);
    }

    #[test]
    fn s09_sidecar_is_no_readier_to_die_than_those_it_serves() {
        let object = json!({"metadata": {"uid": "u"}, "spec": {
            "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
            "containers": [{"name": "c", "resources": {"requests": {"memory": "512Mi"}}}]}});
        let pod: Pod = serde_json::from_value(object).unwrap();
        let init = pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap();
        assert_eq!(oom_score_adj(&pod, &init[0], 1 << 30), 500);
        assert_eq!(oom_score_adj(&pod, &init[1], 1 << 30), 999);
    }

    /// Its containers may use all of it, and those that say nothing are as safe as what is left for them.
    #[test]
    fn pod_level_resources_stand_in_for_those_that_containers_lack() {
        let mut pod = pod(json!([{"name": "c"}, {"name": "own", "resources":
            {"requests": {"memory": "256Mi"}, "limits": {"cpu": "250m", "memory": "256Mi"}}}]));
        let whole = json!({"requests": {"memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "768Mi"}});
        pod.spec.as_mut().unwrap().resources = serde_json::from_value(whole).unwrap();
        let of = |index: usize| {
            let made = linux(&pod, &pod.spec.as_ref().unwrap().containers[index], &node());
            (
                made.cpu_shares,
                made.cpu_quota,
                made.memory_limit_in_bytes >> 20,
                made.oom_score_adj,
            )
        };
        assert_eq!(of(0), (512, 50_000, 768, 875));
        assert_eq!(of(1), (256, 25_000, 256, 625));
    }

    #[test]
    fn s07_s08_pod_is_limited_only_where_every_container_is() {
        let limited = json!({"name": "c", "resources":
            {"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"cpu": "500m"}}});
        let half = json!({"name": "d", "resources": {"limits": {"memory": "64Mi"}}});
        let alone = of_pod(&pod(json!([limited])), &node());
        assert_eq!(alone.quota, Some((50_000, 100_000)));
        assert_eq!(
            (alone.shares, alone.memory, alone.pids),
            (Some(512), Some(64 << 20), None)
        );
        let both = of_pod(
            &pod(json!([limited, half])),
            &NodeLimits {
                pids_per_pod: 1024,
                ..node()
            },
        );
        assert_eq!(
            (both.quota, both.memory, both.pids),
            (None, Some(128 << 20), Some(1024))
        );
        assert_eq!(of_sandbox(&pod(json!([limited])), &node()).cpu_quota, 50_000);
    }

    #[test]
    fn overhead_of_the_runtime_is_told_apart() {
        let limited = json!({"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}});
        let mut pod = pod(json!([limited]));
        let overhead = json!({"cpu": "250m", "memory": "16Mi"});
        pod.spec.as_mut().unwrap().overhead = serde_json::from_value(overhead).unwrap();
        let (sandbox, cgroup) = (of_sandbox(&pod, &node()), of_pod(&pod, &node()));
        assert_eq!(
            (sandbox.cpu_quota, sandbox.memory_limit_in_bytes),
            (50_000, 64 << 20)
        );
        assert_eq!((cgroup.quota.unwrap().0, cgroup.memory), (75_000, Some(80 << 20)));
        let told = of_overhead(pod.spec.as_ref().unwrap()).unwrap();
        assert_eq!(
            (told.cpu_shares, told.cpu_quota, told.memory_limit_in_bytes),
            (256, 25_000, 16 << 20)
        );
    }
}
