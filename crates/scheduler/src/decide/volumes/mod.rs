//! Volumes: on which nodes a pod's claims can be met, and by which volumes. Pure over what the [`World`] shows.
//!
//! A claim that is bound confines its pod to where its volume can be reached. One of a class that waits for its first
//! consumer is met by a volume of the chosen node, or by one that a provisioner makes for that node.

mod room;

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use orlop_api::placement::Reason;
use orlop_client::informer::{Cached, ObjectKey};

use crate::known::view::{NodeView, Pending};
use crate::known::volumes::{ClaimView, ClassView, VolumeView};
use crate::known::world::World;

use room::Room;

/// The provisioner of classes whose volumes are made by people.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// How one claim is to be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// By this volume.
    By {
        claim: ObjectKey,
        uid: Arc<str>,
        volume: Arc<str>,
    },
    /// By one that is made for the node.
    Made { claim: ObjectKey, uid: Arc<str> },
}

impl Met {
    /// The claim, and its uid.
    pub fn claim(&self) -> (&ObjectKey, &Arc<str>) {
        let (Self::By { claim, uid, .. } | Self::Made { claim, uid }) = self;
        (claim, uid)
    }
}

/// The volumes of one pod.
#[derive(Debug, Clone)]
pub struct Volumes {
    bound: Vec<Arc<Cached<VolumeView>>>,
    /// A bound claim's volume isn't there.
    lost: bool,
    /// The most modest first.
    waiting: Vec<Waiting>,
}

/// A claim that waits for its first consumer, with what is the same on every node.
#[derive(Debug, Clone)]
struct Waiting {
    claim: Arc<Cached<ClaimView>>,
    class: Arc<Cached<ClassView>>,
    /// The node that its volume is made for already: others who use the claim have decided that.
    selected: Option<Arc<str>>,
    /// The volume that it was promised.
    promised: Option<Arc<str>>,
    /// The volumes that could be its own, wherever they are: one that is given to it, then the smallest.
    candidates: Vec<Arc<Cached<VolumeView>>>,
    /// Where there is room for a volume that is made for it; `None` if nobody tells that.
    room: Option<Room>,
}

impl Volumes {
    /// Finds the pod's claims; the reason if no node could do. `None` if it has no claim.
    pub fn of(key: &ObjectKey, pod: &Pending, world: &World) -> Result<Option<Self>, String> {
        if pod.claims.is_empty() {
            return Ok(None);
        }
        let mut volumes = Self {
            bound: Vec::new(),
            lost: false,
            waiting: Vec::new(),
        };
        let mut immediate = false;
        for name in &pod.claims {
            let claim = ObjectKey {
                namespace: key.namespace.clone(),
                name: name.clone(),
            };
            let Some(claim) = world.claims.get(&claim) else {
                return Err(match pod.made_for_it.contains(name) {
                    true => format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                    ),
                    false => format!("persistentvolumeclaim \"{name}\" not found"),
                });
            };
            if let Some(why) = useless(&claim, key, pod) {
                return Err(why);
            }
            match &claim.volume {
                Some(volume) => match world.volumes.get(&ObjectKey::new("", volume.clone())) {
                    Some(volume) => volumes.bound.push(volume),
                    None => volumes.lost = true,
                },
                None => match Waiting::of(claim, world) {
                    Some(claim) => volumes.waiting.push(claim),
                    None => immediate = true,
                },
            }
        }
        if immediate {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        let rank = |waiting: &Waiting| (waiting.claim.request, waiting.claim.key.clone());
        volumes.waiting.sort_by_cached_key(rank);
        Ok(Some(volumes))
    }

    /// Why the pod can't have its volumes on `node`, if it can't.
    pub fn refuses(&self, node: &NodeView) -> Option<Reason> {
        if self.lost {
            return Some(Reason::VolumeLost);
        }
        if !self.bound.iter().all(|volume| volume.is_reachable_from(node)) {
            return Some(Reason::VolumeNodeAffinity);
        }
        if let Err(why) = self.meet(node) {
            return Some(why);
        }
        let mut bound = self.bound.iter();
        (!bound.all(|volume| volume.is_in_zone_of(node))).then_some(Reason::VolumeZone)
    }

    /// How the waiting claims are met on `node`; `None` if they can't be.
    pub fn choose(&self, node: &NodeView) -> Option<Vec<Met>> {
        self.meet(node).ok()
    }

    fn meet(&self, node: &NodeView) -> Result<Vec<Met>, Reason> {
        let mut taken: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut chosen = Vec::with_capacity(self.waiting.len());
        for waiting in &self.waiting {
            let met = waiting.met_on(node, &taken)?;
            if let Met::By { volume, .. } = &met {
                taken.insert(volume.clone());
            }
            chosen.push(met);
        }
        Ok(chosen)
    }
}

