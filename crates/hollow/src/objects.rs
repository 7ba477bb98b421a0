//! The objects that a hollow node writes. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::view::HollowPod;

/// What a node agent of this version is called.
const KUBELET_VERSION: &str = "v1.36.0+hollow";

/// The conditions that a node posts, in their order.
pub fn conditions(ready: bool, now: Timestamp) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": Time(now), "lastTransitionTime": Time(now)})
    };
    let (status, reason, message) = if ready {
        ("True", "KubeletReady", "kubelet is posting ready status")
    } else {
        (
            "False",
            "KubeletNotReady",
            "the schedule of this hollow node says so",
        )
    };
    json!([
        condition(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"
        ),
        condition(
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure"
        ),
        condition(
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available"
        ),
        condition("Ready", status, reason, message),
    ])
}

/// The Node object of its number.
pub fn node(fleet: &Fleet, number: usize, ready: bool, now: Timestamp) -> Value {
    let name = fleet.node_name(number);
    let mut labels = json!({
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": "amd64",
    });
    for (key, value) in &fleet.labels {
        labels[key] = json!(value);
    }
    let room =
        json!({"cpu": fleet.cpu, "memory": fleet.memory, "pods": fleet.pods, "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": conditions(ready, now),
            "addresses": [
                {"type": "InternalIP", "address": address(0xAC10_0000, number)},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "machineID": name, "systemUUID": name, "bootID": name,
                "kernelVersion": "0.0.0-hollow", "osImage": "hollow", "containerRuntimeVersion": "hollow://1",
                "kubeletVersion": KUBELET_VERSION, "kubeProxyVersion": "",
                "operatingSystem": "linux", "architecture": "amd64",
            },
        },
    })
}

/// A node's status as a patch: its heartbeat, or that it is ready or not.
pub fn node_status(ready: bool, now: Timestamp) -> Value {
    json!({"status": {"conditions": conditions(ready, now)}})
}

/// The Lease by which a node shows that it lives; over one of that version.
pub fn lease(name: &str, uid: &str, version: Option<&str>, now: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "resourceVersion": version,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}],
        },
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": MicroTime(now)},
    })
}

/// How a pod is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// All containers run and are ready.
    Running,
    /// Its containers have ended well.
    Succeeded,
    /// Taken down by its node.
    Failed,
}

/// A pod's status as a patch of that very pod.
pub fn pod_status(pod: &HollowPod, uid: &str, doing: Doing, number: usize, now: Timestamp) -> Value {
    let (running, failed) = (doing == Doing::Running, doing == Doing::Failed);
    let phase = match doing {
        Doing::Running => "Running",
        Doing::Succeeded => "Succeeded",
        Doing::Failed => "Failed",
    };
    let condition = |kind: &str, status: bool| json!({"type": kind, "status": if status { "True" } else { "False" }, "lastTransitionTime": Time(now)});
    let state = |container: &str| {
        if running {
            json!({"running": {"startedAt": Time(now)}})
        } else {
            let (code, reason) = if failed { (1, "Error") } else { (0, "Completed") };
            json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": Time(now),
                "containerID": format!("hollow://{uid}-{container}")}})
        }
    };
    let containers: Vec<Value> = pod
        .containers
        .iter()
        .map(|(name, image)| {
            json!({"name": name, "image": image, "imageID": image, "ready": running, "started": running,
                "restartCount": 0, "containerID": format!("hollow://{uid}-{name}"), "state": state(name)})
        })
        .collect();
    let address = address(0x0A80_0000, number);
    let mut status = json!({
        "phase": phase,
        "conditions": [
            condition("PodReadyToStartContainers", running),
            condition("Initialized", true),
            condition("Ready", running),
            condition("ContainersReady", running),
            condition("PodScheduled", true),
        ],
        "containerStatuses": containers,
        "podIP": address,
        "podIPs": [{"ip": address}],
    });
    if failed {
        status["reason"] = json!("Hollow");
        status["message"] = json!("the schedule of this hollow node says so");
    } else {
        status["startTime"] = json!(Time(now));
    }
    json!({"metadata": {"uid": uid}, "status": status})
}

/// The address of that number above `base`.
fn address(base: u32, number: usize) -> String {
    let number = u32::try_from(number % (1 << 22)).unwrap_or(0);
    std::net::Ipv4Addr::from(base + 1 + number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::Lease;
    use k8s_openapi::api::core::v1::{Node, Pod};

    fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn objects_are_what_a_node_agent_writes() {
        let fleet = Fleet {
            labels: vec![("zone".into(), "a".into())],
            ..Fleet::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let node: Node = parsed(node(&fleet, 7, true, now));
        assert_eq!(node.metadata.name.as_deref(), Some("hollow-00007"));
        assert_eq!(node.metadata.labels.unwrap()["zone"], "a");
        let status = node.status.unwrap();
        assert_eq!(status.allocatable.unwrap()["pods"].0, "110");
        let ready = status.conditions.unwrap().pop().unwrap();
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "True"));
        let lease: Lease = parsed(lease("n", "u", None, now));
        assert_eq!(lease.metadata.owner_references.unwrap()[0].uid, "u");
    }

    #[test]
    fn a_pod_that_runs_is_ready_and_one_that_failed_is_not() {
        let pod = HollowPod {
            node: Some("n".into()),
            containers: vec![("c".into(), "i:1".into())],
            ..HollowPod::default()
        };
        let of = |doing| {
            parsed::<Pod>(pod_status(&pod, "u", doing, 1, Timestamp::UNIX_EPOCH))
                .status
                .unwrap()
        };
        let ready = |status: &k8s_openapi::api::core::v1::PodStatus| {
            let conditions = status.conditions.as_ref().unwrap();
            conditions
                .iter()
                .find(|c| c.type_ == "Ready")
                .unwrap()
                .status
                .clone()
        };
        let running = of(Doing::Running);
        assert_eq!(
            (running.phase.as_deref(), ready(&running).as_str()),
            (Some("Running"), "True")
        );
        assert_eq!(running.pod_ip.as_deref(), Some("10.128.0.2"));
        let over = of(Doing::Succeeded);
        assert_eq!(
            (over.phase.as_deref(), ready(&over).as_str()),
            (Some("Succeeded"), "False")
        );
        let failed = of(Doing::Failed);
        assert_eq!(
            (failed.phase.as_deref(), ready(&failed).as_str()),
            (Some("Failed"), "False")
        );
    }
}
