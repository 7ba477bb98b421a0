//! A node, as far as controllers care.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::Taint;
use orlop_api::annotations::NODE_GATE_OPENED;
use orlop_api::placement::{KeptNode, NodeFacts};
use orlop_client::informer::{Lean, Projection, Shared};

/// Reason of the conditions of a node that never posted any.
pub const NEVER_UPDATED: &str = "NodeStatusNeverUpdated";
/// How many seconds the node's agent may keep what it read, in an annotation.
pub const NODE_TTL: &str = "node.alpha.kubernetes.io/ttl";

/// What is remembered of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostedCondition {
    /// Its type.
    pub type_: Box<str>,
    /// True, False or Unknown.
    pub status: Box<str>,
    /// It was made up for a node that never posted it.
    pub made_up: bool,
}

// What nodes that are doing alike have in common.
static CONDITIONS: Shared<[PostedCondition]> = Shared::new();

/// What is remembered of a node.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// What placement decides from, but for what is allocatable.
    pub node: KeptNode,
    /// status.conditions.
    pub conditions: Arc<[PostedCondition]>,
    /// When the node last posted condition Ready.
    pub heartbeat: Option<Timestamp>,
    /// metadata.creationTimestamp.
    pub created: Option<Timestamp>,
    /// spec.podCIDRs, or spec.podCIDR.
    pub pod_ranges: Box<[String]>,
    /// Annotation `orlop.dev/node-gate-opened`.
    pub gates_opened: Option<Box<str>>,
    /// Annotation [`NODE_TTL`], if it is a number.
    pub ttl: Option<u32>,
}

impl NodeView {
    /// spec.taints.
    pub fn taints(&self) -> &[Taint] {
        self.node.taints()
    }

    /// One label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.label(key)
    }

    /// One condition.
    pub fn condition(&self, condition_type: &str) -> Option<&PostedCondition> {
        self.conditions
            .iter()
            .find(|condition| *condition.type_ == *condition_type)
    }

    /// Whether condition Ready is True.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready")
            .is_some_and(|ready| *ready.status == *"True")
    }

    /// Whether placement may decide differently for `self` than for `old`.
    pub fn placed_differently(&self, old: &Self) -> bool {
        self.node.labels != old.node.labels || self.taints() != old.taints()
    }
}

impl Projection for NodeView {
    type Object = Lean<core::Node>;

    fn project(Lean(mut node): Lean<core::Node>) -> Self {
        let metadata = &mut node.metadata;
        let annotation = |key: &str| metadata.annotations.as_ref()?.get(key);
        let gates_opened = annotation(NODE_GATE_OPENED).map(|sets| sets.as_str().into());
        let ttl = annotation(NODE_TTL).and_then(|ttl| ttl.parse().ok());
        let created = metadata.creation_timestamp.take().map(|time| time.0);
        let pod_ranges = node.spec.as_mut().map(|spec| {
            let one = spec.pod_cidr.take();
            let all = spec.pod_cidrs.take().filter(|all| !all.is_empty());
            all.unwrap_or_else(|| Vec::from_iter(one)).into_boxed_slice()
        });
        let status = node.status.take().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        let heartbeat = ready.and_then(|ready| ready.last_heartbeat_time.as_ref());
        let heartbeat = heartbeat.map(|time| time.0);
        let conditions = conditions.into_iter().map(|condition| PostedCondition {
            made_up: condition.reason.as_deref() == Some(NEVER_UPDATED),
            type_: condition.type_.into(),
            status: condition.status.into(),
        });
        Self {
            gates_opened,
            ttl,
            created,
            pod_ranges: pod_ranges.unwrap_or_default(),
            conditions: CONDITIONS.share(conditions.collect()),
            heartbeat,
            node: KeptNode::without_room(node),
        }
    }
}
