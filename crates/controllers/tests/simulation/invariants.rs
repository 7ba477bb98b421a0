//! What must hold at every write, whatever goes wrong; and what a converged cluster looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Toleration};
use orlop_api::annotations::{CONTROLLER_REVISION_HASH, DAEMON_TEMPLATE_GENERATION, POD_TEMPLATE_GENERATION};
use orlop_api::placement::{Placement, should_run};
use orlop_api::pod::is_available;
use orlop_api::taints::NO_EXECUTE;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::agents::{Fleet, shown_ready};
use crate::api::kinds::{DAEMON_SETS, EVENTS, LEASES, NODES, PODS, REVISIONS};
use crate::api::store::{Actor, Contents};
use crate::api::{Commit, Key};

/// For how long a part may act on what is no longer true: two outages, a back-off after each, and a slow watch.
const STALENESS_MAX: Duration = Duration::from_secs(2 * (40 + 60) + 15);
/// A pod that is available for less than this may still look unavailable to the controllers.
const SEEN_FOR_SURE: Duration = Duration::from_secs(75);

/// Watches every write.
pub struct Invariants {
    fleet: Arc<Fleet>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    broken: Option<String>,
    quiet: bool,
    /// Who owned a pod when it was made, by uids.
    first_owner: BTreeMap<String, String>,
    /// What DaemonSets and nodes were before, each with the moment until when.
    past: BTreeMap<Key, Vec<(Instant, Arc<Value>)>>,
    /// Since when pods are ready, by uid.
    ready_since: BTreeMap<String, Instant>,
    /// Nodes on which an available pod was deleted for an update and no new one is available yet.
    replacing: BTreeMap<String, BTreeSet<String>>,
}

impl Invariants {
    pub fn new(fleet: Arc<Fleet>) -> Self {
        Self {
            fleet,
            state: Mutex::default(),
        }
    }

    /// The first broken promise.
    pub fn broken(&self) -> Option<String> {
        self.state.lock().unwrap().broken.clone()
    }

    pub fn report(&self, what: String) {
        self.state.lock().unwrap().broken.get_or_insert(what);
    }

    /// From now on controllers and scheduler have nothing to write.
    pub fn expect_quiet(&self, quiet: bool) {
        self.state.lock().unwrap().quiet = quiet;
    }

    pub fn see(&self, contents: &Contents, commit: &Commit) {
        let mut state = self.state.lock().unwrap();
        if state.broken.is_some() {
            return;
        }
        let kind = commit.key.kind;
        let ours = matches!(commit.by, Actor::Controllers | Actor::Scheduler);
        let is_side_note =
            kind == &EVENTS || kind.plural == "events" || kind == &LEASES || takes_back_disruption(commit);
        if state.quiet && ours && !is_side_note {
            state.broken = Some(format!(
                "written though nothing was to be done: {}",
                describe(commit)
            ));
        }
        if kind == &NODES || kind == &DAEMON_SETS {
            state.follow_placement(commit);
        }
        if kind == &PODS {
            let checked = state.pod(contents, commit, &self.fleet);
            if let Err(broken) = checked {
                let at = crate::determinism::elapsed();
                state.broken = Some(format!("at {at:.3} s: {broken}: {}", describe(commit)));
            }
        }
    }
}

impl State {
    /// Takes note of what an object was before a change that placement may depend on.
    fn follow_placement(&mut self, commit: &Commit) {
        let Some(old) = &commit.old else { return };
        let parts = |object: &Value| (object["spec"].clone(), object["metadata"]["labels"].clone());
        if commit.new.as_ref().is_some_and(|new| parts(old) == parts(new)) {
            return;
        }
        let past = self.past.entry(commit.key.clone()).or_default();
        past.retain(|(until, _)| until.elapsed() < STALENESS_MAX);
        past.push((Instant::now(), old.clone()));
    }

