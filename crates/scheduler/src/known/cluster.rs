//! Who is where: for each node the pods that hold a part of it, those just assumed included.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use orlop_api::placement::NodeUsage;
use orlop_api::pod::resources;
use orlop_client::informer::{Cached, ObjectKey};

use jiff::Timestamp;

use crate::known::images::Spread;
use crate::known::traits::Traits;
use crate::known::view::{Family, NodeView, Takes, Weight};

/// A pod on a node.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its priority.
    pub priority: i32,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// Whether it is, to make room for another.
    pub preempted: bool,
    /// Whose copy it is, if it is one of several.
    pub family: Option<Family>,
    /// What it takes.
    pub takes: Arc<Takes>,
    /// Its labels, and what company it wants.
    pub traits: Arc<Traits>,
    /// The names of its claims for volumes.
    pub claims: Box<[Arc<str>]>,
    /// Since when it runs.
    pub started: Option<Timestamp>,
}

/// A pod for which room was made on a node, until it is there.
#[derive(Debug, Clone)]
pub struct Nominee {
    /// Its priority: lesser pods leave the room to it.
    pub priority: i32,
    /// What it will take.
    pub takes: Arc<Takes>,
    /// Its labels, and what company it wants.
    pub traits: Arc<Traits>,
    /// The names of its claims for volumes.
    pub claims: Box<[Arc<str>]>,
}

#[derive(Debug, Default)]
struct Entry {
    /// `None` while only pods of that node are known.
    node: Option<Arc<Cached<NodeView>>>,
    holders: HashMap<ObjectKey, Holder>,
    /// Who is to come.
    nominees: BTreeMap<ObjectKey, Nominee>,
    /// The sum of `holders`; `None` after one left.
    usage: Option<NodeUsage>,
    /// What `holders` weigh.
    weight: Weight,
    /// How many of them are of one family.
    families: HashMap<Family, u32>,
}

impl Entry {
    /// A holder came (1) or left (-1).
    fn weigh(&mut self, holder: &Holder, times: i64) {
        self.weight = self.weight.plus(holder.takes.weight, times);
        let Some(family) = holder.family else { return };
        let members = self.families.entry(family).or_default();
        *members = if times > 0 {
            *members + 1
        } else {
            members.saturating_sub(1)
        };
        if *members == 0 {
            self.families.remove(&family);
        }
    }

    fn is_unused(&self) -> bool {
        self.node.is_none() && self.holders.is_empty() && self.nominees.is_empty()
    }
}

/// The nodes and what is taken of them.
#[derive(Debug, Default)]
pub struct Cluster {
    entries: BTreeMap<Arc<str>, Entry>,
    nodes: usize,
    /// Where each holder is.
    places: HashMap<ObjectKey, Arc<str>>,
    /// Where each nominee is to be.
    nominations: HashMap<ObjectKey, Arc<str>>,
    /// How many holders and nominees have rules that concern others.
    picky: usize,
    /// On how many nodes each image is.
    images: Spread,
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
    /// What weighs on it.
    pub weight: Weight,
    /// How many pods of one family it has.
    pub families: &'a HashMap<Family, u32>,
    /// By whom.
    pub holders: &'a HashMap<ObjectKey, Holder>,
    /// For whom room was made there.
    pub nominees: &'a BTreeMap<ObjectKey, Nominee>,
    /// On how many nodes each image is.
    pub images: &'a Spread,
}

impl Candidate<'_> {
    /// The others for whom room was made there and who don't leave it to a pod of that priority.
    pub fn awaited(&self, pod: &ObjectKey, priority: i32) -> impl Iterator<Item = (&ObjectKey, &Nominee)> {
        self.nominees.iter().filter(move |(key, nominee)| {
            **key != *pod && nominee.priority >= priority && !self.holders.contains_key(*key)
        })
    }

    /// What counts as taken for a pod of that priority: room made for others that are as important isn't free.
    pub fn usage_for<'a>(&'a self, pod: &ObjectKey, priority: i32) -> Cow<'a, NodeUsage> {
        let mut usage = Cow::Borrowed(self.usage);
        for (_, nominee) in self.awaited(pod, priority) {
            add(usage.to_mut(), &nominee.takes);
        }
        usage
    }
}

