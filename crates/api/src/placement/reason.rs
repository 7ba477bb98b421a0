//! Why a pod may not run on a node.

use std::fmt;

use k8s_openapi::api::core::v1::Taint;

use crate::taints;

/// One reason; its `Display` is the scheduler's text, which users and tools match on.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Cordoned.
    NodeUnschedulable,
    /// `spec.nodeName` names another node.
    NodeName,
    /// The taint nothing tolerates.
    TaintToleration { taint: Taint },
    /// nodeSelector or required node affinity.
    NodeAffinity,
    /// What the scheduler's configuration demands of nodes for all pods.
    EnforcedAffinity,
    /// A host port is taken.
    NodePorts,
    /// The node's `pods` are used up.
    TooManyPods { used: i64, capacity: i64 },
    /// Not enough left (`cpu` in thousandths, all else in units).
    Insufficient {
        resource: String,
        requested: i64,
        used: i64,
        capacity: i64,
    },
    /// A claim that one pod alone may use is another's.
    ClaimInUse,
    /// As many volumes are attached as the node's driver can.
    VolumeLimit,
    /// A bound claim's volume can't be reached from there.
    VolumeNodeAffinity,
    /// A claim finds no volume there.
    VolumeBinding,
    /// Nobody has room for a claim's volume there.
    VolumeRoom,
    /// A bound claim's volume is gone.
    VolumeLost,
    /// A bound claim's volume is in another zone or region.
    VolumeZone,
    /// A required topology spread constraint.
    TopologySpread,
    /// The node has no label that a required topology spread constraint speaks of.
    TopologySpreadLabel,
    /// Required pod affinity.
    PodAffinity,
    /// Required pod anti-affinity.
    PodAntiAffinity,
    /// The required anti-affinity of a pod that is there.
    ExistingPodsAntiAffinity,
}

impl Reason {
    /// Could evicting other pods help?
    pub fn preemption_helps(&self) -> bool {
        match self {
            Reason::NodePorts
            | Reason::ClaimInUse
            | Reason::VolumeLimit
            | Reason::TopologySpread
            | Reason::PodAntiAffinity
            | Reason::ExistingPodsAntiAffinity => true,
            Reason::TooManyPods { capacity, .. } => *capacity > 0,
            Reason::Insufficient {
                requested, capacity, ..
            } => requested <= capacity,
            _ => false,
        }
    }

    /// Is it a shortage of something countable (what a critical pod may preempt for)?
    pub fn is_resource(&self) -> bool {
        matches!(self, Reason::TooManyPods { .. } | Reason::Insufficient { .. })
    }

    /// The filter's name.
    pub fn filter(&self) -> &'static str {
        match self {
            Reason::NodeUnschedulable => "NodeUnschedulable",
            Reason::NodeName => "NodeName",
            Reason::TaintToleration { .. } => "TaintToleration",
            Reason::NodeAffinity | Reason::EnforcedAffinity => "NodeAffinity",
            Reason::NodePorts => "NodePorts",
            Reason::TooManyPods { .. } | Reason::Insufficient { .. } => "NodeResourcesFit",
            Reason::ClaimInUse => "VolumeRestrictions",
            Reason::VolumeLimit => "NodeVolumeLimits",
            Reason::VolumeNodeAffinity | Reason::VolumeBinding | Reason::VolumeRoom | Reason::VolumeLost => {
                "VolumeBinding"
            }
            Reason::VolumeZone => "VolumeZone",
            Reason::TopologySpread | Reason::TopologySpreadLabel => "PodTopologySpread",
            Reason::PodAffinity | Reason::PodAntiAffinity | Reason::ExistingPodsAntiAffinity => {
                "InterPodAffinity"
            }
        }
    }

    /// `status.reason` of a pod the kubelet rejects for it.
    pub fn admission_reason(&self) -> String {
        match self {
            Reason::TooManyPods { .. } => "OutOfpods".to_owned(),
            Reason::Insufficient { resource, .. } => format!("OutOf{resource}"),
            other => other.filter().to_owned(),
        }
    }

    /// The kubelet's rejection message (without the prefix `Pod was rejected: `).
    pub fn admission_message(&self) -> String {
        let shortage = |resource: &str, requested: i64, used: i64, capacity: i64| {
            format!(
                "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
            )
        };
        match self {
            Reason::TooManyPods { used, capacity } => shortage("pods", 1, *used, *capacity),
            Reason::Insufficient {
                resource,
                requested,
                used,
                capacity,
            } => shortage(resource, *requested, *used, *capacity),
            other => format!("Predicate {} failed: {other}", other.filter()),
        }
    }

    /// More than the scheduler says: names the taint.
    pub fn detail(&self) -> String {
        match self {
            Reason::TaintToleration { taint } => format!("untolerated taint {}", taints::display(taint)),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NodeUnschedulable => f.write_str("node(s) were unschedulable"),
            Reason::NodeName => f.write_str("node(s) didn't match the requested node name"),
            Reason::TaintToleration { .. } => f.write_str("node(s) had untolerated taint(s)"),
            Reason::NodeAffinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Reason::EnforcedAffinity => {
                f.write_str("node(s) didn't match scheduler-enforced node affinity")
            }
            Reason::NodePorts => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Reason::TooManyPods { .. } => f.write_str("Too many pods"),
            Reason::Insufficient { resource, .. } => write!(f, "Insufficient {resource}"),
            Reason::ClaimInUse => f.write_str(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            ),
            Reason::VolumeLimit => f.write_str("node(s) exceed max volume count"),
            Reason::VolumeZone => f.write_str("node(s) had no available volume zone"),
            Reason::VolumeNodeAffinity => f.write_str("node(s) had volume node affinity conflict"),
            Reason::VolumeBinding => f.write_str("node(s) didn't find available persistent volumes to bind"),
            Reason::VolumeRoom => f.write_str("node(s) did not have enough free storage"),
            Reason::VolumeLost => {
                f.write_str("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
            }
            Reason::TopologySpread => f.write_str("node(s) didn't match pod topology spread constraints"),
            Reason::TopologySpreadLabel => {
                f.write_str("node(s) didn't match pod topology spread constraints (missing required label)")
            }
            Reason::PodAffinity => f.write_str("node(s) didn't match pod affinity rules"),
            Reason::PodAntiAffinity => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Reason::ExistingPodsAntiAffinity => {
                f.write_str("node(s) didn't satisfy existing pods anti-affinity rules")
            }
        }
    }
}
