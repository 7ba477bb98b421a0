//! What applying a DaemonSet would do, played through with the controller's own passes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1 as core;
use orlop_api::annotations::CONTROLLER_REVISION_HASH;
use orlop_api::placement::daemon;
use orlop_client::informer::{Cached, ObjectKey};
use serde::Serialize;

use super::super::backoff::FailedPodBackoff;
use super::super::grouping::{NodeChoice, PodsByNode};
use super::super::manage::{Circumstances, manage};
use super::super::rolling::{self, Current};
use super::super::strategy::Strategy;
use super::Known;
use crate::cache::{DaemonSetView, Phase, Pod, PodView, Ready, cached};

/// Steps that are played through; the rest is counted.
const STEPS_MAX: usize = 1000;
/// The label of pods that the plan makes.
const PLANNED: &str = "planned";

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Pods are created where there are none.
    Create,
    /// Pods are deleted, none follow.
    Delete,
    /// Pods are deleted, and new ones created once they are gone.
    Replace,
    /// New pods are created beside old ones, which go once those are available.
    Surge,
}

impl Action {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Replace => "replace",
            Self::Surge => "surge",
        }
    }
}

/// One step. The next one waits until its pods are available.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// Where.
    pub nodes: Vec<String>,
}

/// What would happen.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// `namespace/name`.
    pub name: String,
    /// In one line.
    pub summary: String,
    /// In order.
    pub steps: Vec<Step>,
    /// Nodes that more steps would be about.
    pub steps_left_out: usize,
    /// Nodes that get no pod, by the reason.
    pub left_out: BTreeMap<String, Vec<String>>,
    #[serde(skip)]
    uid: Arc<str>,
}

impl Plan {
    /// Whether a new pod comes up on that node.
    pub fn creates_on(&self, node: &str) -> bool {
        self.steps
            .iter()
            .any(|step| step.action != Action::Delete && step.nodes.iter().any(|name| name == node))
    }

    /// Whether that pod goes for a new one.
    pub fn replaces(&self, pod: &core::Pod) -> bool {
        let owners = pod.metadata.owner_references.iter().flatten();
        owners
            .into_iter()
            .any(|owner| *owner.uid == *self.uid && owner.controller == Some(true))
    }

    /// The pod that `set` gets on that node.
    pub fn pod_for(&self, set: &DaemonSet, node: &str) -> core::Pod {
        let mut pod = daemon::pod_for_node(set, PLANNED, node);
        pod.metadata.name = Some(format!(
            "{}-{PLANNED}",
            set.metadata.name.as_deref().unwrap_or_default()
        ));
        pod
    }
}

/// Plays `set` through, where `existing` is what has its name now.
pub fn plan(set: &DaemonSet, existing: Option<&DaemonSet>, known: &Known<'_>, now: Timestamp) -> Plan {
    let mut set = set.clone();
    // A dry run may have made up an identity.
    set.metadata.uid = existing.map_or(Some(String::new()), |existing| existing.metadata.uid.clone());
    let set = cached::<DaemonSetView>(set);
    let before = existing.map(|existing| cached::<DaemonSetView>(existing.clone()));
    let known_hash = known.hash_of(&set);
    let what = match &before {
        None => "is created",
        Some(before) if before.revision_bytes == set.revision_bytes => "has this template already",
        Some(_) if known_hash.is_some() => "gets the template of an earlier revision",
        Some(_) => "gets a new template",
    };
    let hash = known_hash.unwrap_or_else(|| PLANNED.to_owned());
    let judged = known.judge(&set);
    let mut left_out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in judged.iter().filter(|node| !node.choice.run) {
        let why = node.refusals.join("; ");
        left_out
            .entry(why)
            .or_default()
            .push(node.choice.name.to_string());
    }
    let nodes: Vec<NodeChoice> = judged.into_iter().map(|judged| judged.choice).collect();
    let pods: Vec<Pod> = if existing.is_some() {
        known.pods_of(&set).into_iter().map(|(pod, _)| pod).collect()
    } else {
        Vec::new()
    };
    let mut played = Played {
        set: &set,
        hash,
        nodes,
        pods,
        now,
        made: 0,
    };
    let strategy = Strategy::of(&set.set);
    let mut steps: Vec<Step> = Vec::new();
    while steps.len() < STEPS_MAX {
        let more = played.step(&strategy);
        if more.is_empty() {
            break;
        }
        steps.extend(more);
    }
    let steps = joined(steps);
    let old = played.old();
    let steps_left_out = if steps.len() >= STEPS_MAX / 2 { old } else { 0 };
    let summary = summary(what, &set, &strategy, &steps, old);
    Plan {
        name: set.key.to_string(),
        summary,
        steps,
        steps_left_out,
        left_out,
        uid: set.uid.clone(),
    }
}

