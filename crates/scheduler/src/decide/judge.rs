//! Whether a pod can be on a node: all filters, in their order.

use orlop_api::placement::{self, NodeUsage, Reason};
use orlop_client::informer::ObjectKey;

use crate::known::cluster::{Candidate, Cluster};
use crate::known::view::{NodeView, Pending};
use crate::known::world::World;
use crate::profile::rules::Rules;

use super::affinity::Company;
use super::exclusive::Exclusive;
use super::limits::{Brought, Load};
use super::spread::Spread;
use super::volumes::Volumes;

/// What is looked at for every node: the pod, and what others make of it.
pub struct Judge<'a> {
    key: &'a ObjectKey,
    /// Whom it is about.
    pub pod: &'a Pending,
    rules: &'a Rules,
    /// By which other pods' company it is bound, if by any.
    pub company: Option<Company<'a>>,
    /// How it has to spread, if it has to.
    pub spread: Option<Spread<'a>>,
    /// Its volumes, if it has any.
    pub volumes: Option<Volumes>,
    /// Who else uses what it wants for itself alone, if it wants that.
    pub exclusive: Option<Exclusive>,
    /// The volumes that it brings, if there may be too many of them.
    brought: Option<Brought<'a>>,
}

/// What other pods are to a pod, where that depends on which of them are there.
#[derive(Clone, Copy)]
pub struct Others<'j, 'a> {
    /// The company they are.
    pub company: Option<&'j Company<'a>>,
    /// How they are spread.
    pub spread: Option<&'j Spread<'a>>,
    /// What they use that it wants for itself.
    pub exclusive: Option<&'j Exclusive>,
    /// Which volumes are attached for them.
    pub load: Option<&'j Load<'j>>,
}

impl<'a> Judge<'a> {
    /// Counts what has to be counted; the reason if no node could do.
    pub fn of(
        key: &'a ObjectKey,
        pod: &'a Pending,
        cluster: &mut Cluster,
        world: &'a World,
        rules: &'a Rules,
    ) -> Result<Self, String> {
        Ok(Self {
            key,
            pod,
            rules,
            volumes: Volumes::of(key, pod, world)?,
            exclusive: Exclusive::of(key, pod, cluster, world),
            brought: Brought::of(key, pod, world),
            company: Company::of(key, pod, cluster, world, rules),
            spread: Spread::of(key, pod, cluster, rules),
        })
    }

    /// spec.priority.
    pub fn priority(&self) -> i32 {
        self.pod.priority()
    }

    /// Why the pod can't be on this node, nothing if it can.
    pub fn reasons(&self, candidate: &Candidate<'_>) -> Vec<Reason> {
        let usage = candidate.usage_for(self.key, self.priority());
        let reasons = self.reasons_of_node(candidate.node, &usage);
        if !reasons.is_empty() {
            return reasons;
        }
        // Counted only where all else suits.
        let load = self.load_of(candidate);
        let others = Others {
            company: self.company.as_ref(),
            spread: self.spread.as_ref(),
            exclusive: self.exclusive.as_ref(),
            load: load.as_ref(),
        };
        self.refused_beside(candidate.node, others).into_iter().collect()
    }

    /// Which volumes are attached to the candidate, if the pod may bring too many.
    pub fn load_of(&self, candidate: &Candidate<'_>) -> Option<Load<'_>> {
        let awaited = candidate.awaited(self.key, self.priority());
        self.brought.as_ref()?.on(candidate, awaited)
    }

    /// Why the node isn't one for the pod, whoever else is there, or has too little left.
    fn reasons_of_node(&self, node: &NodeView, usage: &NodeUsage) -> Vec<Reason> {
        let mut reasons = placement::node_filters(&self.pod.spec, &node.node, usage);
        if let Some(refusal) = self.rules.refuses(&node.node)
            && reasons.first().is_none_or(comes_after_affinity)
        {
            return vec![refusal];
        }
        reasons.retain(
            |reason| !matches!(reason, Reason::Insufficient { resource, .. } if self.rules.ignores(resource)),
        );
        reasons
    }

    /// Why the pod's volumes, or other pods, keep it from the node.
    fn refused_beside(&self, node: &NodeView, others: Others<'_, '_>) -> Option<Reason> {
        let refusal = others.exclusive.and_then(Exclusive::refuses);
        let refusal = refusal.or_else(|| others.load?.refuses());
        let refusal = refusal.or_else(|| self.volumes.as_ref()?.refuses(node));
        let refusal = refusal.or_else(|| others.spread?.refuses(node));
        refusal.or_else(|| others.company?.refuses(node))
    }

    /// Whether the pod can be on this node when so much is taken of it and other pods are this.
    pub fn fits(&self, node: &NodeView, usage: &NodeUsage, others: Others<'_, '_>) -> bool {
        self.reasons_of_node(node, usage).is_empty() && self.refused_beside(node, others).is_none()
    }
}

/// Whether a reason is looked for after what is demanded of nodes.
fn comes_after_affinity(reason: &Reason) -> bool {
    !matches!(
        reason,
        Reason::NodeUnschedulable | Reason::NodeName | Reason::TaintToleration { .. }
    )
}
