//! How many volumes CSI's drivers can attach to a node. Pure over what the [`World`] shows.
//!
//! Volumes are counted when somebody asks, from the claims of the pods that are there: only pods that bring volumes ask, of
//! nodes where their drivers have a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orlop_api::placement::Reason;
use orlop_client::informer::ObjectKey;

use crate::known::cluster::{Candidate, Holder, Nominee};
use crate::known::csi::Attachment;
use crate::known::view::Pending;
use crate::known::world::World;

/// The volumes that a pod brings to its node.
#[derive(Debug, Clone)]
pub struct Brought<'a> {
    world: &'a World,
    volumes: BTreeSet<Attachment>,
}

/// What is attached to one node by the drivers of the volumes that a pod brings.
#[derive(Debug, Clone)]
pub struct Load<'a> {
    brought: &'a Brought<'a>,
    limits: Vec<(Arc<str>, usize)>,
    /// By how many uses.
    attached: BTreeMap<Attachment, i64>,
    /// Of those for whom room is made there.
    awaited: BTreeSet<Attachment>,
}

impl<'a> Brought<'a> {
    /// `None` if the pod brings none that may be too many.
    pub fn of(key: &ObjectKey, pod: &Pending, world: &'a World) -> Option<Self> {
        if pod.claims.is_empty() || world.csi_nodes.is_empty() {
            return None;
        }
        let volumes: BTreeSet<Attachment> = attachments(world, &key.namespace, &pod.claims).collect();
        (!volumes.is_empty()).then_some(Self { world, volumes })
    }

    /// Counts what is attached to the candidate, and what others bring for whom room is made there; `None` if there is no
    /// limit.
    pub fn on<'c>(
        &'a self,
        candidate: &Candidate<'_>,
        awaited: impl Iterator<Item = (&'c ObjectKey, &'c Nominee)>,
    ) -> Option<Load<'a>> {
        let name = ObjectKey::new("", candidate.name.clone());
        let node = self.world.csi_nodes.get(&name)?;
        let is_brought = |driver: &str| self.volumes.iter().any(|volume| *volume.driver == *driver);
        let limits = node.limits.iter().filter(|(driver, _)| is_brought(driver));
        let mut load = Load {
            brought: self,
            limits: limits.cloned().collect(),
            attached: BTreeMap::new(),
            awaited: BTreeSet::new(),
        };
        if load.limits.is_empty() {
            return None;
        }
        for (key, holder) in candidate.holders {
            load.count(key, holder, 1);
        }
        for (key, nominee) in awaited {
            load.awaited
                .extend(attachments(self.world, &key.namespace, &nominee.claims));
        }
        Some(load)
    }
}

impl Load<'_> {
    /// Counts a pod so many times: -1 takes it away.
    pub fn count(&mut self, key: &ObjectKey, holder: &Holder, times: i64) {
        for volume in attachments(self.brought.world, &key.namespace, &holder.claims) {
            if self.limits.iter().any(|(driver, _)| *driver == volume.driver) {
                *self.attached.entry(volume).or_default() += times;
            }
        }
    }

    /// Why the volumes can't be attached besides what is, if they can't.
    pub fn refuses(&self) -> Option<Reason> {
        let is_there = |volume: &Attachment| self.attached.get(volume).is_some_and(|uses| *uses > 0);
        let exceeds = |(driver, most): &(Arc<str>, usize)| {
            let is_its = |volume: &&Attachment| volume.driver == *driver;
            let there = self.attached.keys().filter(is_its);
            let brought = self.brought.volumes.iter().filter(is_its);
            let new = brought.filter(|volume| !is_there(volume)).count();
            let awaited = self.awaited.iter().filter(is_its);
            let kept = awaited.filter(|volume| !is_there(volume) && !self.brought.volumes.contains(*volume));
            new > 0 && there.filter(|volume| is_there(volume)).count() + kept.count() + new > *most
        };
        self.limits.iter().any(exceeds).then_some(Reason::VolumeLimit)
    }
}