    /// Whether the controllers may hold the set to want `node`, or not to. They watch sets and nodes apart: either may be
    /// older than the other, so that they may see the two as they never were at one moment.
    fn may_seem(&self, contents: &Contents, set: &Value, node: &str, wanted: bool) -> bool {
        let (namespace, name) = (text(set, "/metadata/namespace"), text(set, "/metadata/name"));
        let sets = self.versions(contents, &Key::new(&DAEMON_SETS, &namespace, &name));
        let nodes = self.versions(contents, &Key::new(&NODES, "", node));
        sets.iter()
            .filter(|version| version["metadata"]["uid"] == set["metadata"]["uid"])
            .any(|set| nodes.iter().any(|node| placement(set, node).run == wanted))
    }

    /// What an object is, and was until not long ago.
    fn versions(&self, contents: &Contents, key: &Key) -> Vec<Arc<Value>> {
        let past = self.past.get(key).into_iter().flatten();
        let recent = past.filter(|(until, _)| until.elapsed() < STALENESS_MAX);
        let recent = recent.map(|(_, object)| object.clone());
        contents.get(key).cloned().into_iter().chain(recent).collect()
    }

    /// Whether the node's taints drive the pod away, whatever its set wants by now.
    fn may_be_evicted(&self, contents: &Contents, pod: &Value, node: &str) -> bool {
        let tolerations = pod["spec"]["tolerations"]
            .as_array()
            .map(|_| parse(&pod["spec"]["tolerations"]));
        let tolerations: Vec<Toleration> = tolerations.unwrap_or_default();
        let nodes = self.versions(contents, &Key::new(&NODES, "", node));
        nodes.iter().any(|node| {
            let node: Node = parse(node);
            let taints = orlop_api::taints::of(&node);
            orlop_api::taints::first_untolerated(taints, &tolerations, &[NO_EXECUTE]).is_some()
        })
    }

    fn pod(&mut self, contents: &Contents, commit: &Commit, fleet: &Fleet) -> Result<(), String> {
        let now = Instant::now();
        let Some(pod) = commit.new.as_ref().or(commit.old.as_ref()) else {
            return Ok(());
        };
        let uid = text(pod, "/metadata/uid");
        let Some(owner) = owner(pod) else { return Ok(()) };
        let Some(set) = contents
            .of_kind(&DAEMON_SETS)
            .map(|(_, set)| set.clone())
            .find(|set| text(set, "/metadata/uid") == owner)
        else {
            return Ok(());
        };
        let Some(node) = target(pod) else { return Ok(()) };
        if commit.old.is_none() {
            self.first_owner.insert(uid.clone(), owner.clone());
            self.created(contents, commit, &set, &node)?;
        }
        if commit.by == Actor::Scheduler
            && !text(pod, "/spec/nodeName").is_empty()
            && text(pod, "/spec/nodeName") != pinned(pod)
        {
            return Err("bound to another node than the one it is for".to_owned());
        }
        self.count_running(contents, &set, &node)?;
        let leaving = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
        let goes = commit.old.as_ref().is_some_and(|old| !leaving(old))
            && commit.new.as_ref().is_none_or(|new| leaving(new));
        if goes && commit.by == Actor::Controllers {
            self.deleted(contents, &set, &node, pod, fleet)?;
        }
        match commit.new.as_ref().and_then(|new| shown_ready(new)) {
            Some(true) => drop(self.ready_since.entry(uid).or_insert(now)),
            _ => drop(self.ready_since.remove(&uid)),
        }
        self.replaced(contents, &set);
        Ok(())
    }

    /// Never a pod on a node that doesn't match.
    fn created(&self, contents: &Contents, commit: &Commit, set: &Value, node: &str) -> Result<(), String> {
        if commit.by != Actor::Controllers {
            return Ok(());
        }
        if self.may_seem(contents, set, node, true) {
            return Ok(());
        }
        Err(format!("a pod for node {node}, which doesn't match"))
    }

