//! What of a DaemonSet has to be looked at: some nodes, or all of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orlop_client::informer::ObjectKey;

/// More nodes than this are looked at in one pass over all.
const NODES_MAX: usize = 256;

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
        if work.nodes.len() > NODES_MAX {
            work.all = true;
            work.nodes = HashSet::new();
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
    fn all_includes_every_node_and_so_do_too_many() {
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
        (0..=NODES_MAX).for_each(|number| dirty.node(&key, &node(number)));
        assert!(dirty.take(&key).all);
        assert_eq!(dirty.take(&key), Work::default());
    }
}
