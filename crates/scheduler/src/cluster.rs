//! Who is where: for each node the pods that hold a part of it, those just assumed included.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use orlop_api::placement::NodeUsage;
use orlop_api::pod::resources;
use orlop_client::informer::{Cached, ObjectKey};

use crate::view::{NodeView, Takes};

/// A pod on a node.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its priority.
    pub priority: i32,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// What it takes.
    pub takes: Takes,
}

#[derive(Debug, Default)]
struct Entry {
    /// `None` while only pods of that node are known.
    node: Option<Arc<Cached<NodeView>>>,
    holders: HashMap<ObjectKey, Holder>,
    /// The sum of `holders`; `None` after one left.
    usage: Option<NodeUsage>,
}

/// The nodes and what is taken of them.
#[derive(Debug, Default)]
pub struct Cluster {
    entries: BTreeMap<Arc<str>, Entry>,
    nodes: usize,
    /// Where each holder is.
    places: HashMap<ObjectKey, Arc<str>>,
}

/// A node to be judged.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a Arc<str>,
    /// Labels, taints, allocatable.
    pub node: &'a NodeView,
    /// What is taken.
    pub usage: &'a NodeUsage,
    /// By whom.
    pub holders: &'a HashMap<ObjectKey, Holder>,
}

impl Cluster {
    /// A node was seen.
    pub fn put_node(&mut self, node: Arc<Cached<NodeView>>) {
        let entry = self.entries.entry(node.key.name.clone()).or_default();
        if entry.node.replace(node).is_none() {
            self.nodes += 1;
        }
    }

    /// A node is gone; its pods may still be there.
    pub fn remove_node(&mut self, name: &Arc<str>) {
        if let Some(entry) = self.entries.get_mut(name) {
            if entry.node.take().is_some() {
                self.nodes -= 1;
            }
            if entry.holders.is_empty() {
                self.entries.remove(name);
            }
        }
    }

    /// A pod holds a part of `node`, or is assumed to.
    pub fn hold(&mut self, pod: &ObjectKey, node: &Arc<str>, holder: Holder) {
        if self.places.get(pod).is_some_and(|place| place == node)
            && let Some(entry) = self.entries.get_mut(node)
            && entry
                .holders
                .get(pod)
                .is_some_and(|known| known.takes == holder.takes)
        {
            // The usual case: what was assumed came true.
            entry.holders.insert(pod.clone(), holder);
            return;
        }
        self.release(pod);
        self.places.insert(pod.clone(), node.clone());
        let entry = self.entries.entry(node.clone()).or_default();
        if let Some(usage) = &mut entry.usage {
            add(usage, &holder.takes);
        }
        entry.holders.insert(pod.clone(), holder);
    }

    /// A pod holds nothing any more; the node it was on.
    pub fn release(&mut self, pod: &ObjectKey) -> Option<Arc<str>> {
        let node = self.places.remove(pod)?;
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.holders.remove(pod);
            entry.usage = None;
            if entry.node.is_none() && entry.holders.is_empty() {
                self.entries.remove(&node);
            }
        }
        Some(node)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes
    }

    /// One node.
    pub fn candidate(&mut self, name: &str) -> Option<Candidate<'_>> {
        let entry = self.entries.get_mut(name)?;
        entry.sum_up();
        let (name, entry) = self.entries.get_key_value(name)?;
        entry.candidate(name)
    }

    /// All nodes, by name.
    pub fn candidates(&mut self) -> impl Iterator<Item = Candidate<'_>> {
        self.entries.values_mut().for_each(Entry::sum_up);
        self.entries
            .iter()
            .filter_map(|(name, entry)| entry.candidate(name))
    }
}

impl Entry {
    fn sum_up(&mut self) {
        if self.usage.is_none() {
            let mut usage = NodeUsage::default();
            self.holders
                .values()
                .for_each(|holder| add(&mut usage, &holder.takes));
            self.usage = Some(usage);
        }
    }

    fn candidate<'a>(&'a self, name: &'a Arc<str>) -> Option<Candidate<'a>> {
        Some(Candidate {
            name,
            node: self.node.as_deref()?,
            usage: self.usage.as_ref()?,
            holders: &self.holders,
        })
    }
}

/// Adds one pod.
pub fn add(usage: &mut NodeUsage, takes: &Takes) {
    usage.pods += 1;
    resources::add(&mut usage.requested, &takes.requested);
    usage.ports.extend(takes.ports.iter().cloned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_client::informer::Store;
    use serde_json::json;

    #[test]
    fn what_pods_take_follows_them() {
        let nodes = Store::<NodeView>::new();
        nodes.apply(serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap());
        let mut cluster = Cluster::default();
        let holder = || Holder {
            uid: "u".into(),
            priority: 0,
            terminating: false,
            takes: Takes::default(),
        };
        let (a, b) = (ObjectKey::new("ns", "a"), ObjectKey::new("ns", "b"));
        cluster.hold(&a, &"n".into(), holder());
        assert_eq!(
            (cluster.len(), cluster.candidates().count()),
            (0, 0),
            "a pod's node isn't known yet"
        );
        cluster.put_node(nodes.all()[0].clone());
        assert_eq!(cluster.candidate("n").unwrap().usage.pods, 1);
        cluster.hold(&a, &"n".into(), holder());
        cluster.hold(&b, &"n".into(), holder());
        assert_eq!(cluster.candidate("n").unwrap().usage.pods, 2);
        assert_eq!(cluster.release(&a), Some("n".into()));
        assert_eq!(cluster.release(&a), None);
        assert_eq!(cluster.candidate("n").unwrap().usage.pods, 1);
        cluster.remove_node(&"n".into());
        assert_eq!(cluster.len(), 0);
        cluster.release(&b);
        assert!(cluster.entries.is_empty());
    }
}
