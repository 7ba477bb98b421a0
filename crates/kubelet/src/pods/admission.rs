//! Whether a pod may run on this node (contract, node agent §18.1). Pure, but for the machine's own measures.
use super::preempt::{Shortage, shortage};
use super::sysctls;
use crate::node::state::Current;
use crate::runtime::apparmor;
use crate::upkeep::eviction::signals::Pressure;
use k8s_openapi::api::core::v1::{Node, NodeStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use orlop_api::annotations::{NODE_ARCH_LABEL, NODE_HOSTNAME_LABEL, NODE_OS_LABEL};
use orlop_api::placement::{NodeUsage, Reason, admission_failures};
use orlop_api::pod::{QosClass, qos_class};
use orlop_api::taints;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a pod is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `status.reason` and the event's reason.
    pub reason: String,
    /// What is told.
    pub message: String,
}

/// A pod that is not let in.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// What it is told.
    pub rejection: Rejection,
    /// Only room is missing, so much: a critical pod may have others make it.
    pub shortage: Option<Shortage>,
}

/// What the node lets in, beside its room.
pub struct Rules<'a> {
    /// `allowedUnsafeSysctls`.
    pub allowed_sysctls: &'a [String],
    /// The kernel enforces AppArmor's profiles.
    pub enforces_apparmor: bool,
    /// The runtime can leave out the groups that images give to users.
    pub has_strict_groups: bool,
    /// What the node is going through.
    pub state: &'a Current,
}

/// Lets a pod in beside those that are `active`, or says why not.
pub fn admit(
    pod: &Pod,
    is_static: bool,
    node: &Node,
    active: &[Arc<Pod>],
    rules: &Rules<'_>,
) -> Result<(), Refusal> {
    let Some(spec) = pod.spec.as_ref() else {
        return Ok(());
    };
    let refuse = |rejection| Refusal {
        rejection,
        shortage: None,
    };
    under_pressure(pod, spec, &rules.state.pressures).map_err(refuse)?;
    sysctls::check(spec, rules.allowed_sysctls).map_err(refuse)?;
    if let Some(os) = spec.os.as_ref().filter(|os| os.name != "linux") {
        return Err(refuse(Rejection {
            reason: "PodOSNotSupported".into(),
            message: format!(
                "Failed to admit pod as the OS field doesn't match node OS: {} is not linux",
                os.name
            ),
        }));
    }
    let usage = NodeUsage::of(active.iter().map(AsRef::as_ref));
    let mut failures = admission_failures(spec, is_static, node, &usage);
    // A critical pod's shortage of resources matters only when nothing else is in its way.
    if orlop_api::pod::is_critical(pod) && failures.iter().any(|failure| !failure.is_resource()) {
        failures.retain(|failure| !failure.is_resource());
    }
    if let Some(failure) = failures.first() {
        return Err(Refusal {
            rejection: rejection(failure),
            shortage: shortage(&failures),
        });
    }
    let context = spec.security_context.as_ref();
    let groups = context.and_then(|context| context.supplemental_groups_policy.as_deref());
    if groups == Some("Strict") && !rules.has_strict_groups {
        return Err(refuse(Rejection {
            reason: "SupplementalGroupsPolicyNotSupported".into(),
            message: "SupplementalGroupsPolicy=Strict is not supported in this node".into(),
        }));
    }
    if !rules.enforces_apparmor && apparmor::is_wanted(pod) {
        return Err(refuse(Rejection {
            reason: "AppArmor".into(),
            message: "Cannot enforce AppArmor: AppArmor is not enabled on the host".into(),
        }));
    }
    if rules.state.is_shutting_down {
        return Err(refuse(Rejection {
            reason: "NodeShutdown".into(),
            message: "Pod was rejected as the node is shutting down.".into(),
        }));
    }
    Ok(())
}

/// A node that runs short takes only pods that it cannot do without, and, short of memory, those that ask for some.
fn under_pressure(pod: &Pod, spec: &PodSpec, pressures: &[Pressure]) -> Result<(), Rejection> {
    if pressures.is_empty() || orlop_api::pod::is_critical(pod) {
        return Ok(());
    }
    if *pressures == [Pressure::Memory] {
        let taint = taints::taint("node.kubernetes.io/memory-pressure", taints::NO_SCHEDULE);
        let tolerations = spec.tolerations.as_deref().unwrap_or_default();
        if qos_class(pod) != QosClass::BestEffort || taints::any_tolerates(tolerations, &taint) {
            return Ok(());
        }
    }
    let names: Vec<&str> = pressures.iter().map(|pressure| pressure.condition()).collect();
    Err(Rejection {
        reason: "Evicted".into(),
        message: format!("The node had condition: [{}]. ", names.join(" ")),
    })
}