    /// Never two running pods of one DaemonSet on a node beyond what surge allows.
    fn count_running(&self, contents: &Contents, set: &Value, node: &str) -> Result<(), String> {
        let uid = text(set, "/metadata/uid");
        let surge = surge(set) > 0;
        let running: Vec<&Key> = contents
            .of_kind(&PODS)
            .filter(|(_, pod)| owner(pod).as_deref() == Some(&uid) && text(pod, "/spec/nodeName") == node)
            // What was adopted came from somebody else.
            .filter(|(_, pod)| self.first_owner.get(&text(pod, "/metadata/uid")) == Some(&uid))
            .filter(|(_, pod)| pod["status"]["phase"] == "Running")
            .filter(|(_, pod)| !surge || pod["metadata"]["deletionTimestamp"].is_null())
            .map(|(key, _)| key)
            .collect();
        if running.len() > if surge { 2 } else { 1 } {
            let names: Vec<&str> = running.iter().map(|key| key.name.as_str()).collect();
            return Err(format!("{} pods run on {node}: {names:?}", names.len()));
        }
        Ok(())
    }

    /// Never more nodes without an available pod, because of our own deletions for an update, than allowed.
    fn deleted(
        &mut self,
        contents: &Contents,
        set: &Value,
        node: &str,
        pod: &Value,
        fleet: &Fleet,
    ) -> Result<(), String> {
        let max_unavailable = set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"]
            .as_u64()
            .unwrap_or(0);
        // One that is being deleted loses its pods for another reason.
        let going = !set["metadata"]["deletionTimestamp"].is_null();
        if going || set["spec"]["updateStrategy"]["type"] != "RollingUpdate" || surge(set) > 0 {
            return Ok(());
        }
        let uid = text(set, "/metadata/uid");
        let misfit = contents.get(&Key::new(&NODES, "", node)).is_none()
            || self.may_seem(contents, set, node, false)
            || self.may_be_evicted(contents, pod, node);
        let generation = set["metadata"]["annotations"][DAEMON_TEMPLATE_GENERATION].clone();
        let updated = pod["metadata"]["labels"][POD_TEMPLATE_GENERATION] == generation;
        let adopted = self.first_owner.get(&text(pod, "/metadata/uid")) != Some(&uid);
        let available = self
            .ready_since
            .get(&text(pod, "/metadata/uid"))
            .is_some_and(|since| since.elapsed() >= SEEN_FOR_SURE);
        if misfit || updated || adopted || !available || !fleet.is_alive(node) {
            return Ok(());
        }
        self.replaced(contents, set);
        let replacing = self.replacing.entry(uid).or_default();
        replacing.insert(node.to_owned());
        replacing.retain(|node| {
            let node_object = contents.get(&Key::new(&NODES, "", node));
            fleet.is_alive(node) && node_object.is_some_and(|node| placement(set, node).run)
        });
        if replacing.len() as u64 > max_unavailable {
            return Err(format!(
                "the update has taken the pods of {replacing:?}, {max_unavailable} may be unavailable"
            ));
        }
        Ok(())
    }

    /// Takes note of nodes that have an available pod again.
    fn replaced(&mut self, contents: &Contents, set: &Value) {
        let uid = text(set, "/metadata/uid");
        let Some(replacing) = self.replacing.get_mut(&uid) else {
            return;
        };
        // As the API has it: since the whole second that the condition names.
        let min_ready = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        let min_ready = i32::try_from(min_ready).unwrap_or(i32::MAX);
        for (_, pod) in contents.of_kind(&PODS) {
            let node = text(pod, "/spec/nodeName");
            let stays = pod["metadata"]["deletionTimestamp"].is_null();
            if stays
                && replacing.contains(&node)
                && owner(pod).as_deref() == Some(&uid)
                && is_available(&parse(pod), min_ready, Timestamp::now())
            {
                replacing.remove(&node);
            }
        }
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn surge(set: &Value) -> u64 {
    set["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"]
        .as_u64()
        .unwrap_or(0)
}

fn owner(pod: &Value) -> Option<String> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    let controller = owners.iter().find(|owner| owner["controller"] == true)?;
    controller["uid"].as_str().map(str::to_owned)
}

/// The node whose name its affinity demands.
pub fn pinned(pod: &Value) -> String {
    let terms =
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    text(pod, &format!("{terms}/0/matchFields/0/values/0"))
}

fn target(pod: &Value) -> Option<String> {
    [text(pod, "/spec/nodeName"), pinned(pod)]
        .into_iter()
        .find(|name| !name.is_empty())
}

fn parse<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap()
}

