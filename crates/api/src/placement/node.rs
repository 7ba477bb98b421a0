//! What placement reads of a node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

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

/// No more of a node than placement reads: for those who keep thousands of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeptNode {
    /// metadata.name.
    pub name: Box<str>,
    /// metadata.labels.
    pub labels: BTreeMap<String, String>,
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
        Self {
            name: node.metadata.name.unwrap_or_default().into(),
            labels: node.metadata.labels.unwrap_or_default(),
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
        self.labels.get(key).map(String::as_str)
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
