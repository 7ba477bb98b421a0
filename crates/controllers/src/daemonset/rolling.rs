//! The rolling update pass (contract §4.2, §4.3): which old pods may go, and where a new pod may
//! come up beside an old one.

use std::sync::Arc;

use jiff::Timestamp;
use orlop_api::annotations::{CONTROLLER_REVISION_HASH, POD_TEMPLATE_GENERATION};

use super::grouping::{NodeChoice, PodsByNode};
use super::options::Options;
use super::strategy::{Limits, Strategy};
use crate::cache::Pod;

/// What makes a pod an updated one, and available.
#[derive(Debug, Clone)]
pub struct Current<'a> {
    /// Hash label of the current revision.
    pub hash: &'a str,
    /// The DaemonSet's template generation.
    pub generation: Option<&'a str>,
    /// spec.minReadySeconds.
    pub min_ready_seconds: i32,
    /// The clock.
    pub now: Timestamp,
}

impl Current<'_> {
    /// Whether `pod` was made from the current template.
    pub fn is_updated(&self, pod: &Pod) -> bool {
        let label = |name: &str| pod.labels.get(name).map(String::as_str);
        label(CONTROLLER_REVISION_HASH) == Some(self.hash)
            || (self.generation.is_some() && label(POD_TEMPLATE_GENERATION) == self.generation)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod.is_available(self.min_ready_seconds, self.now)
    }
}

/// What the pass decided.
#[derive(Debug, Default)]
pub struct Replacements {
    /// Nodes to create a new pod on, beside the old one.
    pub create: Vec<Arc<str>>,
    /// Old pods to delete.
    pub delete: Vec<Pod>,
    /// Old pods that go when there is room for it.
    pub next: Vec<Pod>,
    /// Nodes that count as lacking an available pod.
    pub down: Vec<Arc<str>>,
    /// Old pods that stay by request.
    pub kept: usize,
}

/// The pass as `strategy` and `options` want it.
pub fn replace(
    current: &Current<'_>,
    options: &Options,
    strategy: &Strategy,
    desired: usize,
    nodes: &[NodeChoice],
    pods: &PodsByNode,
) -> Replacements {
    if !options.replaces(strategy) {
        return Replacements::default();
    }
    let limits = options.limits(strategy, desired);
    let update = Update {
        current,
        limits,
        skip_not_ready: options.skips_not_ready(),
        strict: options.strict,
        keep_old: options.keeps(desired),
        nodes,
    };
    if limits.max_surge > 0 {
        update.with_surge(desired, pods)
    } else {
        update.without_surge(pods)
    }
}

/// All that one pass goes by. Without options: upstream's rules.
struct Update<'a> {
    current: &'a Current<'a>,
    limits: Limits,
    /// Nodes that aren't Ready neither count nor lose their pod.
    skip_not_ready: bool,
    /// Broken old pods too are replaced within the limit.
    strict: bool,
    /// Old pods that stay.
    keep_old: usize,
    /// By name.
    nodes: &'a [NodeChoice],
}

/// A node's pods that aren't terminating, if there is at most one old and one updated of them.
enum OnNode<'a> {
    TooMany,
    Pods {
        old: Option<&'a Pod>,
        updated: Option<&'a Pod>,
    },
}

impl Current<'_> {
    fn on_node<'a>(&self, pods: &'a [Pod]) -> OnNode<'a> {
        let (mut old, mut updated) = (None, None);
        for pod in pods.iter().filter(|pod| !pod.terminating) {
            let slot = if self.is_updated(pod) {
                &mut updated
            } else {
                &mut old
            };
            if slot.replace(pod).is_some() {
                return OnNode::TooMany;
            }
        }
        OnNode::Pods { old, updated }
    }
}

/// Nodes with pods, and those that should have one.
fn all_nodes<'a>(
    nodes: &'a [NodeChoice],
    pods: &'a PodsByNode,
) -> impl Iterator<Item = (&'a Arc<str>, &'a [Pod])> {
    let missing = nodes
        .iter()
        .filter(|node| node.run && pods.on(&node.name).is_empty());
    pods.nodes().chain(missing.map(|node| (&node.name, &[][..])))
}

