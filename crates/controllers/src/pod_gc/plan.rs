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

/// Whether a pod that changed from `old` is to be collected, and no event of its node tells so.
pub fn is_suspect(old: Option<&Pod>, pod: &Pod, node: impl Fn(&str) -> NodeIs) -> bool {
    let was_bound = old.is_some_and(|old| old.node.is_some());
    let was_ending = old.is_some_and(|old| old.terminating);
    let told_by_node = pod.node.is_some() && was_bound && (was_ending || !pod.terminating);
    !told_by_node && collect(pod, node).is_some()
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
    fn a_pod_is_suspect_when_it_comes_to_a_node_without_hope_or_begins_to_end_there() {
        let node = |name: &str| match name {
            "gone" => NodeIs::Missing,
            "broken" => NodeIs::OutOfService,
            _ => NodeIs::Present,
        };
        let suspect = |old: Option<Pod>, new: Pod| is_suspect(old.as_ref(), &new, node);
        let on = |node: &str| pod("p").on(node).build();
        let ending = |node: &str| pod("p").on(node).terminating().build();
        assert!(suspect(Some(on("broken")), ending("broken")));
        assert!(suspect(None, ending("broken")));
        assert!(
            !suspect(Some(ending("broken")), ending("broken")),
            "it was told before"
        );
        assert!(!suspect(Some(on("broken")), on("broken")), "it may come back");
        assert!(!suspect(Some(on("fine")), ending("fine")));
        assert!(suspect(Some(pod("p").build()), on("gone")));
        assert!(!suspect(Some(on("gone")), on("gone")), "the node's end tells");
        assert!(suspect(Some(pod("p").build()), pod("p").terminating().build()));
        assert!(!suspect(None, pod("p").build()));
    }

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
