//! The manage pass (contract §3.7): what each node lacks or has too much of.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::backoff::{BackoffKey, FailedPodBackoff};
use super::grouping::{NodeChoice, PodsByNode};
use super::strategy::Strategy;
use crate::cache::{DaemonSet, Phase, Pod};

/// What holds for all nodes of one pass.
#[derive(Debug, Clone)]
pub struct Circumstances<'a> {
    /// uid of the DaemonSet.
    pub set: &'a Arc<str>,
    /// status.observedGeneration.
    pub observed_generation: i64,
    /// Hash label of the current revision.
    pub hash: &'a str,
    /// Whether a node may have an old and a new pod for a while.
    pub surge: bool,
    /// spec.minReadySeconds.
    pub min_ready_seconds: i32,
    /// The clock.
    pub now: Timestamp,
}

impl<'a> Circumstances<'a> {
    /// What a DaemonSet says of itself.
    pub fn of(set: &'a DaemonSet, hash: &'a str, now: Timestamp) -> Self {
        Self {
            set: &set.uid,
            observed_generation: set.observed_generation(),
            hash,
            surge: Strategy::of(&set.set).allows_surge(),
            min_ready_seconds: set.min_ready_seconds(),
            now,
        }
    }
}

/// What a pass decided.
#[derive(Debug, Default)]
pub struct Changes {
    /// Nodes to create a pod for.
    pub create: Vec<Arc<str>>,
    /// Pods to delete.
    pub delete: Vec<Pod>,
    /// Those of `delete` that failed or succeeded, with their node: told as events.
    pub finished: Vec<(Pod, Arc<str>)>,
    /// Nodes where a failed pod waits for its back-off.
    pub waiting: Vec<Arc<str>>,
    /// When to look at them again.
    pub look_again: Option<SignedDuration>,
}

/// Decides for all nodes.
pub fn manage(
    circumstances: &Circumstances<'_>,
    nodes: &[NodeChoice],
    pods: &PodsByNode,
    backoff: &mut FailedPodBackoff,
) -> Changes {
    let mut changes = Changes::default();
    for node in nodes {
        changes.node(circumstances, node, pods.on(&node.name), backoff);
    }
    let existing: HashSet<&str> = nodes.iter().map(|node| &*node.name).collect();
    for (node, pods) in pods.nodes() {
        if !existing.contains(&**node) {
            // Bound ones are left to pod garbage collection, which makes sure the node is gone.
            changes.delete.extend(
                pods.iter()
                    .filter(|pod| pod.node.is_none() && !pod.terminating)
                    .cloned(),
            );
        }
    }
    changes
}

impl Changes {
    /// Whether one more node might ask for more than `max` creations or deletions.
    pub fn is_full(&self, max: usize) -> bool {
        self.create.len() >= max || self.delete.len() >= max
    }

    /// The nodes of what exceeds `max` creations or deletions.
    pub fn beyond(&self, max: usize) -> HashSet<Arc<str>> {
        let creations = self.create.iter().skip(max).cloned();
        let deletions = self.delete.iter().skip(max);
        creations
            .chain(deletions.filter_map(|pod| pod.target.clone()))
            .collect()
    }

    /// Decides for one node.
    pub fn node(
        &mut self,
        circumstances: &Circumstances<'_>,
        node: &NodeChoice,
        pods: &[Pod],
        backoff: &mut FailedPodBackoff,
    ) {
        if pods.is_empty() {
            if node.run {
                self.create.push(node.name.clone());
            }
        } else if node.keep {
            let running = self.finished(circumstances, node, pods, backoff);
            if circumstances.surge {
                if running.is_empty() && node.run {
                    self.create.push(node.name.clone());
                }
                self.delete.extend(surplus_with_surge(circumstances, &running));
            } else {
                self.delete.extend(running.into_iter().skip(1));
            }
        } else {
            self.delete
                .extend(pods.iter().filter(|pod| !pod.terminating).cloned());
        }
    }

