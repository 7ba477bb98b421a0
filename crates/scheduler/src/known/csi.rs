//! What is remembered of CSI's drivers: what they attach to nodes, and how much of it.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::storage::v1 as storage;
use orlop_api::fnv::fnv1a64;
use orlop_client::informer::{ObjectKey, Projection, Shared};

// What volumes and nodes have in common.
static DRIVERS: Shared<str> = Shared::new();

/// A volume as its driver knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// Who attaches it to nodes.
    pub driver: Arc<str>,
    /// Tells it from the driver's other volumes.
    print: u64,
}

impl Attachment {
    /// Of a volume that is there.
    pub fn of(source: &core::CSIPersistentVolumeSource) -> Self {
        Self {
            driver: DRIVERS.share(source.driver.as_str().into()),
            print: fnv1a64(source.volume_handle.as_bytes()),
        }
    }

    /// Of one that `provisioner` is yet to make for a claim.
    pub fn to_be_made(provisioner: &str, claim: &ObjectKey) -> Self {
        Self {
            driver: provisioner.into(),
            // No handle is like that.
            print: fnv1a64(format!("\0{claim}").as_bytes()),
        }
    }
}

/// What is remembered of a CSINode.
#[derive(Debug, PartialEq)]
pub struct CsiNodeView {
    /// How many volumes may be attached to the node at a time, by the driver (spec.drivers[].allocatable.count); of others
    /// as many as there are.
    pub limits: Box<[(Arc<str>, usize)]>,
}

impl Projection for CsiNodeView {
    type Object = storage::CSINode;

    fn project(node: storage::CSINode) -> Self {
        let limit = |driver: storage::CSINodeDriver| {
            let count = driver.allocatable?.count?;
            let driver = DRIVERS.share(driver.name.into());
            Some((driver, usize::try_from(count).unwrap_or(0)))
        };
        Self {
            limits: node.spec.drivers.into_iter().filter_map(limit).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn drivers_that_name_no_number_have_no_limit() {
        let node = json!({"metadata": {"name": "n"}, "spec": {"drivers": [
            {"name": "a", "nodeID": "n", "allocatable": {"count": 2}}, {"name": "b", "nodeID": "n"},
            {"name": "c", "nodeID": "n", "allocatable": {}}]}});
        let node = CsiNodeView::project(serde_json::from_value(node).unwrap());
        assert_eq!(*node.limits, [(Arc::<str>::from("a"), 2)]);
    }
}