impl Cluster {
    /// A node was seen.
    pub fn put_node(&mut self, node: Arc<Cached<NodeView>>) {
        let entry = self.entries.entry(node.key.name.clone()).or_default();
        let old = entry.node.replace(node.clone());
        self.nodes += usize::from(old.is_none());
        match old {
            // The usual case: nodes tell of themselves every few minutes, and seldom of other images.
            Some(old) if old.images.is_same(&node.images) => {}
            old => {
                self.images.add(&node.images);
                if let Some(old) = old {
                    self.images.remove(&old.images);
                }
            }
        }
    }

    /// A node is gone; its pods may still be there. The pods for which room was made on it.
    pub fn remove_node(&mut self, name: &Arc<str>) -> Vec<ObjectKey> {
        let Some(entry) = self.entries.get_mut(name) else {
            return Vec::new();
        };
        if let Some(old) = entry.node.take() {
            self.nodes -= 1;
            self.images.remove(&old.images);
        }
        let nominees = entry.nominees.keys().cloned().collect();
        if entry.is_unused() {
            self.entries.remove(name);
        }
        nominees
    }

    /// A pod holds a part of `node`, or is assumed to. The node of which it held one before, if that was another.
    pub fn hold(&mut self, pod: &ObjectKey, node: &Arc<str>, holder: Holder) -> Option<Arc<str>> {
        if self.places.get(pod).is_some_and(|place| place == node)
            && let Some(entry) = self.entries.get_mut(node)
            && entry.holders.get(pod).is_some_and(|known| {
                known.takes.leaves_the_same(&holder.takes) && known.family == holder.family
            })
        {
            // The usual case: what was assumed came true.
            self.picky += usize::from(holder.traits.is_picky());
            let known = entry.holders.insert(pod.clone(), holder);
            self.picky -= usize::from(known.is_some_and(|known| known.traits.is_picky()));
            return None;
        }
        let before = self.release(pod);
        self.picky += usize::from(holder.traits.is_picky());
        self.places.insert(pod.clone(), node.clone());
        let entry = self.entries.entry(node.clone()).or_default();
        if let Some(usage) = &mut entry.usage {
            add(usage, &holder.takes);
        }
        entry.weigh(&holder, 1);
        entry.holders.insert(pod.clone(), holder);
        before.filter(|before| before != node)
    }

    /// A pod holds nothing any more; the node it was on.
    pub fn release(&mut self, pod: &ObjectKey) -> Option<Arc<str>> {
        let node = self.places.remove(pod)?;
        if let Some(entry) = self.entries.get_mut(&node) {
            let known = entry.holders.remove(pod);
            if let Some(known) = &known {
                entry.weigh(known, -1);
            }
            self.picky -= usize::from(known.is_some_and(|known| known.traits.is_picky()));
            entry.usage = None;
            if entry.is_unused() {
                self.entries.remove(&node);
            }
        }
        Some(node)
    }

    /// Room is made for a pod on `node`; `None` if it no longer waits for any. The node where room was made before.
    pub fn nominate(&mut self, pod: &ObjectKey, nominee: Option<(Arc<str>, Nominee)>) -> Option<Arc<str>> {
        let before = self.nominations.remove(pod);
        if let Some(before) = &before
            && let Some(entry) = self.entries.get_mut(before)
        {
            let known = entry.nominees.remove(pod);
            self.picky -= usize::from(known.is_some_and(|known| known.traits.is_picky()));
            if entry.is_unused() {
                self.entries.remove(before);
            }
        }
        if let Some((node, nominee)) = nominee {
            self.picky += usize::from(nominee.traits.is_picky());
            let entry = self.entries.entry(node.clone()).or_default();
            entry.nominees.insert(pod.clone(), nominee);
            self.nominations.insert(pod.clone(), node);
        }
        before
    }

