//! The objects of one resource, what finds them and what has happened to them.
use super::labels::LabelIndexes;
use super::ring::Ring;
use super::watchers::{Waiter, Watchers};
use super::{Change, ChangeKind, Object};
use crate::resources::Resource;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::watch;

/// What is kept of one resource.
pub struct Storage {
    /// Whose form the objects have.
    pub resource: &'static Resource,
    /// By key below the resource's prefix.
    pub objects: BTreeMap<Arc<str>, Arc<Object>>,
    /// Pods by `spec.nodeName`: what every node agent lists and watches by.
    by_node: HashMap<Box<str>, BTreeSet<Arc<str>>>,
    /// By the labels that lists have asked for.
    pub by_label: LabelIndexes,
    /// What has happened lately.
    pub ring: Ring,
    /// Clients' watches, woken by what concerns them.
    pub watchers: Arc<Watchers>,
    /// Bumped on each change, for who looks at the whole storage again.
    pub changed: watch::Sender<u64>,
    /// Why what is here is not what is stored: some of it cannot be opened now.
    pub shut: Option<Arc<str>>,
    /// Keys of what is stored and cannot be opened for want of its key, and why.
    pub lost: BTreeMap<Arc<str>, Arc<str>>,
}

/// A change on its way into the cache.
pub enum Applied {
    Put(Object),
    Deleted {
        key: Arc<str>,
        revision: u64,
    },
    /// What is there now cannot be opened.
    Lost {
        key: Arc<str>,
        reason: String,
        revision: u64,
    },
}

impl Storage {
    /// Without objects, as of `revision`.
    pub fn new(resource: &'static Resource, revision: u64) -> Self {
        let mut ring = Ring::default();
        ring.restart(revision);
        Self {
            resource,
            objects: BTreeMap::new(),
            by_node: HashMap::new(),
            by_label: LabelIndexes::default(),
            ring,
            watchers: Arc::default(),
            changed: watch::Sender::new(revision),
            shut: None,
            lost: BTreeMap::new(),
        }
    }

    /// The objects of a namespace (`""`: all).
    pub fn under(&self, namespace: &str) -> Vec<Arc<Object>> {
        self.iter_under(namespace).cloned().collect()
    }

    /// The same without a copy.
    pub fn iter_under(&self, namespace: &str) -> impl Iterator<Item = &Arc<Object>> {
        let from = format!("{namespace}/");
        // '0' is the character after '/'.
        let to = format!("{namespace}0");
        let (from, to) = match namespace {
            "" => (Bound::Unbounded, Bound::Unbounded),
            _ => (Bound::Included(from.as_str()), Bound::Excluded(to.as_str())),
        };
        self.objects.range::<str, _>((from, to)).map(|(_, object)| object)
    }

    /// The objects of these keys in a namespace (`""`: all), in the order of lists.
    pub fn of_keys<'k>(&self, keys: impl Iterator<Item = &'k Arc<str>>, namespace: &str) -> Vec<Arc<Object>> {
        let mut objects: Vec<Arc<Object>> = keys
            .filter_map(|key| self.objects.get(key))
            .filter(|o| namespace.is_empty() || o.namespace() == namespace)
            .cloned()
            .collect();
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        objects
    }

    /// Gives all objects the form of another resource that is stored in the same place.
    pub fn take_form(&mut self, resource: &'static Resource) {
        if !std::ptr::eq(self.resource, resource) {
            self.resource = resource;
            self.renew();
        }
    }

    /// Gives all objects the form that their resource has now. That is no change of theirs: nobody is told.
    pub fn renew(&mut self) {
        let resource = self.resource;
        for object in self.objects.values_mut() {
            match object.read_again(resource) {
                Ok(changed) => *object = Arc::new(changed),
                // It was read before in another form; this cannot happen.
                Err(error) => tracing::error!(%error, "a cached object cannot take its new form"),
            }
        }
    }

    /// Pods bound to a node.
    pub fn on_node<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        self.by_node.get(node).into_iter().flatten()
    }

    fn node_of(&self, object: &Object) -> Option<Box<str>> {
        if self.resource.storage != "pods" {
            return None;
        }
        let node = self.resource.field(object, "spec.nodeName")?;
        (!node.is_empty()).then(|| node.into())
    }

    /// Forgets everything, to go on from `revision`.
    pub fn empty(&mut self, revision: u64) {
        self.objects.clear();
        self.by_node.clear();
        self.by_label.clear();
        self.ring.restart(revision);
        self.shut = None;
        self.lost.clear();
    }

    /// One of a namespace (`""`: all) that cannot be opened for want of its key, and why.
    pub fn some_lost(&self, namespace: &str) -> Option<(&Arc<str>, &Arc<str>)> {
        let is_below = |key: &str| {
            let below = key.strip_prefix(namespace);
            namespace.is_empty() || below.is_some_and(|below| below.starts_with('/'))
        };
        self.lost.iter().find(|(key, _)| is_below(key))
    }

    /// Takes an object away that cannot be opened any more. Watches begin anew, and hear why.
    fn lose(&mut self, key: Arc<str>, reason: &str, revision: u64) {
        if let Some(last) = self.objects.remove(&key) {
            self.forget(&last);
        }
        self.lost.insert(key, reason.into());
        self.ring.restart(revision);
        self.watchers.all_must_look(0);
    }

    /// Puts what was read into an empty storage. It comes in the order of keys, from which a tree is made at once.
    pub fn fill(&mut self, objects: Vec<Arc<Object>>) {
        for object in &objects {
            if let Some(node) = self.node_of(object) {
                self.by_node.entry(node).or_default().insert(object.key.clone());
            }
        }
        self.objects = objects.into_iter().map(|o| (o.key.clone(), o)).collect();
    }

    fn put(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let node = self.node_of(&object);
        let previous = self.objects.insert(object.key.clone(), object.clone());
        if let Some(previous) = &previous {
            self.by_label.forget(previous);
        }
        self.by_label.put(&object);
        if let Some(node) = node {
            self.by_node.entry(node).or_default().insert(object.key.clone());
        }
        previous
    }

    fn forget(&mut self, object: &Object) {
        self.by_label.forget(object);
        if let Some(node) = self.node_of(object)
            && let Some(keys) = self.by_node.get_mut(&node)
        {
            keys.remove(&object.key);
            if keys.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    /// Answers whether anything changed, and adds to `to_wake` whom it concerns.
    pub fn change(&mut self, change: Applied, to_wake: &mut Vec<Arc<Waiter>>) -> bool {
        let change = match change {
            Applied::Put(object) => {
                let object = Arc::new(object);
                self.lost.remove(&object.key);
                let previous = self.put(object.clone());
                Change {
                    kind: match previous {
                        Some(_) => ChangeKind::Modified,
                        None => ChangeKind::Added,
                    },
                    object,
                    previous,
                }
            }
            Applied::Lost {
                key,
                reason,
                revision,
            } => {
                self.lose(key, &reason, revision);
                return true;
            }
            Applied::Deleted { key, revision } => {
                let was_lost = self.lost.remove(&key).is_some();
                let Some(last) = self.objects.remove(&key) else {
                    return was_lost;
                };
                self.forget(&last);
                Change {
                    kind: ChangeKind::Deleted,
                    object: Arc::new(last.at_revision(revision)),
                    previous: Some(last),
                }
            }
        };
        let versions = [Some(&*change.object), change.previous.as_deref()];
        self.watchers.changed(self.ring.end(), versions, to_wake);
        self.ring.push(change);
        true
    }
}
