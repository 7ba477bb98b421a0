//! Which pods to collect.

use crate::cache::Pod;

/// Finished pods kept for people to look at, unless another number is asked for.
pub const TERMINAL_PODS_MAX: usize = 12_500;

/// Why a pod is collected; decides what is written before it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its node is gone.
    Orphaned,
    /// It is being deleted and no node will ever confirm.
    NeverBound,
    /// It is being deleted and its node was declared out of service.
    OutOfService,
    /// It is finished, and there are too many of those.
    Surplus,
}

/// How a pod's node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeIs {
    /// There.
    Present,
    /// There, not ready and tainted out-of-service.
    OutOfService,
    /// Not there.
    Missing,
}

/// Whether `pod` is to be collected; an orphaned one only once its node's absence is confirmed.
pub fn collect(pod: &Pod, node: impl Fn(&str) -> NodeIs) -> Option<Why> {
    match pod.node.as_deref() {
        None => pod.terminating.then_some(Why::NeverBound),
        Some(name) => match node(name) {
            NodeIs::Missing => Some(Why::Orphaned),
            NodeIs::OutOfService if pod.terminating => Some(Why::OutOfService),
            _ => None,
        },
    }
}

/// The finished pods beyond `max`: evicted ones first, then the oldest, then by name.
pub fn surplus(mut finished: Vec<Pod>, max: usize) -> Vec<Pod> {
    let surplus = finished.len().saturating_sub(max);
    if surplus == 0 {
        return Vec::new();
    }
    finished.sort_by(|a, b| {
        let key = |pod: &Pod| (!pod.evicted, pod.created);
        key(a).cmp(&key(b)).then_with(|| a.key.cmp(&b.key))
    });
    finished.truncate(surplus);
    finished
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemonset::testing::{names, pod};

    #[test]
    fn n11_pods_of_missing_nodes_and_terminating_ones_without_a_node_are_collected() {
        let node = |name: &str| match name {
            "gone" => NodeIs::Missing,
            "broken" => NodeIs::OutOfService,
            _ => NodeIs::Present,
        };
        for (pod, want) in [
            (pod("a").on("here").build(), None),
            (pod("a").on("here").terminating().build(), None),
            (pod("a").on("gone").build(), Some(Why::Orphaned)),
            (pod("a").on("gone").succeeded().build(), Some(Why::Orphaned)),
            (pod("a").on("broken").build(), None),
            (
                pod("a").on("broken").terminating().build(),
                Some(Why::OutOfService),
            ),
            (pod("a").pinned("gone").build(), None),
            (pod("a").terminating().build(), Some(Why::NeverBound)),
        ] {
            assert_eq!(collect(&pod, node), want, "{pod:?}");
        }
    }

    #[test]
    fn the_oldest_finished_pods_go_first() {
        let pods = vec![
            pod("young").succeeded().age(1).build(),
            pod("b").failed().age(9).build(),
            pod("a").failed().age(9).build(),
        ];
        assert_eq!(names(&surplus(pods.clone(), 1)), ["a", "b"]);
        assert!(surplus(pods, 3).is_empty());
    }
}