fn placement(set: &Value, node: &Value) -> Placement {
    let (set, node): (DaemonSet, Node) = (parse(set), parse(node));
    should_run(&set.spec.unwrap().template, &node)
}

/// One line about a write.
pub fn describe(commit: &Commit) -> String {
    format!(
        "{:?} wrote {} {}{}",
        commit.by,
        commit.key.kind.plural,
        commit.key.name,
        brief(commit)
    )
}

/// A pod that was to go and is still there says so no more: two minutes later, however quiet it is by then.
fn takes_back_disruption(commit: &Commit) -> bool {
    let says = |pod: &Option<Arc<Value>>, status: &str| {
        let conditions = pod
            .as_ref()
            .and_then(|pod| pod["status"]["conditions"].as_array());
        let is_so =
            |condition: &Value| condition["type"] == "DisruptionTarget" && condition["status"] == status;
        conditions.is_some_and(|conditions| conditions.iter().any(is_so))
    };
    commit.key.kind == &PODS && says(&commit.old, "True") && says(&commit.new, "False")
}

/// What of an object a person who looks for a fault wants to see.
pub fn brief(commit: &Commit) -> String {
    let object = &commit.shown;
    let gone = if object["metadata"]["deletionTimestamp"].is_null() {
        ""
    } else {
        " terminating"
    };
    if commit.key.kind == &PODS {
        let hash = text(object, &format!("/metadata/labels/{CONTROLLER_REVISION_HASH}"));
        let ready = shown_ready(object);
        format!(
            " for {} on {:?} hash {hash} {} ready {ready:?}{gone}",
            pinned(object),
            text(object, "/spec/nodeName"),
            text(object, "/status/phase")
        )
    } else if commit.key.kind == &NODES {
        format!(
            " {} {}{gone}",
            object["spec"], object["metadata"]["labels"]["zone"]
        )
    } else if commit.key.kind == &DAEMON_SETS {
        let spec = &object["spec"]["template"]["spec"];
        format!(
            " generation {} {} {} {}{gone}",
            object["metadata"]["generation"],
            spec["containers"][0]["image"],
            spec["nodeSelector"],
            object["status"]
        )
    } else {
        gone.to_owned()
    }
}

/// Whether everything is as it should be; if not, what isn't.
pub fn converged(contents: &Contents) -> Result<(), String> {
    for (key, node) in contents.of_kind(&NODES) {
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let has = |name: &str| taints.iter().any(|taint| taint["key"] == name);
        let cordoned = node["spec"]["unschedulable"] == true;
        let wrong = has("node.kubernetes.io/not-ready")
            || has("node.kubernetes.io/unreachable")
            || has("node.kubernetes.io/unschedulable") != cordoned;
        if wrong {
            return Err(format!("taints of {}: {taints:?}", key.name));
        }
    }
    let sets: BTreeMap<String, &Arc<Value>> = contents
        .of_kind(&DAEMON_SETS)
        .map(|(_, set)| (text(set, "/metadata/uid"), set))
        .collect();
    for (key, pod) in contents.of_kind(&PODS) {
        let on = target(pod).unwrap_or_default();
        // Who was left behind before it was bound is nobody's, and told anew of its chances whenever they change.
        if text(pod, "/spec/nodeName").is_empty() {
            return Err(format!("{} waits to be bound to {on}", key.name));
        }
        if contents.get(&Key::new(&NODES, "", &on)).is_none() {
            return Err(format!("{} is left on {on}, which is gone", key.name));
        }
        match owner(pod) {
            Some(owner) if !sets.contains_key(&owner) => {
                return Err(format!("{} has lost its owner and is still there", key.name));
            }
            Some(_) => {}
            None => {
                let app = text(pod, "/metadata/labels/app");
                if sets.values().any(|set| text(set, "/metadata/name") == app) {
                    return Err(format!("{} isn't adopted", key.name));
                }
            }
        }
    }
    for (key, revision) in contents.of_kind(&REVISIONS) {
        if owner(revision).is_some_and(|owner| !sets.contains_key(&owner)) {
            return Err(format!("{} has lost its owner and is still there", key.name));
        }
    }
    sets.iter()
        .try_for_each(|(uid, set)| set_converged(contents, uid, set))
}

