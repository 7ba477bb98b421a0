//! What placement goes by beside pods and nodes: the arguments of upstream's plugins.

use k8s_openapi::api::core::v1::{NodeAffinity, PreferredSchedulingTerm};
use orlop_api::placement::{self, NodeFacts, Reason};

use crate::known::traits::Spreading;
use crate::known::view::Pending;

/// What is told to a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How much a pod is preferred near those whose required affinity is about it, beside the weights of what is preferred.
    pub need: i64,
    /// A pod without preferences about others isn't placed by theirs either.
    pub ignores_others_preferences: bool,
    /// What nodes must be, and had better be, for all pods.
    pub affinity: NodeAffinity,
    /// How copies of pods spread that say nothing about it; `None`: over nodes and zones, where it costs nothing else.
    pub spreading: Option<Vec<Spreading>>,
    /// Resources that are not looked at: by name, or all whose names begin like this.
    pub ignored: Vec<String>,
    /// See `ignored`; each with the slash that ends a group.
    pub ignored_groups: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            need: 1,
            ignores_others_preferences: false,
            affinity: NodeAffinity::default(),
            spreading: None,
            ignored: Vec::new(),
            ignored_groups: Vec::new(),
        }
    }
}

impl Rules {
    /// Why no pod is to be on the node.
    pub fn refuses(&self, node: &dyn NodeFacts) -> Option<Reason> {
        let required = self
            .affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()?;
        let mut terms = required.node_selector_terms.iter();
        let fits = terms.any(|term| placement::term_matches(term, node));
        (!fits).then_some(Reason::EnforcedAffinity)
    }

    /// Whether other copies of the pod may keep it from nodes, though it says nothing about them.
    pub fn minds_copies(&self, pod: &Pending) -> bool {
        let mut all = self.spreading.iter().flatten();
        pod.family.is_some() && pod.traits.spreading.is_empty() && all.any(|constraint| constraint.required)
    }

    /// What makes a node a better one for all pods.
    pub fn preferred(&self) -> &[PreferredSchedulingTerm] {
        let preferred = &self.affinity.preferred_during_scheduling_ignored_during_execution;
        preferred.as_deref().unwrap_or_default()
    }

    /// Whether it doesn't matter how much there is of a resource.
    pub fn ignores(&self, resource: &str) -> bool {
        let mut groups = self.ignored_groups.iter();
        self.ignored.iter().any(|name| name == resource) || groups.any(|group| resource.starts_with(group))
    }
}