    /// Whether some pod has rules about which others may be near it.
    pub fn has_picky_pods(&self) -> bool {
        self.picky > 0
    }

    /// Whether the pod has a node, if only by our own word.
    pub fn has_place(&self, pod: &ObjectKey) -> bool {
        self.places.contains_key(pod)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes
    }

    /// What is remembered of a node, if it is there.
    pub fn node(&self, name: &str) -> Option<Arc<Cached<NodeView>>> {
        self.entries.get(name)?.node.clone()
    }

    /// One node.
    pub fn candidate(&mut self, name: &str) -> Option<Candidate<'_>> {
        let entry = self.entries.get_mut(name)?;
        entry.sum_up();
        let (name, entry) = self.entries.get_key_value(name)?;
        entry.candidate(name, &self.images)
    }

    /// All nodes, by name.
    pub fn candidates(&mut self) -> impl Iterator<Item = Candidate<'_>> {
        self.entries.values_mut().for_each(Entry::sum_up);
        self.entries
            .iter()
            .filter_map(|(name, entry)| entry.candidate(name, &self.images))
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

    fn candidate<'a>(&'a self, name: &'a Arc<str>, images: &'a Spread) -> Option<Candidate<'a>> {
        Some(Candidate {
            name,
            node: self.node.as_deref()?,
            usage: self.usage.as_ref()?,
            weight: self.weight,
            families: &self.families,
            holders: &self.holders,
            nominees: &self.nominees,
            images,
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
    use std::num::NonZeroU64;

    #[test]
    fn room_made_for_a_pod_is_kept_from_lesser_ones_until_it_is_there() {
        let nodes = Store::<NodeView>::new();
        nodes.apply(serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap());
        let mut cluster = Cluster::default();
        cluster.put_node(nodes.all()[0].clone());
        let nominee = Nominee {
            priority: 5,
            takes: Arc::default(),
            traits: Arc::default(),
            claims: Box::default(),
        };
        let (a, b) = (ObjectKey::new("ns", "a"), ObjectKey::new("ns", "b"));
        cluster.nominate(&a, Some(("n".into(), nominee)));
        let mut taken = |pod: &ObjectKey, priority: i32| {
            let candidate = cluster.candidate("n").unwrap();
            candidate.usage_for(pod, priority).pods
        };
        assert_eq!((taken(&b, 5), taken(&b, 6), taken(&a, 5)), (1, 0, 0));
        cluster.nominate(&a, None);
        assert_eq!(cluster.candidate("n").unwrap().usage_for(&b, 0).pods, 0);
        assert!(cluster.nominations.is_empty());
    }

    #[test]
    fn what_pods_take_follows_them() {
        let nodes = Store::<NodeView>::new();
        nodes.apply(serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap());
        let mut cluster = Cluster::default();
        let holder = || Holder {
            uid: "u".into(),
            priority: 0,
            terminating: false,
            preempted: false,
            family: NonZeroU64::new(7),
            takes: Arc::default(),
            traits: Arc::default(),
            claims: Box::default(),
            started: None,
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
        let candidate = cluster.candidate("n").unwrap();
        assert_eq!(candidate.usage.pods, 2);
        assert_eq!(candidate.families.values().collect::<Vec<_>>(), [&2]);
        assert_eq!(cluster.release(&a), Some("n".into()));
        assert_eq!(cluster.release(&a), None);
        assert_eq!(cluster.candidate("n").unwrap().usage.pods, 1);
        let nominee = Nominee {
            priority: 0,
            takes: Arc::default(),
            traits: Arc::default(),
            claims: Box::default(),
        };
        cluster.nominate(&a, Some(("n".into(), nominee)));
        assert_eq!(cluster.remove_node(&"n".into()), std::slice::from_ref(&a));
        assert!(cluster.remove_node(&"other".into()).is_empty());
        assert_eq!(cluster.len(), 0);
        cluster.nominate(&a, None);
        cluster.release(&b);
        assert!(cluster.entries.is_empty());
    }
}
