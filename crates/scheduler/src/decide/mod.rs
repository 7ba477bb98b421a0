//! Which node a pod goes to, or why none will do. Pure over a [`Cluster`].

mod affinity;
pub mod binding;
mod copies;
mod exclusive;
pub mod hint;
mod judge;
mod limits;
mod message;
pub mod preempt;
mod score;
mod spread;
pub mod volumes;

use std::sync::Arc;

use orlop_client::informer::ObjectKey;

use crate::known::cluster::{Candidate, Cluster};
use crate::known::view::Pending;
use crate::known::world::World;
use crate::profile::Profile;
use crate::profile::rules::Rules;

use copies::Copies;
pub use judge::{Judge, Others};
pub use message::Refusals;
use score::{Feasible, scored};

/// Why no node is asked where a pod is for several by name at once.
const TERMS_CONFLICT: &str = "pod affinity terms conflict";

/// What becomes of a pod.
#[derive(Debug)]
pub enum Decision {
    /// Bind it there.
    Bind(Arc<str>),
    /// No node fits.
    Unschedulable(Refusals),
}

/// Which nodes would do for a pod, and why the others don't.
#[derive(Debug, Default)]
pub struct Survey {
    /// By name, each with how good it is.
    pub nodes: Vec<(Arc<str>, f64)>,
    /// Counted.
    pub refusals: Refusals,
}

impl Survey {
    /// The best node. Of equals it is the first by name, so that the same cluster gives the same answer.
    pub fn decide(self) -> Decision {
        let mut best: Option<(Arc<str>, f64)> = None;
        for (name, score) in self.nodes {
            if best.as_ref().is_none_or(|(_, highest)| score > *highest) {
                best = Some((name, score));
            }
        }
        match best {
            Some((name, _)) => Decision::Bind(name),
            None => Decision::Unschedulable(self.refusals),
        }
    }
}

/// Decides for one pod.
pub fn decide(
    key: &ObjectKey,
    pod: &Pending,
    cluster: &mut Cluster,
    world: &World,
    profile: &Profile,
) -> Decision {
    survey(key, pod, pod.nominated.as_ref(), cluster, world, profile).decide()
}

/// Whether the pod can be on the node now.
pub fn fits(
    key: &ObjectKey,
    pod: &Pending,
    cluster: &mut Cluster,
    world: &World,
    rules: &Rules,
    node: &str,
) -> bool {
    let Ok(judge) = Judge::of(key, pod, cluster, world, rules) else {
        return false;
    };
    let candidate = cluster.candidate(node);
    candidate.is_some_and(|candidate| judge.reasons(&candidate).is_empty())
}

/// Looks for a node for one pod: at `first`, where room was made for it, and if that does not do at all of them.
pub fn survey(
    key: &ObjectKey,
    pod: &Pending,
    first: Option<&Arc<str>>,
    cluster: &mut Cluster,
    world: &World,
    profile: &Profile,
) -> Survey {
    let nodes = cluster.len();
    let nowhere = |why: String| Survey {
        refusals: Refusals::whole(nodes, why),
        ..Survey::default()
    };
    if pod.confined_to.as_ref().is_some_and(Vec::is_empty) {
        return nowhere(TERMS_CONFLICT.to_owned());
    }
    let judge = match Judge::of(key, pod, cluster, world, &profile.rules) {
        Ok(judge) => judge,
        Err(why) => return nowhere(why),
    };
    if let Some(first) = first
        && let Some(candidate) = cluster.candidate(first)
        && judge.reasons(&candidate).is_empty()
    {
        return Survey {
            nodes: vec![(first.clone(), 0.0)],
            refusals: Refusals::of(nodes),
        };
    }
    let mut refusals = Refusals::of(nodes);
    let mut feasible = Vec::new();
    // Whoever says how to spread is taken at their word.
    let says_nothing = judge.spread.is_none() && profile.rules.spreading.is_none();
    let mut copies = says_nothing.then(|| Copies::of(key, pod, world)).flatten();
    let mut look = |candidate: &Candidate<'_>| {
        let place = copies.as_mut().map(|copies| copies.count(candidate));
        let reasons = judge.reasons(candidate);
        if reasons.is_empty() {
            feasible.push(Feasible::of(&judge, candidate, profile, nodes, place));
        } else {
            refusals.add(&reasons);
        }
    };
    match &pod.confined_to {
        // The path of daemon pods: one node is asked, however many there are.
        Some(names) => {
            let mut asked = 0;
            for name in names {
                if let Some(candidate) = cluster.candidate(name) {
                    asked += 1;
                    look(&candidate);
                }
            }
            refusals.cut_off(nodes - asked);
        }
        None => cluster.candidates().for_each(|candidate| look(&candidate)),
    }
    let crowds = match copies {
        Some(copies) => copies.crowds(feasible.iter().map(|node| node.place)),
        None => spread::crowds(feasible.iter().map(|node| node.standing.as_deref())),
    };
    Survey {
        nodes: scored(feasible, &crowds, profile.weights),
        refusals,
    }
}

#[cfg(test)]
mod tests;