/// Why a critical pod stays out for which others cannot make room.
pub fn no_room(shortage: &Shortage) -> Rejection {
    let missing: String = shortage
        .iter()
        .map(|(resource, missing)| format!("(res: {resource}, q: {missing}), "))
        .collect();
    Rejection {
        reason: "UnexpectedAdmissionError".into(),
        message: format!(
            "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods \
             to preempt: no set of running pods found to reclaim resources: [{missing}]"
        ),
    }
}

fn rejection(failure: &Reason) -> Rejection {
    Rejection {
        reason: failure.admission_reason(),
        message: failure.admission_message(),
    }
}

/// The node as this machine is, for as long as there is no Node object.
pub fn node_of_machine(name: &str, labels: &BTreeMap<String, String>, max_pods: i32) -> Node {
    let mut all = BTreeMap::from([
        (NODE_HOSTNAME_LABEL.to_owned(), name.to_owned()),
        (NODE_OS_LABEL.to_owned(), "linux".to_owned()),
        (NODE_ARCH_LABEL.to_owned(), architecture().to_owned()),
    ]);
    all.extend(labels.clone());
    let mut node = Node {
        status: Some(NodeStatus::default()),
        ..Node::default()
    };
    node.metadata.name = Some(name.to_owned());
    node.metadata.labels = Some(all);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let resources = BTreeMap::from([
        ("cpu".to_owned(), Quantity(cores.to_string())),
        (
            "memory".to_owned(),
            Quantity(format!("{}Ki", memory_kib().unwrap_or(0))),
        ),
        ("pods".to_owned(), Quantity(max_pods.to_string())),
        ("ephemeral-storage".to_owned(), Quantity(disk_bytes().to_string())),
    ]);
    node.status = Some(NodeStatus {
        allocatable: Some(resources.clone()),
        capacity: Some(resources),
        ..NodeStatus::default()
    });
    node
}