    /// Gets rid of failed and succeeded pods; returns the others that aren't terminating.
    fn finished(
        &mut self,
        circumstances: &Circumstances<'_>,
        node: &NodeChoice,
        pods: &[Pod],
        backoff: &mut FailedPodBackoff,
    ) -> Vec<Pod> {
        let mut running = Vec::new();
        for pod in pods.iter().filter(|pod| !pod.terminating) {
            match pod.phase {
                Phase::Failed => {
                    let key = BackoffKey {
                        set: circumstances.set.clone(),
                        generation: circumstances.observed_generation,
                        node: node.name.clone(),
                    };
                    if let Some(wait) = backoff.wait(key, circumstances.now) {
                        self.waiting.push(node.name.clone());
                        self.look_again = Some(self.look_again.map_or(wait, |other| other.min(wait)));
                        continue;
                    }
                    self.finished.push((pod.clone(), node.name.clone()));
                    self.delete.push(pod.clone());
                }
                Phase::Succeeded => {
                    self.finished.push((pod.clone(), node.name.clone()));
                    self.delete.push(pod.clone());
                }
                Phase::Pending | Phase::Running => running.push(pod.clone()),
            }
        }
        running
    }
}

/// Which of a node's pods, best first, go while surging: all but the best updated and the best old one, and of
/// these two the old one as soon as it isn't needed.
fn surplus_with_surge(circumstances: &Circumstances<'_>, running: &[Pod]) -> Vec<Pod> {
    if running.len() < 2 {
        return Vec::new();
    }
    let hash_of = |pod: &Pod| {
        pod.labels
            .get(orlop_api::annotations::CONTROLLER_REVISION_HASH)
            .cloned()
    };
    // In the order in which they come, the best of each first: one that waits for room must not cost one that runs.
    let (new, old): (Vec<Pod>, Vec<Pod>) = running
        .iter()
        .cloned()
        .partition(|pod| hash_of(pod).as_deref() == Some(circumstances.hash));
    let mut surplus: Vec<Pod> = new.iter().skip(1).chain(old.iter().skip(1)).cloned().collect();
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!old.is_ready() || new.is_available(circumstances.min_ready_seconds, circumstances.now))
    {
        surplus.push(old.clone());
    }
    surplus
}

#[cfg(test)]
mod tests {
    use super::super::testing::{choice, names, nodes, now, pod};
    use super::*;

    fn run(surge: bool, nodes: &[NodeChoice], pods: &[Pod]) -> (Vec<String>, Vec<String>, usize) {
        run_with(surge, 0, nodes, pods, &mut FailedPodBackoff::default())
    }

    fn run_with(
        surge: bool,
        min_ready_seconds: i32,
        nodes: &[NodeChoice],
        pods: &[Pod],
        backoff: &mut FailedPodBackoff,
    ) -> (Vec<String>, Vec<String>, usize) {
        let set = "ds".into();
        let circumstances = Circumstances {
            set: &set,
            observed_generation: 1,
            hash: "new",
            surge,
            min_ready_seconds,
            now: now(),
        };
        let changes = manage(&circumstances, nodes, &PodsByNode::new(pods), backoff);
        let mut deletes = names(&changes.delete);
        deletes.sort();
        (
            changes.create.iter().map(ToString::to_string).collect(),
            deletes,
            changes.finished.len(),
        )
    }

    #[test]
    fn p01_p03_one_pod_is_created_on_each_node_that_should_run_it() {
        assert_eq!(run(false, &nodes(["a", "b"]), &[]).0, ["a", "b"]);
        assert!(run(false, &[], &[]).0.is_empty());
        assert!(run(false, &[choice("a", false, true)], &[]).0.is_empty());
        assert!(
            run(false, &nodes(["a"]), &[pod("p").on("a").build()])
                .0
                .is_empty()
        );
    }

    #[test]
    fn p08_a_pod_stays_on_a_tainted_node_and_goes_when_it_may_not_continue() {
        let pods = [pod("p").on("a").build()];
        assert!(run(false, &[choice("a", false, true)], &pods).1.is_empty());
        assert_eq!(run(false, &[choice("a", false, false)], &pods).1, ["p"]);
    }

    #[test]
    fn c01_missing_pods_are_created_and_surplus_ones_deleted() {
        let mut pods = vec![pod("b1").on("b").build()];
        pods.extend((1..=2).map(|n| pod(&format!("c{n}")).on("c").age(10 - n).build()));
        pods.extend((1..=5).map(|n| pod(&format!("d{n}")).on("d").age(10 - n).build()));
        let (creates, deletes, _) = run(false, &nodes(["a", "b", "c", "d", "e"]), &pods);
        assert_eq!(creates, ["a", "e"]);
        assert_eq!(deletes, ["c2", "d2", "d3", "d4", "d5"]);
    }

