//! Keys of annotations, labels, taints and the other well-known names, spelled once.

use jiff::Timestamp;

/// Where the kubelet got the pod from: `file`, `http` or `api`.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// UID of the static pod; changes when its manifest changes.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// When the kubelet first saw the pod.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
/// Present on mirror pods; equals the static pod's `config.hash`.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// Value of [`CONFIG_SOURCE`] for manifests on disk.
pub const SOURCE_FILE: &str = "file";
/// Value of [`CONFIG_SOURCE`] for manifests fetched from a URL.
pub const SOURCE_HTTP: &str = "http";
/// Value of [`CONFIG_SOURCE`] for pods from the API server.
pub const SOURCE_API: &str = "api";

/// Template generation of a DaemonSet, as an annotation for old clients.
pub const DAEMON_TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
/// Label of DaemonSet pods: the decimal template generation.
pub const POD_TEMPLATE_GENERATION: &str = "pod-template-generation";
/// Label of DaemonSet pods and revisions: hash of the template.
pub const CONTROLLER_REVISION_HASH: &str = "controller-revision-hash";
/// Label of StatefulSets' revisions: hash of what is in them. Their pods have the revision's name instead.
pub const REVISION_DATA_HASH: &str = "controller.kubernetes.io/hash";

/// Label of a Secret with a token: the day of the token's last use.
pub const TOKEN_LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// Label of a Secret with a token: the day since which the token isn't taken any more.
pub const TOKEN_INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// The day of a time, as those two have it.
pub fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Label every Namespace carries.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Node label: host name.
pub const NODE_HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// Node label: operating system.
pub const NODE_OS_LABEL: &str = "kubernetes.io/os";
/// Node label: architecture.
pub const NODE_ARCH_LABEL: &str = "kubernetes.io/arch";

/// Taint of nodes whose Ready condition is False.
pub const TAINT_NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Taint of nodes whose Ready condition is Unknown.
pub const TAINT_UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint of cordoned nodes.
pub const TAINT_UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taint of nodes low on disk.
pub const TAINT_DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
/// Taint of nodes low on memory.
pub const TAINT_MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
/// Taint of nodes low on process ids.
pub const TAINT_PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
/// Taint of nodes whose network is not set up.
pub const TAINT_NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";
/// Taint set by an administrator on nodes that are gone for good.
pub const TAINT_OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Condition of pods for which there is a newer template, in OpenYurt's words.
pub const POD_NEED_UPGRADE: &str = "PodNeedUpgrade";
/// Label of pods that do nothing but pull images: the uid of the DaemonSet for which they do.
pub const PRE_PULL_SET: &str = "orlop.dev/pre-pull-for";
/// Label of such pods: the revision whose images they pull.
pub const PRE_PULL_HASH: &str = "orlop.dev/pre-pull-revision";

/// On a DaemonSet, `true`: new nodes stay tainted until its pod there is Ready.
pub const NODE_GATE: &str = "orlop.dev/node-gate";
/// Taint of nodes whose gate is closed.
pub const NODE_GATE_TAINT: &str = "orlop.dev/node-gate";
/// On a node: the DaemonSets for which its gate was opened, as `namespace.name,…`.
pub const NODE_GATE_OPENED: &str = "orlop.dev/node-gate-opened";

/// Priority class of the node's own daemons.
pub const SYSTEM_NODE_CRITICAL: &str = "system-node-critical";
/// Priority class of the cluster's own services.
pub const SYSTEM_CLUSTER_CRITICAL: &str = "system-cluster-critical";
/// Priority from which a pod is critical; value of `system-cluster-critical`.
pub const SYSTEM_CRITICAL_PRIORITY: i32 = 2_000_000_000;
/// Value of `system-node-critical`.
pub const SYSTEM_NODE_CRITICAL_PRIORITY: i32 = 2_000_001_000;
/// Largest value a user's priority class may have.
pub const USER_PRIORITY_MAX: i32 = 1_000_000_000;