/// The Node object, with the machine's measures where it has none yet.
pub fn with_measures(node: &Node, machine: &Node) -> Node {
    let mut node = node.clone();
    let status = node.status.get_or_insert_default();
    let measures = machine.status.clone().unwrap_or_default();
    if status.allocatable.as_ref().is_none_or(BTreeMap::is_empty) {
        status.allocatable = measures.allocatable;
        status.capacity = measures.capacity;
    }
    node
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn memory_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn disk_bytes() -> u64 {
    rustix::fs::statvfs("/")
        .map(|disk| disk.f_blocks * disk.f_frsize)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn admitted(pod: &Pod, is_static: bool, node: &Node, active: &[Arc<Pod>]) -> Result<(), Refusal> {
        in_state(pod, is_static, node, active, &Current::default())
    }

    fn in_state(
        pod: &Pod,
        is_static: bool,
        node: &Node,
        active: &[Arc<Pod>],
        state: &Current,
    ) -> Result<(), Refusal> {
        let rules = Rules {
            allowed_sysctls: &[],
            enforces_apparmor: false,
            has_strict_groups: false,
            state,
        };
        admit(pod, is_static, node, active, &rules)
    }

    fn node() -> Node {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "n1", "labels": {"kubernetes.io/os": "linux"}},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}},
        }))
        .unwrap()
    }

    #[test]
    fn p23_a31_pods_that_do_not_fit_are_rejected_with_the_reason() {
        let big = serde_json::json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]});
        let other_os = serde_json::json!({"os": {"name": "windows"}, "containers": []});
        let selector = serde_json::json!({"nodeSelector": {"disk": "ssd"}, "containers": []});
        let port = serde_json::json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        let active = [Arc::new(pod(port.clone()))];
        for (spec, reason) in [
            (big, "OutOfcpu"),
            (other_os, "PodOSNotSupported"),
            (selector, "NodeAffinity"),
            (port, "NodePorts"),
        ] {
            assert_eq!(
                admitted(&pod(spec), false, &node(), &active)
                    .unwrap_err()
                    .rejection
                    .reason,
                reason
            );
        }
        assert_eq!(
            admitted(
                &pod(serde_json::json!({"containers": []})),
                false,
                &node(),
                &active
            ),
            Ok(())
        );
    }

    #[test]
    fn machine_stands_in_for_a_node_that_is_not_registered_yet() {
        let machine = node_of_machine("n1", &BTreeMap::from([("team".into(), "a".into())]), 110);
        let spec = serde_json::json!({"nodeSelector": {"team": "a", "kubernetes.io/hostname": "n1"}, "containers":
            [{"name": "c", "resources": {"requests": {"cpu": "10m", "memory": "1Mi"}}}]});
        assert_eq!(admitted(&pod(spec.clone()), true, &machine, &[]), Ok(()));
        let mut bare = machine.clone();
        bare.status = None;
        assert_eq!(
            admitted(&pod(spec), true, &with_measures(&bare, &machine), &[]),
            Ok(())
        );
    }

    #[test]
    fn pressure_keeps_out_what_the_node_can_do_without() {
        let best_effort = || pod(serde_json::json!({"containers": []}));
        let burstable = || {
            let container = serde_json::json!({"name": "c", "resources": {"requests": {"memory": "1Mi"}}});
            pod(serde_json::json!({"containers": [container]}))
        };
        let critical = || pod(serde_json::json!({"priority": 2_000_000_000, "containers": []}));
        let refused = |pod: Pod, pressures: &[Pressure]| {
            let state = Current {
                pressures: pressures.to_vec(),
                ..Current::default()
            };
            let refusal = in_state(&pod, false, &node(), &[], &state).err()?;
            assert_eq!(refusal.rejection.reason, "Evicted");
            Some(refusal.rejection.message)
        };
        assert_eq!(
            refused(best_effort(), &[Pressure::Memory]).unwrap(),
            "The node had condition: [MemoryPressure]. "
        );
        assert_eq!(refused(burstable(), &[Pressure::Memory]), None);
        assert_eq!(
            refused(burstable(), &[Pressure::Memory, Pressure::Disk]).unwrap(),
            "The node had condition: [MemoryPressure DiskPressure]. "
        );
        assert_eq!(refused(critical(), &[Pressure::Disk, Pressure::Pids]), None);
        let mut tolerant = best_effort();
        tolerant.spec.as_mut().unwrap().tolerations = Some(vec![taints::tolerate_forever(
            "node.kubernetes.io/memory-pressure",
            "NoSchedule",
        )]);
        assert_eq!(refused(tolerant, &[Pressure::Memory]), None);
    }

    #[test]
    fn strict_groups_are_refused_where_the_runtime_cannot_keep_them() {
        let spec = |policy: &str| {
            pod(
                serde_json::json!({"securityContext": {"supplementalGroupsPolicy": policy}, "containers": []}),
            )
        };
        let refusal = admitted(&spec("Strict"), false, &node(), &[]).unwrap_err();
        assert_eq!(refusal.rejection.reason, "SupplementalGroupsPolicyNotSupported");
        assert_eq!(admitted(&spec("Merge"), false, &node(), &[]), Ok(()));
    }

    #[test]
    fn s14_profile_that_nobody_enforces_keeps_the_pod_out() {
        let confined = serde_json::json!({"containers": [{"name": "c", "securityContext":
            {"appArmorProfile": {"type": "Localhost", "localhostProfile": "deny-write"}}}]});
        let refusal = admitted(&pod(confined), false, &node(), &[]).unwrap_err();
        assert_eq!(refusal.rejection.reason, "AppArmor");
        assert!(refusal.rejection.message.starts_with("Cannot enforce AppArmor: "));
    }

    #[test]
    fn n07_node_that_shuts_down_takes_nothing_in() {
        let state = Current {
            is_shutting_down: true,
            ..Current::default()
        };
        let pod = pod(serde_json::json!({"containers": []}));
        let refusal = in_state(&pod, true, &node(), &[], &state).unwrap_err();
        assert_eq!(refusal.rejection.reason, "NodeShutdown");
    }

    #[test]
    fn shortage_is_told_only_when_room_is_all_that_lacks() {
        let spec = |selector: serde_json::Value| {
            let container = serde_json::json!({"name": "c", "resources": {"requests": {"cpu": "3"}}});
            pod(serde_json::json!({"nodeSelector": selector, "containers": [container]}))
        };
        let shortage = |pod: Pod| admitted(&pod, false, &node(), &[]).unwrap_err().shortage;
        let missing = [("cpu".to_owned(), 1000)].into();
        assert_eq!(shortage(spec(serde_json::json!({}))), Some(missing));
        assert_eq!(shortage(spec(serde_json::json!({"disk": "ssd"}))), None);
    }
}