fn summary(what: &str, set: &DaemonSetView, strategy: &Strategy, steps: &[Step], old: usize) -> String {
    let touched: HashSet<&String> = steps.iter().flat_map(|step| &step.nodes).collect();
    let mut text = match touched.len() {
        0 => format!("{what}; no pod changes"),
        1 => format!("{what}; pods change on 1 node"),
        count => format!("{what}; pods change on {count} nodes"),
    };
    if old > 0 && steps.len() < STEPS_MAX / 2 {
        let why = match &set.options.complaint {
            Some(complaint) => complaint.clone(),
            None if set.options.paused => "updates are paused".to_owned(),
            None if !set.options.replaces(strategy) => "until somebody deletes them".to_owned(),
            None => "as annotations ask".to_owned(),
        };
        text.push_str(&format!("; {old} pods stay of an old template: {why}"));
    }
    text
}

/// Deletions that are followed by creations on the same nodes are one step.
fn joined(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        if step.action == Action::Create
            && let Some(last) = joined.last_mut()
            && matches!(last.action, Action::Delete | Action::Replace)
        {
            let gone: HashSet<&String> = last.nodes.iter().collect();
            if step.nodes.iter().all(|node| gone.contains(node)) && step.nodes.len() == last.nodes.len() {
                last.action = Action::Replace;
                continue;
            }
        }
        // Old pods that go once their new ones are available belong to the step that made those.
        if step.action == Action::Delete
            && joined.iter().any(|before| before.action == Action::Surge)
            && step.nodes.iter().all(|node| {
                let surged = |before: &Step| before.action == Action::Surge && before.nodes.contains(node);
                joined.iter().any(surged)
            })
        {
            continue;
        }
        joined.push(step);
    }
    joined
}

/// The DaemonSet's pods as the play goes on.
struct Played<'a> {
    set: &'a Cached<DaemonSetView>,
    hash: String,
    nodes: Vec<NodeChoice>,
    pods: Vec<Pod>,
    now: Timestamp,
    made: usize,
}

impl Played<'_> {
    fn old(&self) -> usize {
        let hash = |pod: &&Pod| pod.labels.get(CONTROLLER_REVISION_HASH) != Some(&self.hash);
        self.pods.iter().filter(hash).count()
    }

    /// One sync, after which all pods are as they should be.
    fn step(&mut self, strategy: &Strategy) -> Vec<Step> {
        let current = Current {
            hash: &self.hash,
            // What pods carry for the old number says nothing about the new template.
            generation: None,
            min_ready_seconds: 0,
            now: self.now,
        };
        let circumstances = Circumstances {
            set: &self.set.uid,
            observed_generation: 0,
            hash: &self.hash,
            surge: strategy.allows_surge(),
            min_ready_seconds: 0,
            now: self.now,
        };
        let grouped = PodsByNode::new(&self.pods);
        let changes = manage(
            &circumstances,
            &self.nodes,
            &grouped,
            &mut FailedPodBackoff::default(),
        );
        let desired = self.nodes.iter().filter(|node| node.run).count();
        let options = &self.set.options;
        let update = rolling::replace(&current, options, strategy, desired, &self.nodes, &grouped);
        let mut steps = Vec::new();
        let mut add = |action, nodes: Vec<Arc<str>>| {
            if !nodes.is_empty() {
                let mut nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                nodes.sort();
                nodes.dedup();
                steps.push(Step { action, nodes });
            }
        };
        let targets = |pods: &[Pod]| pods.iter().filter_map(|pod| pod.target.clone()).collect();
        add(Action::Create, changes.create.clone());
        add(Action::Delete, targets(&changes.delete));
        add(Action::Surge, update.create.clone());
        add(Action::Delete, targets(&update.delete));
        let gone: HashSet<Arc<str>> = changes
            .delete
            .iter()
            .chain(&update.delete)
            .map(|pod| pod.uid.clone())
            .collect();
        // Those on their way out are gone by the next step.
        self.pods
            .retain(|pod| !gone.contains(&pod.uid) && !pod.terminating);
        for node in changes.create.into_iter().chain(update.create) {
            let pod = self.make(node);
            self.pods.push(pod);
        }
        steps
    }

    fn make(&mut self, node: Arc<str>) -> Pod {
        self.made += 1;
        let name = format!("{PLANNED}-{}", self.made);
        Arc::new(Cached {
            key: ObjectKey::new(self.set.key.namespace.clone(), name.as_str()),
            uid: name.as_str().into(),
            resource_version: 1,
            object: PodView {
                labels: Arc::new([(CONTROLLER_REVISION_HASH.to_owned(), self.hash.clone())].into()),
                node: Some(node.clone()),
                target: Some(node),
                phase: Phase::Running,
                ready: Ready::Since(Some(self.now)),
                created: self.now.checked_add(SignedDuration::from_secs(1)).ok(),
                ..PodView::default()
            },
        })
    }
}

#[cfg(test)]
mod tests;