fn set_converged(contents: &Contents, uid: &str, set: &Value) -> Result<(), String> {
    let name = text(set, "/metadata/name");
    if !set["metadata"]["deletionTimestamp"].is_null() {
        return Err(format!("{name} is still being deleted"));
    }
    let revisions: Vec<&Arc<Value>> = contents
        .of_kind(&REVISIONS)
        .map(|(_, revision)| revision)
        .filter(|revision| owner(revision).as_deref() == Some(uid))
        .collect();
    let current = revisions
        .iter()
        .max_by_key(|revision| revision["revision"].as_i64());
    let hash =
        current.map(|revision| text(revision, &format!("/metadata/labels/{CONTROLLER_REVISION_HASH}")));
    let generation = set["metadata"]["annotations"][DAEMON_TEMPLATE_GENERATION].clone();
    let on_delete = set["spec"]["updateStrategy"]["type"] == "OnDelete";
    let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
    let (mut desired, mut misscheduled, mut updated) = (0, 0, 0);
    for (key, node) in contents.of_kind(&NODES) {
        let node_name = &key.name;
        let placement = placement(set, node);
        let pods: Vec<&Arc<Value>> = contents
            .of_kind(&PODS)
            .map(|(_, pod)| pod)
            .filter(|pod| owner(pod).as_deref() == Some(uid) && target(pod).as_deref() == Some(node_name))
            .collect();
        desired += i64::from(placement.run);
        if placement.run && pods.len() != 1 {
            return Err(format!("{name} has {} pods on {node_name}", pods.len()));
        }
        if !placement.continue_ && !pods.is_empty() || pods.len() > 1 {
            return Err(format!(
                "{name} has {} pods on {node_name}, which it must not",
                pods.len()
            ));
        }
        for pod in pods {
            misscheduled += i64::from(!placement.run);
            let pod_name = text(pod, "/metadata/name");
            let labels = &pod["metadata"]["labels"];
            let same_hash = Some(text(labels, &format!("/{CONTROLLER_REVISION_HASH}"))) == hash;
            let is_updated = same_hash || labels[POD_TEMPLATE_GENERATION] == generation;
            updated += i64::from(placement.run && is_updated);
            // One that a deleted set of the same name left behind counts as updated by its generation alone.
            let inherited =
                text(pod, "/metadata/creationTimestamp") < text(set, "/metadata/creationTimestamp");
            let as_wanted =
                is_updated && (pod["spec"]["containers"][0]["image"] == *image || inherited && !same_hash);
            if !as_wanted && placement.run && !on_delete {
                return Err(format!("{pod_name} isn't updated"));
            }
            let runs = shown_ready(pod) == Some(true) && pod["status"]["phase"] == "Running";
            if !runs || !pod["metadata"]["deletionTimestamp"].is_null() {
                return Err(format!("{pod_name} isn't ready"));
            }
        }
    }
    let want = [
        ("desiredNumberScheduled", desired),
        ("currentNumberScheduled", desired),
        ("numberReady", desired),
        ("numberAvailable", desired),
        ("numberUnavailable", 0),
        ("updatedNumberScheduled", updated),
        ("numberMisscheduled", misscheduled),
        (
            "observedGeneration",
            set["metadata"]["generation"].as_i64().unwrap_or(0),
        ),
    ];
    for (field, want) in want {
        let shown = set["status"][field].as_i64().unwrap_or(0);
        if shown != want {
            return Err(format!("{name} shows {field} {shown}, it is {want}"));
        }
    }
    if revisions.len() > 11 {
        return Err(format!("{name} keeps {} revisions", revisions.len()));
    }
    Ok(())
}
