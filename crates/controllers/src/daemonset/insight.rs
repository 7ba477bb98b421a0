//! For a person: what the controller decides and would decide, from the same pure parts that it runs. No I/O.
//!
//! | question | answered by |
//! |---|---|
//! | what about each node, by which rule, from which values | [`why`] |
//! | what is missing for a pod to be ready | [`not_ready`] |
//! | what would applying a DaemonSet do, in what order | [`plan`] |

mod not_ready;
mod plan;
#[cfg(test)]
mod testing;
mod why;

pub use not_ready::not_ready;
pub use plan::{Action, Plan, Step, plan};
pub use why::{Explanation, NodeVerdict, Verdict, why};

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1 as core;
use orlop_api::placement;
use orlop_client::informer::Lean;

use super::grouping::NodeChoice;
use crate::cache::{self, DaemonSet as CachedSet, NodeView, Pod, PodView, RevisionView, cached};
use crate::revisions::{History, hash_of};

/// What is known of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// All nodes.
    pub nodes: &'a [core::Node],
    /// At least those of the DaemonSet's namespace.
    pub pods: &'a [core::Pod],
    /// At least those of the DaemonSet's namespace.
    pub revisions: &'a [ControllerRevision],
}

/// A DaemonSet with the defaults that the API gives it.
pub fn with_defaults(mut set: serde_json::Value) -> Result<DaemonSet, serde_json::Error> {
    orlop_api::defaults::daemon_set(&mut set);
    serde_json::from_value(set)
}

/// A node and what placement says about it.
struct Judged<'a> {
    node: &'a core::Node,
    choice: NodeChoice,
    /// Why the pod may not be there, in words.
    refusals: Vec<String>,
    /// The rule that refuses.
    rule: Option<&'static str>,
}

impl Known<'_> {
    /// All nodes by name, as the DaemonSet sees them.
    fn judge(&self, set: &CachedSet) -> Vec<Judged<'_>> {
        let mut judged: Vec<Judged<'_>> = self
            .nodes
            .iter()
            .map(|node| {
                let seen = cached::<NodeView>(Lean(node.clone()));
                let placement = placement::should_run(&set.placed, &seen.node);
                let spec = set.placed.spec.as_ref();
                Judged {
                    node,
                    choice: NodeChoice::of(set, &seen),
                    rule: placement.reasons.first().map(placement::Reason::filter),
                    refusals: placement
                        .reasons
                        .iter()
                        .filter_map(|reason| Some(placement::explain(reason, spec?, &seen.node)))
                        .collect(),
                }
            })
            .collect();
        judged.sort_by(|a, b| a.choice.name.cmp(&b.choice.name));
        judged
    }

    /// The pods that are the DaemonSet's.
    fn pods_of(&self, set: &CachedSet) -> Vec<(Pod, &core::Pod)> {
        let in_namespace = |pod: &&core::Pod| pod.metadata.namespace.as_deref() == Some(&*set.key.namespace);
        self.pods
            .iter()
            .filter(in_namespace)
            .map(|pod| (cached::<PodView>(Lean(pod.clone())), pod))
            .filter(|(pod, _)| {
                let owner = pod.controller.as_ref();
                owner.is_some_and(|owner| owner.uid == set.uid) && set.selector.matches(&pod.labels)
            })
            .collect()
    }

    /// The hash of the revision that has the template's bytes, if there is one.
    fn hash_of(&self, set: &CachedSet) -> Option<String> {
        let revisions: Vec<cache::Revision> = self
            .revisions
            .iter()
            .map(|revision| cached::<RevisionView>(revision.clone()))
            .filter(|revision| {
                let owner = revision.controller.as_ref();
                owner.is_some_and(|owner| owner.uid == set.uid)
            })
            .collect();
        let history = History::new(revisions, set.revision_bytes.as_deref()?);
        history.current.as_ref().map(hash_of)
    }
}
