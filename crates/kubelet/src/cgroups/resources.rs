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
mod tests;
