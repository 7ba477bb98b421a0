//! A node, as far as controllers care.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{NodeCondition, NodeSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orlop_api::annotations::NODE_GATE_OPENED;
use orlop_client::informer::{Lean, Projection};

/// What is remembered of a node.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Name, uid and labels, taints and `unschedulable`: what placement decides from. No status.
    pub node: core::Node,
    /// status.conditions.
    pub conditions: Vec<NodeCondition>,
    /// metadata.creationTimestamp.
    pub created: Option<Timestamp>,
    /// spec.podCIDR.
    pub pod_range: Option<String>,
    /// Annotation `orlop.dev/node-gate-opened`.
    pub gates_opened: Option<Box<str>>,
}

impl NodeView {
    /// spec.taints.
    pub fn taints(&self) -> &[Taint] {
        orlop_api::taints::of(&self.node)
    }

    /// One label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// One condition.
    pub fn condition(&self, condition_type: &str) -> Option<&NodeCondition> {
        self.conditions
            .iter()
            .find(|condition| condition.type_ == condition_type)
    }

    /// Whether condition Ready is True.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready")
            .is_some_and(|ready| ready.status == "True")
    }

    /// Whether placement may decide differently for `self` than for `old`.
    pub fn placed_differently(&self, old: &Self) -> bool {
        self.node.metadata.labels != old.node.metadata.labels || self.taints() != old.taints()
    }
}

impl Projection for NodeView {
    type Object = Lean<core::Node>;

    fn project(Lean(node): Lean<core::Node>) -> Self {
        let metadata = node.metadata;
        let spec = node.spec.unwrap_or_default();
        let opened = metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(NODE_GATE_OPENED));
        Self {
            gates_opened: opened.map(|sets| sets.as_str().into()),
            created: metadata.creation_timestamp.map(|time| time.0),
            pod_range: spec.pod_cidr,
            node: core::Node {
                metadata: ObjectMeta {
                    name: metadata.name,
                    uid: metadata.uid,
                    labels: metadata.labels,
                    ..ObjectMeta::default()
                },
                spec: Some(NodeSpec {
                    taints: spec.taints,
                    unschedulable: spec.unschedulable,
                    ..NodeSpec::default()
                }),
                status: None,
            },
            conditions: node
                .status
                .and_then(|status| status.conditions)
                .unwrap_or_default(),
        }
    }
}
