//! What placement reads of a node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::selector::Labels;
use crate::shared::Shared;

/// Quantities by the name of the resource.
pub type Quantities = BTreeMap<String, Quantity>;

/// A node as placement sees it.
pub trait NodeFacts: fmt::Debug {
    /// metadata.name.
    fn name(&self) -> &str;
    /// One of metadata.labels.
    fn label(&self, key: &str) -> Option<&str>;
    /// spec.taints.
    fn taints(&self) -> &[Taint];
    /// spec.unschedulable.
    fn is_unschedulable(&self) -> bool;
    /// status.allocatable.
    fn allocatable(&self) -> Option<&Quantities>;
}

impl NodeFacts for Node {
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    fn taints(&self) -> &[Taint] {
        crate::taints::of(self)
    }

    fn is_unschedulable(&self) -> bool {
        self.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
    }

    fn allocatable(&self) -> Option<&Quantities> {
        self.status.as_ref()?.allocatable.as_ref()
    }
}

/// The label that most nodes have alone.
const HOSTNAME: &str = "kubernetes.io/hostname";

// What nodes of one kind have in common.
static COMMON: Shared<BTreeMap<String, String>> = Shared::new();

/// A node's labels. Nodes of a fleet differ in their hostname, and are alike in all else.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeLabels {
    common: Arc<BTreeMap<String, String>>,
    hostname: Option<Arc<str>>,
}

impl NodeLabels {
    /// The labels of the node of that name.
    fn of(name: &Arc<str>, mut labels: BTreeMap<String, String>) -> Self {
        let hostname = labels.remove(HOSTNAME).map(|hostname| match *hostname == **name {
            true => name.clone(),
            false => hostname.into(),
        });
        Self {
            common: COMMON.share(Arc::new(labels)),
            hostname,
        }
    }

    /// One of them.
    pub fn get(&self, key: &str) -> Option<&str> {
        match key {
            HOSTNAME => self.hostname.as_deref(),
            key => self.common.get(key).map(String::as_str),
        }
    }

    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let common = self.common.iter().map(|(key, value)| (&**key, &**value));
        common.chain(self.hostname.as_deref().map(|hostname| (HOSTNAME, hostname)))
    }
}

impl Labels for NodeLabels {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

/// No more of a node than placement reads: for those who keep thousands of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeptNode {
    /// metadata.name.
    pub name: Arc<str>,
    /// metadata.labels.
    pub labels: NodeLabels,
    /// spec.taints.
    pub taints: Vec<Taint>,
    /// spec.unschedulable.
    pub unschedulable: bool,
    /// status.allocatable; most nodes of a fleet have the same.
    pub allocatable: Option<Arc<Quantities>>,
}

impl KeptNode {
    /// All but what is allocatable.
    pub fn without_room(node: Node) -> Self {
        let spec = node.spec.unwrap_or_default();
        let mut taints = spec.taints.unwrap_or_default();
        taints.shrink_to_fit();
        let name: Arc<str> = node.metadata.name.unwrap_or_default().into();
        Self {
            labels: NodeLabels::of(&name, node.metadata.labels.unwrap_or_default()),
            name,
            taints,
            unschedulable: spec.unschedulable == Some(true),
            allocatable: None,
        }
    }
}

impl NodeFacts for KeptNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key)
    }

    fn taints(&self) -> &[Taint] {
        &self.taints
    }

    fn is_unschedulable(&self) -> bool {
        self.unschedulable
    }

    fn allocatable(&self) -> Option<&Quantities> {
        self.allocatable.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kept(name: &str, labels: serde_json::Value) -> KeptNode {
        let node = json!({"metadata": {"name": name, "labels": labels}});
        KeptNode::without_room(serde_json::from_value(node).unwrap())
    }

    #[test]
    fn nodes_share_the_labels_they_have_in_common() {
        let of = |name: &str| kept(name, json!({"zone": "z", HOSTNAME: name}));
        let (a, b) = (of("a"), of("b"));
        assert!(Arc::ptr_eq(&a.labels.common, &b.labels.common));
        assert_eq!((a.label("zone"), a.label(HOSTNAME)), (Some("z"), Some("a")));
        assert_eq!((b.label(HOSTNAME), b.label("other")), (Some("b"), None));
        let all: Vec<_> = b.labels.iter().collect();
        assert_eq!(all, [("zone", "z"), (HOSTNAME, "b")]);
        let alias = kept("a", json!({HOSTNAME: "alias"}));
        assert_eq!(alias.label(HOSTNAME), Some("alias"));
        assert_eq!(kept("a", json!({})).label(HOSTNAME), None);
    }
}
