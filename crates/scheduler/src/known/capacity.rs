//! What is remembered of CSI's drivers: how much room they have for new volumes, and where.

use std::sync::Arc;

use k8s_openapi::api::storage::v1 as storage;
use orlop_api::quantity::{Amount, amount};
use orlop_api::selector::{LabelSelector, Operator};
use orlop_client::informer::{Projection, Shared};

use super::view::NodeView;

/// What is remembered of a CSIDriver.
#[derive(Debug, PartialEq)]
pub struct DriverView {
    /// It tells where it has how much room (spec.storageCapacity).
    pub tells_room: bool,
}

impl Projection for DriverView {
    type Object = storage::CSIDriver;

    fn project(driver: storage::CSIDriver) -> Self {
        Self {
            tells_room: driver.spec.storage_capacity == Some(true),
        }
    }
}

/// What is remembered of a CSIStorageCapacity.
#[derive(Debug, PartialEq)]
pub struct CapacityView {
    /// storageClassName.
    pub class: Arc<str>,
    /// The largest volume that can be made: maximumVolumeSize, or else capacity. `None` if nothing is known of it.
    pub largest: Option<Amount>,
    /// The nodes that can reach it (nodeTopology).
    nodes: LabelSelector,
}

// Each is about a class and a part of the nodes.
static CLASSES: Shared<str> = Shared::new();

impl Projection for CapacityView {
    type Object = storage::CSIStorageCapacity;

    fn project(room: storage::CSIStorageCapacity) -> Self {
        let nodes = room.node_topology.as_ref();
        let nodes = nodes.and_then(|nodes| LabelSelector::from_meta(nodes).ok());
        Self {
            class: CLASSES.share(room.storage_class_name.into()),
            largest: room.maximum_volume_size.or(room.capacity).as_ref().map(amount),
            nodes: nodes.unwrap_or_else(LabelSelector::nothing),
        }
    }
}

impl CapacityView {
    /// Whether the node can reach it.
    pub fn is_reachable_from(&self, node: &NodeView) -> bool {
        self.nodes.matches(&node.node.labels)
    }

    /// A label that every node has which can reach it, and its value, if one label alone tells that.
    pub fn label(&self) -> Option<(&str, &str)> {
        let mut wanted = self.nodes.requirements.iter();
        wanted.find_map(|wanted| match (wanted.operator, wanted.values.as_slice()) {
            (Operator::Equals | Operator::In, [value]) => Some((wanted.key.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// Whether a volume may be made there now that could not be before.
    pub fn may_help(&self, old: Option<&Self>) -> bool {
        old.is_none_or(|old| self.largest > old.largest || self.class != old.class || self.nodes != old.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn room(more: Value) -> CapacityView {
        let mut room = json!({"metadata": {"name": "r", "namespace": "ns"}, "storageClassName": "c",
            "nodeTopology": {"matchLabels": {"zone": "a"}}});
        orlop_api::patch::merge(&mut room, &more);
        CapacityView::project(serde_json::from_value(room).unwrap())
    }

    #[test]
    fn room_that_grows_or_is_elsewhere_may_help() {
        let old = room(json!({"capacity": "2Gi"}));
        for (more, helps) in [
            (json!({"capacity": "3Gi"}), true),
            (json!({"capacity": "2Gi"}), false),
            (json!({"capacity": "1Gi"}), false),
            (json!({"capacity": "3Gi", "maximumVolumeSize": "1Gi"}), false),
            (json!({}), false),
            (
                json!({"capacity": "1Gi", "nodeTopology": {"matchLabels": {"zone": "b"}}}),
                true,
            ),
        ] {
            assert_eq!(room(more.clone()).may_help(Some(&old)), helps, "{more}");
        }
        assert!(old.may_help(None));
    }
}
