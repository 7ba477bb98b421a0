//! What the scheduler remembers of nodes.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use orlop_api::placement::{KeptNode, Quantities};
use orlop_client::informer::{Lean, Projection, Shared};

use crate::known::images::NodeImages;

// What nodes of one kind have in common.
static ROOM: Shared<Quantities> = Shared::new();

/// What is remembered of a node: labels, taints, `unschedulable`, allocatable, and its images.
#[derive(Debug)]
pub struct NodeView {
    /// The node without the rest.
    pub node: KeptNode,
    /// What needs not be pulled there.
    pub images: NodeImages,
}

impl NodeView {
    /// Whether a pod that didn't fit on `old` may fit now.
    pub fn may_fit_differently(&self, old: &Self) -> bool {
        self.node != old.node
    }
}

impl Projection for NodeView {
    type Object = Lean<core::Node>;

    fn project(Lean(mut node): Lean<core::Node>) -> Self {
        let status = node.status.take().unwrap_or_default();
        let allocatable = status.allocatable;
        Self {
            images: NodeImages::of(status.images.as_deref().unwrap_or_default()),
            node: KeptNode {
                allocatable: allocatable.map(|all| ROOM.share(Arc::new(all))),
                ..KeptNode::without_room(node)
            },
        }
    }
}
