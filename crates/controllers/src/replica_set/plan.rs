//! How many pods to create and which to delete.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::cache::Pod;
use crate::owned::rank;

/// Most pods created, or deleted, in one sync of one set.
pub const BURST: usize = 500;

/// What to do next.
#[derive(Debug, Default)]
pub struct Plan {
    /// Number of pods to create.
    pub create: usize,
    /// Pods to delete.
    pub delete: Vec<Pod>,
}

/// Compares the active pods with the number wanted. `colocated` counts the active pods of this and
/// of related sets by node: where many are, one can go.
pub fn plan(wanted: i32, active: &[Pod], colocated: &HashMap<Arc<str>, usize>, now: Timestamp) -> Plan {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active.len() <= wanted {
        return Plan {
            create: (wanted - active.len()).min(BURST),
            delete: Vec::new(),
        };
    }
    let surplus = (active.len() - wanted).min(BURST);
    let neighbours = |pod: &Pod| {
        pod.node
            .as_ref()
            .and_then(|node| colocated.get(node))
            .copied()
            .unwrap_or(0)
    };
    let mut pods = active.to_vec();
    // All of them go anyway: no order to find.
    if surplus < pods.len() {
        pods.sort_by(|a, b| rank::goes_first(a, b, neighbours(a), neighbours(b), now));
        pods.truncate(surplus);
    }
    Plan {
        create: 0,
        delete: pods,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned::testing::{names, now, pod};

    #[test]
    fn missing_pods_are_created_and_surplus_ones_deleted_in_bursts() {
        let pods: Vec<Pod> = (0..3)
            .map(|n| pod(&format!("p{n}")).on("n").ready().build())
            .collect();
        let none = HashMap::new();
        let of = |wanted| plan(wanted, &pods, &none, now());
        assert_eq!((of(5).create, of(5).delete.len()), (2, 0));
        assert_eq!((of(3).create, of(3).delete.len()), (0, 0));
        assert_eq!((of(1).create, of(1).delete.len()), (0, 2));
        assert_eq!(of(0).delete.len(), 3);
        assert_eq!(of(1000).create, BURST);
    }

    #[test]
    fn of_equally_good_pods_those_with_more_neighbours_go_first() {
        let pods = [
            pod("alone").on("a").ready().build(),
            pod("crowded").on("b").ready().build(),
        ];
        let colocated = HashMap::from([("a".into(), 1), ("b".into(), 3)]);
        assert_eq!(names(&plan(1, &pods, &colocated, now()).delete), ["crowded"]);
    }
}
