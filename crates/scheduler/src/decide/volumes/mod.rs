//! Volumes: on which nodes a pod's claims can be met, and by which volumes. Pure over what the [`World`] shows.
//!
//! A claim that is bound confines its pod to where its volume can be reached. One of a class that waits for its first
//! consumer is met by a volume of the chosen node, or by one that a provisioner makes for that node.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use orlop_api::placement::Reason;
use orlop_client::informer::{Cached, ObjectKey};

use crate::known::view::{NodeView, Pending};
use crate::known::volumes::{ClaimView, ClassView, VolumeView};
use crate::known::world::World;

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
pub struct Volumes<'a> {
    world: &'a World,
    bound: Vec<Arc<Cached<VolumeView>>>,
    /// A bound claim's volume isn't there.
    lost: bool,
    /// Claims that wait for their first consumer, the most modest first.
    waiting: Vec<Arc<Cached<ClaimView>>>,
}

impl<'a> Volumes<'a> {
    /// Finds the pod's claims; the reason if no node could do. `None` if it has no claim.
    pub fn of(key: &ObjectKey, pod: &Pending, world: &'a World) -> Result<Option<Self>, String> {
        if pod.claims.is_empty() {
            return Ok(None);
        }
        let mut volumes = Self {
            world,
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
                return Err(format!("persistentvolumeclaim \"{name}\" not found"));
            };
            if claim.terminating {
                return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            }
            match &claim.volume {
                Some(volume) => match world.volumes.get(&ObjectKey::new("", volume.clone())) {
                    Some(volume) => volumes.bound.push(volume),
                    None => volumes.lost = true,
                },
                None if claim.named || !volumes.waits(&claim) => immediate = true,
                None => volumes.waiting.push(claim),
            }
        }
        if immediate {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        volumes
            .waiting
            .sort_by(|a, b| a.request.cmp(&b.request).then_with(|| a.key.cmp(&b.key)));
        Ok(Some(volumes))
    }

    fn class_of(&self, claim: &ClaimView) -> Option<Arc<Cached<ClassView>>> {
        let class = claim.class.clone()?;
        self.world.classes.get(&ObjectKey::new("", class))
    }

    fn waits(&self, claim: &ClaimView) -> bool {
        self.class_of(claim).is_some_and(|class| class.waits)
    }

    /// Why the pod can't have its volumes on `node`, if it can't.
    pub fn refuses(&self, node: &NodeView) -> Option<Reason> {
        if self.lost {
            return Some(Reason::VolumeLost);
        }
        if !self.bound.iter().all(|volume| volume.is_reachable_from(node)) {
            return Some(Reason::VolumeNodeAffinity);
        }
        if self.choose(node).is_none() {
            return Some(Reason::VolumeBinding);
        }
        let mut bound = self.bound.iter();
        (!bound.all(|volume| volume.is_in_zone_of(node))).then_some(Reason::VolumeZone)
    }

    /// How the waiting claims are met on `node`; `None` if they can't be.
    pub fn choose(&self, node: &NodeView) -> Option<Vec<Met>> {
        let mut taken: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut chosen = Vec::with_capacity(self.waiting.len());
        for claim in &self.waiting {
            let (key, uid) = (claim.key.clone(), claim.uid.clone());
            // Others who use the claim have decided already what it is met by.
            if let Some(selected) = self.world.selected(claim) {
                if selected != node.node.name || !self.can_be_made(claim, node) {
                    return None;
                }
                chosen.push(Met::Made { claim: key, uid });
                continue;
            }
            let promised = self.world.promised_to(&key);
            let is_given = |volume: &Cached<VolumeView>| {
                volume.is_claimed() || promised.as_ref() == Some(&volume.key.name)
            };
            let rank =
                |volume: &Cached<VolumeView>| (!is_given(volume), volume.capacity, volume.key.name.clone());
            let mut best: Option<Arc<Cached<VolumeView>>> = None;
            self.world.volumes.for_each(|volume| {
                if volume.meets(&key, &uid, claim)
                    && (is_given(volume) || volume.is_reachable_from(node))
                    && !taken.contains(&volume.key.name)
                    && self.world.is_unpromised(&volume.key.name, &key)
                    && best.as_ref().is_none_or(|best| rank(volume) < rank(best))
                {
                    best = Some(volume.clone());
                }
            });
            chosen.push(match best {
                Some(volume) if !volume.is_reachable_from(node) => return None,
                Some(volume) => {
                    let volume = volume.key.name.clone();
                    taken.insert(volume.clone());
                    Met::By {
                        claim: key,
                        uid,
                        volume,
                    }
                }
                None if self.can_be_made(claim, node) => Met::Made { claim: key, uid },
                None => return None,
            });
        }
        Some(chosen)
    }

    fn can_be_made(&self, claim: &ClaimView, node: &NodeView) -> bool {
        let Some(class) = self.class_of(claim) else {
            return false;
        };
        let label = |key: &str| node.node.labels.get(key);
        let allows = |term: &core::TopologySelectorTerm| {
            let mut expressions = term.match_label_expressions.iter().flatten();
            expressions.all(|wanted| {
                label(&wanted.key).is_some_and(|value| wanted.values.iter().any(|allowed| allowed == value))
            })
        };
        class.provisioner != NO_PROVISIONER
            && (class.topologies.is_empty() || class.topologies.iter().any(allows))
    }
}

#[cfg(test)]
mod tests;