impl Update<'_> {
    fn choice(&self, name: &str) -> Option<&NodeChoice> {
        let at = self.nodes.binary_search_by(|node| (*node.name).cmp(name)).ok()?;
        self.nodes.get(at)
    }

    /// Whether the pass leaves the node out.
    fn skips(&self, choice: Option<&NodeChoice>) -> bool {
        self.skip_not_ready && choice.is_some_and(|choice| !choice.ready)
    }

    /// How many of so many old pods may go, since some are to stay.
    fn spare(&self, old: usize) -> usize {
        old.saturating_sub(self.keep_old)
    }

    /// Deletes unavailable old pods, and available ones while the limit allows it. Creates nothing:
    /// the next manage pass does once the old pod is gone.
    fn without_surge(&self, pods: &PodsByNode) -> Replacements {
        let mut plan = Replacements::default();
        let (mut broken, mut candidates) = (Vec::new(), Vec::new());
        let (mut old_pods, mut replacing) = (0, 0);
        for (node, pods) in all_nodes(self.nodes, pods) {
            let choice = self.choice(node);
            if self.skips(choice) {
                continue;
            }
            let may_go = choice.is_none_or(|choice| choice.update);
            match self.current.on_node(pods) {
                OnNode::Pods {
                    old: None,
                    updated: Some(updated),
                } => {
                    if !self.current.is_available(updated) {
                        plan.down.push(node.clone());
                        replacing += 1;
                    }
                }
                OnNode::Pods {
                    old: Some(old),
                    updated: None,
                } => {
                    old_pods += 1;
                    let available = self.current.is_available(old);
                    if !available {
                        plan.down.push(node.clone());
                    }
                    if may_go {
                        let which = if available { &mut candidates } else { &mut broken };
                        which.push(old.clone());
                    }
                }
                // Nothing there, or more than belongs there, which the manage pass cleans up.
                OnNode::TooMany | OnNode::Pods { .. } => {
                    plan.down.push(node.clone());
                    replacing += 1;
                }
            }
        }
        if self.strict {
            broken.truncate(self.limits.max_unavailable.saturating_sub(replacing));
        }
        let room = self.limits.max_unavailable.saturating_sub(plan.down.len());
        plan.next = candidates.split_off(room.min(candidates.len()));
        broken.extend(candidates);
        plan.delete = broken;
        let spare = self.spare(old_pods);
        plan.delete.truncate(spare);
        plan.next.truncate(spare - plan.delete.len());
        plan.kept = self.keep_old.min(old_pods);
        plan
    }

    /// Creates new pods beside old ones within the limit, deletes old ones whose new one is available.
    fn with_surge(&self, desired: usize, pods: &PodsByNode) -> Replacements {
        let current = self.current;
        let (mut surge, mut available, mut old_pods) = (0, 0_usize, 0);
        let mut plan = Replacements::default();
        let mut candidates = Vec::new();
        let mut retirees = Vec::new();
        for (node, pods) in all_nodes(self.nodes, pods) {
            let choice = self.choice(node);
            if self.skips(choice) {
                continue;
            }
            let OnNode::Pods { old, updated } = current.on_node(pods) else {
                surge += 1;
                continue;
            };
            if old.or(updated).is_some_and(|pod| current.is_available(pod)) {
                available += 1;
            } else {
                plan.down.push(node.clone());
            }
            // A node that is gone: pod garbage collection removes what is bound there.
            let Some(choice) = choice else { continue };
            old_pods += usize::from(old.is_some() && choice.run && updated.is_none());
            match (old, updated) {
                (None, _) => {}
                (Some(old), None) if !current.is_available(old) => {
                    if !choice.run {
                        plan.delete.push(old.clone());
                    } else if choice.update {
                        plan.create.push(node.clone());
                    }
                }
                (Some(old), None) if !choice.run => retirees.push(old.clone()),
                (Some(_), None) if choice.update => candidates.push(node.clone()),
                (Some(_), None) => {}
                (Some(old), Some(updated)) if current.is_available(updated) => plan.delete.push(old.clone()),
                (Some(_), Some(_)) => surge += 1,
            }
        }
        if self.strict {
            plan.create.truncate(self.limits.max_surge.saturating_sub(surge));
            surge += plan.create.len();
        }
        candidates.truncate(self.limits.max_surge.saturating_sub(surge));
        plan.create.extend(candidates);
        plan.create.truncate(self.spare(old_pods));
        plan.kept = self.keep_old.min(old_pods);
        // Moving between node groups must not drop below the desired number of available pods.
        retirees.truncate(available.saturating_sub(desired));
        plan.delete.extend(retirees);
        plan
    }
}

#[cfg(test)]
mod tests;