/// Why a claim is of no use to the pod wherever that goes.
fn useless(claim: &Cached<ClaimView>, key: &ObjectKey, pod: &Pending) -> Option<String> {
    let name = &claim.key.name;
    if let Some(volume) = &claim.lost {
        return Some(format!(
            "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
        ));
    }
    if claim.terminating {
        return Some(format!("persistentvolumeclaim \"{name}\" is being deleted"));
    }
    let is_its = claim.made_for.as_deref() == pod.reference.uid.as_deref();
    (pod.made_for_it.contains(name) && !is_its).then(|| {
        format!(
            "PVC {} was not created for pod {key} (pod is not owner)",
            claim.key
        )
    })
}

impl Waiting {
    /// `None` if the claim is to be bound without waiting for a pod, or is being bound.
    fn of(claim: Arc<Cached<ClaimView>>, world: &World) -> Option<Self> {
        let class = claim.class.clone().filter(|_| !claim.named)?;
        let class = world.classes.get(&ObjectKey::new("", class))?;
        let mut waiting = class.waits.then(|| Self {
            selected: world.selected(&claim),
            promised: world.promised_to(&claim.key),
            candidates: Vec::new(),
            room: Room::of(&claim, &class, world),
            claim,
            class,
        })?;
        if waiting.selected.is_none() {
            waiting.candidates = waiting.find(world);
        }
        Some(waiting)
    }

    /// Looks at every volume there is: once for a pod, not for each of the nodes.
    fn find(&self, world: &World) -> Vec<Arc<Cached<VolumeView>>> {
        let mut found = Vec::new();
        world.volumes.for_each(|volume| {
            if volume.meets(&self.claim.key, &self.claim.uid, &self.claim) {
                found.push(volume.clone());
            }
        });
        found.retain(|volume| world.is_unpromised(&volume.key.name, &self.claim.key));
        found.sort_by_cached_key(|volume| (!self.is_given(volume), volume.capacity, volume.key.name.clone()));
        found
    }

    /// Whether it is the claim's, by what it says or by promise.
    fn is_given(&self, volume: &Cached<VolumeView>) -> bool {
        volume.is_claimed() || self.promised.as_ref() == Some(&volume.key.name)
    }

    /// How it is met on `node`, where other claims of the pod have `taken` those volumes; why it can't be.
    fn met_on(&self, node: &NodeView, taken: &BTreeSet<Arc<str>>) -> Result<Met, Reason> {
        let (claim, uid) = (self.claim.key.clone(), self.claim.uid.clone());
        if let Some(selected) = &self.selected {
            if *selected != node.node.name {
                return Err(Reason::VolumeBinding);
            }
            self.can_be_made(node)?;
            return Ok(Met::Made { claim, uid });
        }
        let Some(best) = self.best(node, taken) else {
            self.can_be_made(node)?;
            return Ok(Met::Made { claim, uid });
        };
        if !best.is_reachable_from(node) {
            return Err(Reason::VolumeBinding);
        }
        let volume = best.key.name.clone();
        Ok(Met::By { claim, uid, volume })
    }

    /// The volume that is given to it, wherever that is, or else the smallest that will do.
    fn best(&self, node: &NodeView, taken: &BTreeSet<Arc<str>>) -> Option<&Cached<VolumeView>> {
        let mut candidates = self.candidates.iter().map(|volume| &**volume);
        candidates.find(|volume| {
            !taken.contains(&volume.key.name) && (self.is_given(volume) || volume.is_reachable_from(node))
        })
    }

    /// Why nobody makes a volume for it there.
    fn can_be_made(&self, node: &NodeView) -> Result<(), Reason> {
        let label = |key: &str| node.node.labels.get(key);
        let allows = |term: &core::TopologySelectorTerm| {
            let mut expressions = term.match_label_expressions.iter().flatten();
            expressions.all(|wanted| {
                label(&wanted.key).is_some_and(|value| wanted.values.iter().any(|allowed| allowed == value))
            })
        };
        let topologies = &self.class.topologies;
        let is_allowed = topologies.is_empty() || topologies.iter().any(allows);
        if self.class.provisioner == NO_PROVISIONER || !is_allowed {
            return Err(Reason::VolumeBinding);
        }
        let room = self.room.as_ref();
        let has_room = room.is_none_or(|room| room.is_reachable_from(node));
        has_room.then_some(()).ok_or(Reason::VolumeRoom)
    }
}

#[cfg(test)]
mod tests;