/// The volumes of claims, those that are yet to be made included, as far as drivers of CSI attach them.
fn attachments<'w>(
    world: &'w World,
    namespace: &'w Arc<str>,
    claims: &'w [Arc<str>],
) -> impl Iterator<Item = Attachment> + 'w {
    claims.iter().filter_map(move |name| {
        let claim = world.claims.get(&ObjectKey {
            namespace: namespace.clone(),
            name: name.clone(),
        })?;
        let volume = claim.volume.clone();
        let volume = volume.and_then(|volume| world.volumes.get(&ObjectKey::new("", volume)));
        if let Some(volume) = volume {
            return volume.attachment.clone();
        }
        let class = world.classes.get(&ObjectKey::new("", claim.class.clone()?))?;
        Some(Attachment::to_be_made(&class.provisioner, &claim.key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::preempt::{Outcome, preempt};
    use crate::known::cluster::Cluster;
    use crate::profile::rules::Rules;
    use crate::testing::{cluster, hold_pod, pending_pod, world};
    use serde_json::{Value, json};

    /// Claims `1` to `4` have volumes of a driver that attaches two to node a, `made` is to get one; `free` has another
    /// driver's.
    fn given() -> World {
        let world = world();
        let node = json!({"metadata": {"name": "a"}, "spec": {"drivers": [
            {"name": "d", "nodeID": "a", "allocatable": {"count": 2}}, {"name": "free", "nodeID": "a"}]}});
        world.csi_nodes.apply(serde_json::from_value(node).unwrap());
        let class = json!({"metadata": {"name": "c"}, "provisioner": "d", "volumeBindingMode": "WaitForFirstConsumer"});
        world.classes.apply(serde_json::from_value(class).unwrap());
        for (name, driver) in [("1", "d"), ("2", "d"), ("3", "d"), ("4", "d"), ("free", "free")] {
            let volume = json!({"metadata": {"name": name}, "spec": {"csi": {"driver": driver, "volumeHandle": name}}});
            world.volumes.apply(serde_json::from_value(volume).unwrap());
        }
        for name in ["1", "2", "3", "4", "free", "made"] {
            let mut claim = json!({"metadata": {"name": name, "namespace": "default", "uid": name},
                "spec": {"storageClassName": "c", "accessModes": ["ReadWriteOnce"]}});
            if name != "made" {
                claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
                claim["spec"]["volumeName"] = json!(name);
            }
            world.claims.apply(serde_json::from_value(claim).unwrap());
        }
        world
    }

    /// The spec of a pod with these claims.
    fn with(claims: &[&str], priority: i32) -> Value {
        let volumes = claims
            .iter()
            .map(|claim| json!({"name": format!("v{claim}"), "persistentVolumeClaim": {"claimName": claim}}));
        json!({"containers": [], "priority": priority, "volumes": volumes.collect::<Vec<Value>>()})
    }

    /// Both nodes have pods with these claims.
    fn filled(there: &[&[&str]]) -> Cluster {
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        for node in ["a", "b"] {
            for (number, claims) in there.iter().enumerate() {
                let name = format!("{node}{number}");
                hold_pod(&mut cluster, "default", &name, node, json!({}), with(claims, 0));
            }
        }
        cluster
    }

    /// The claims of pods that are there, those of one more, and whether they are too many.
    type Case<'a> = (&'a [&'a [&'a str]], &'a [&'a str], bool);

    #[test]
    fn a_node_gets_no_more_volumes_than_its_driver_attaches() {
        let world = given();
        let refused = |there: &[&[&str]], claims: &[&str]| {
            let mut cluster = filled(there);
            let pod = pending_pod("default", "p", json!({}), with(claims, 0));
            let brought = Brought::of(&ObjectKey::new("default", "p"), &pod, &world);
            ["a", "b"].map(|node| {
                let candidate = cluster.candidate(node).unwrap();
                let nobody = std::iter::empty();
                let load = brought
                    .as_ref()
                    .and_then(|brought| brought.on(&candidate, nobody));
                load.is_some_and(|load| load.refuses() == Some(Reason::VolumeLimit))
            })
        };
        let cases: [Case<'_>; 9] = [
            (&[], &["1", "2"], false),
            (&[], &["1", "2", "3"], true),
            (&[&["1"], &["2"]], &["3"], true),
            (&[&["1"], &["2"]], &["1"], false),
            (&[&["1"], &["1"]], &["2"], false),
            (&[&["1", "2"]], &["free"], false),
            (&[&["1", "free"]], &["2"], false),
            (&[&["1", "2"]], &["made"], true),
            (&[&["1", "made"]], &["2"], true),
        ];
        for (there, claims, want) in cases {
            assert_eq!(refused(there, claims), [want, false], "{there:?} {claims:?}");
        }
        let pod = pending_pod("default", "p", json!({}), with(&[], 0));
        assert!(Brought::of(&ObjectKey::new("default", "p"), &pod, &world).is_none());
    }

    #[test]
    fn room_for_volumes_that_is_made_for_another_pod_is_left_to_it_by_lesser_ones() {
        let world = given();
        let refused = |claims: &[&str], priority: i32| {
            let mut cluster = filled(&[&["1"]]);
            let first = pending_pod("default", "first", json!({}), with(&["2"], 5));
            let room = Some(("a".into(), first.nominee()));
            cluster.nominate(&ObjectKey::new("default", "first"), room);
            let key = ObjectKey::new("default", "p");
            let pod = pending_pod("default", "p", json!({}), with(claims, priority));
            let brought = Brought::of(&key, &pod, &world).unwrap();
            let candidate = cluster.candidate("a").unwrap();
            let load = brought.on(&candidate, candidate.awaited(&key, priority));
            load.unwrap().refuses().is_some()
        };
        assert!(refused(&["3"], 1) && refused(&["3"], 5));
        assert!(!refused(&["3"], 9), "it matters more");
        assert!(!refused(&["2"], 1), "they use the same one");
        assert!(!refused(&["1"], 1), "it is there");
    }

    #[test]
    fn a_pod_that_goes_leaves_room_for_volumes_that_nobody_else_uses() {
        let world = given();
        let victims = |there: &[&[&str]]| {
            let mut cluster = cluster(json!({"a": {}}));
            for (number, claims) in there.iter().enumerate() {
                let name = number.to_string();
                hold_pod(&mut cluster, "default", &name, "a", json!({}), with(claims, 0));
            }
            let pod = pending_pod("default", "p", json!({}), with(&["3"], 5));
            let key = ObjectKey::new("default", "p");
            match preempt(&key, &pod, &mut cluster, &world, &Rules::default()) {
                Outcome::Evict(way) => way.victims.len(),
                _ => 0,
            }
        };
        assert_eq!(victims(&[&["1"], &["2"]]), 1);
        assert_eq!(victims(&[&["1", "2"], &["1", "2"]]), 2, "both use them");
        assert_eq!(victims(&[&["1"], &["1"]]), 0, "there is room");
    }
}