    #[test]
    fn c04_c05_finished_pods_go_with_the_duplicates_and_are_replaced_later() {
        let pods = [
            pod("failed").on("a").failed().build(),
            pod("r1").on("a").age(9).build(),
            pod("r2").on("a").age(8).build(),
            pod("r3").on("a").age(7).build(),
        ];
        let (creates, deletes, events) = run(false, &nodes(["a"]), &pods);
        assert_eq!(
            (creates.len(), deletes, events),
            (0, vec!["failed".into(), "r2".into(), "r3".into()], 1)
        );
        let (creates, deletes, events) =
            run(false, &nodes(["a"]), &[pod("done").on("a").succeeded().build()]);
        assert_eq!((creates.len(), deletes, events), (0, vec!["done".into()], 1));
    }

    #[test]
    fn c06_a_pod_that_fails_again_soon_is_kept() {
        let mut backoff = FailedPodBackoff::default();
        let pods = [pod("failed").on("a").failed().build()];
        assert_eq!(
            run_with(false, 0, &nodes(["a"]), &pods, &mut backoff).1,
            ["failed"]
        );
        let (creates, deletes, _) = run_with(false, 0, &nodes(["a"]), &pods, &mut backoff);
        assert!(
            creates.is_empty() && deletes.is_empty(),
            "it blocks its replacement until the delay ends"
        );
    }

    #[test]
    fn c08_a_terminating_pod_blocks_its_replacement_without_surge_only() {
        let pods = [pod("p").on("a").terminating().build()];
        let (creates, deletes, _) = run(false, &nodes(["a"]), &pods);
        assert!(creates.is_empty() && deletes.is_empty());
        assert_eq!(run(true, &nodes(["a"]), &pods).0, ["a"]);
    }

    #[test]
    fn u10_beside_a_terminating_old_pod_a_new_one_comes_up_beyond_the_limit() {
        let pods = [
            pod("a-old").on("a").ready().terminating().build(),
            pod("b-old").on("b").ready().age(50).build(),
            pod("b-new").on("b").hash("new").age(5).build(),
        ];
        let (creates, deletes, _) = run(true, &nodes(["a", "b"]), &pods);
        assert_eq!(creates, ["a"], "b surges already");
        assert!(deletes.is_empty(), "{deletes:?}");
    }

    #[test]
    fn c11_an_unbound_pod_for_a_missing_node_goes_and_a_bound_one_stays() {
        let pods = [
            pod("unbound").pinned("gone").build(),
            pod("bound").on("gone").build(),
        ];
        assert_eq!(run(false, &nodes(["a"]), &pods).1, ["unbound"]);
    }

    #[test]
    fn u11_with_surge_the_old_pod_goes_once_the_new_one_is_available() {
        let pods = |seconds| {
            [
                pod("old").on("a").ready().age(50).build(),
                pod("new").on("a").hash("new").ready_for(seconds).age(9).build(),
            ]
        };
        let mut backoff = FailedPodBackoff::default();
        assert!(
            run_with(true, 15, &nodes(["a"]), &pods(10), &mut backoff)
                .1
                .is_empty()
        );
        assert_eq!(
            run_with(true, 15, &nodes(["a"]), &pods(20), &mut backoff).1,
            ["old"]
        );
    }

    #[test]
    fn u12_with_surge_of_three_pods_the_younger_old_one_goes() {
        let new = pod("new").on("a").hash("new").age(5).build();
        let younger = pod("younger").on("a").ready().age(50).build();
        let pods = [
            new.clone(),
            pod("oldest").on("a").ready().age(60).build(),
            younger.clone(),
        ];
        assert_eq!(run(true, &nodes(["a"]), &pods).1, ["younger"]);
        let pods = [new, pod("oldest").on("a").age(60).build(), younger];
        assert_eq!(run(true, &nodes(["a"]), &pods).1, ["oldest", "younger"]);
    }

    #[test]
    fn u12_with_surge_bound_pods_stay_before_older_ones_that_nothing_was_found_for() {
        let pods = [
            pod("new-waiting").pinned("a").hash("new").age(9).build(),
            pod("new-running").on("a").hash("new").age(5).build(),
            pod("old-waiting").pinned("a").age(60).build(),
            pod("old-running").on("a").ready().age(50).build(),
        ];
        assert_eq!(run(true, &nodes(["a"]), &pods).1, ["new-waiting", "old-waiting"]);
    }
}
