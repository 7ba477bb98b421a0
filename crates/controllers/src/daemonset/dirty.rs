//! What of a DaemonSet has to be looked at: some nodes, or all of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orlop_client::informer::ObjectKey;

/// What to look at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Work {
    /// All nodes, revisions and orphans.
    pub all: bool,
    /// These nodes, if not all.
    pub nodes: HashSet<Arc<str>>,
}

/// The work of each DaemonSet. The queue hands out its key; what for is remembered here.
#[derive(Debug, Default)]
pub struct Dirty {
    sets: Mutex<HashMap<ObjectKey, Work>>,
}

impl Dirty {
    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Work>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of the set has to be looked at.
    pub fn all(&self, set: &ObjectKey) {
        let mut sets = self.lock();
        let work = sets.entry(set.clone()).or_default();
        work.all = true;
        work.nodes.clear();
    }

    /// One node has to be looked at.
    pub fn node(&self, set: &ObjectKey, node: &Arc<str>) {
        let mut sets = self.lock();
        let work = sets.entry(set.clone()).or_default();
        if work.all {
            return;
        }
        work.nodes.insert(node.clone());
    }

    /// These nodes still have to be looked at.
    pub fn put_back(&self, set: &ObjectKey, mut nodes: HashSet<Arc<str>>) {
        if nodes.is_empty() {
            return;
        }
        let mut sets = self.lock();
        let work = sets.entry(set.clone()).or_default();
        if !work.all {
            // There may be many more of them than came meanwhile.
            nodes.extend(work.nodes.drain());
            work.nodes = nodes;
        }
    }

    /// Takes what there is to do for the set.
    pub fn take(&self, set: &ObjectKey) -> Work {
        self.lock().remove(set).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_includes_every_node() {
        let (dirty, key) = (Dirty::default(), ObjectKey::new("ns", "d"));
        let node = |number: usize| Arc::from(format!("n{number}"));
        dirty.node(&key, &node(1));
        dirty.node(&key, &node(1));
        let work = dirty.take(&key);
        assert_eq!((work.all, work.nodes.len()), (false, 1));
        dirty.all(&key);
        dirty.node(&key, &node(2));
        assert_eq!(
            dirty.take(&key),
            Work {
                all: true,
                nodes: HashSet::new()
            }
        );
        assert_eq!(dirty.take(&key), Work::default());
    }

    #[test]
    fn nodes_that_are_put_back_join_those_that_came_meanwhile() {
        let (dirty, key) = (Dirty::default(), ObjectKey::new("ns", "d"));
        let node = |number: usize| Arc::<str>::from(format!("n{number}"));
        dirty.node(&key, &node(1));
        dirty.put_back(&key, HashSet::from([node(2), node(3)]));
        assert_eq!(dirty.take(&key).nodes.len(), 3);
        dirty.all(&key);
        dirty.put_back(&key, HashSet::from([node(2)]));
        assert!(dirty.take(&key).nodes.is_empty(), "all is all");
    }
}
