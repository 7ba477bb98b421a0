//! What pods use of what is short. Pure.
use super::rank::{Candidate, LocalUse};
use super::signals::Signal;
use crate::stats::disk::{PodDisk, Tree};
use crate::stats::summary::local;
use crate::stats::{Layer, Measured, NodeStats};
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashMap;

/// What of a pod lies on the disk that is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighs {
    /// The layers of its containers, which lie beside their images.
    pub layers: bool,
    /// Its logs and volumes.
    pub rest: bool,
}

impl Weighs {
    /// Where images have a disk of their own, each signal is about one of two.
    pub fn on(signal: Signal, have_images_own_disk: bool) -> Self {
        Self {
            layers: !have_images_own_disk || signal.is_of_images(),
            rest: !have_images_own_disk || !signal.is_of_images(),
        }
    }
}

/// By what was measured of their cgroups.
pub fn of(stats: &NodeStats, value: fn(&Measured) -> u64) -> Vec<Candidate> {
    let number = |measured: &Measured| i64::try_from(value(measured)).unwrap_or(i64::MAX);
    let candidates = stats.pods.iter().map(|stats| Candidate {
        pod: stats.pod.clone(),
        usage: number(&stats.measured),
        containers: stats
            .containers
            .iter()
            .map(|container| (container.name.clone(), number(&container.measured)))
            .collect(),
    });
    candidates.collect()
}

/// By what they have on the disk that is short, bytes or, to be counted, inodes.
pub fn on_disk(
    stats: &NodeStats,
    (disks, layers): (&HashMap<String, PodDisk>, &HashMap<String, Layer>),
    weighs: Weighs,
    count: bool,
) -> Vec<Candidate> {
    let number = |tree: Tree| {
        let value = if count { tree.inodes } else { tree.bytes };
        i64::try_from(value).unwrap_or(i64::MAX)
    };
    let candidates = stats.pods.iter().filter_map(|stats| {
        let disk = disks.get(&stats.uid)?;
        let layer = |id: &str| layers.get(id).map(|layer| layer.tree()).unwrap_or_default();
        let weighing = stats.containers.iter().filter(|_| weighs.layers);
        let weighing = weighing.map(|container| layer(&container.id));
        let nothing = PodDisk::default();
        let rest = if weighs.rest { disk } else { &nothing };
        Some(Candidate {
            pod: stats.pod.clone(),
            usage: number(local(rest, weighing)),
            containers: stats
                .containers
                .iter()
                .map(|container| {
                    let logs = disk.logs.get(&container.name).copied().unwrap_or_default();
                    let used = number(logs).saturating_add(number(layer(&container.id)));
                    (container.name.clone(), used)
                })
                .collect(),
        })
    });
    candidates.collect()
}

/// What a pod has written, by who has.
pub fn local_use(pod: &Pod, disk: &PodDisk, layers: &HashMap<String, Layer>) -> LocalUse {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let volumes = disk.volumes.iter().filter(|(_, held)| held.is_local);
    let mut used = LocalUse {
        volumes: volumes
            .map(|(name, held)| (name.clone(), number(held.tree.bytes)))
            .collect(),
        containers: disk
            .logs
            .iter()
            .map(|(name, tree)| (name.clone(), number(tree.bytes)))
            .collect(),
    };
    for (status, id, _) in crate::stats::running(pod) {
        let layer = layers.get(id).map_or(0, |layer| number(layer.bytes));
        *used.containers.entry(status.name.clone()).or_default() += layer;
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::disk::Held;
    use crate::stats::{ContainerStats, PodStats};
    use std::sync::Arc;

    fn node(uids: &[&str]) -> NodeStats {
        let container = |uid: &str| ContainerStats {
            name: "c".to_owned(),
            id: format!("of {uid}"),
            image: String::new(),
            cgroup: None,
            started: None,
            measured: Measured::default(),
        };
        let pod = |uid: &&str| PodStats {
            pod: Arc::default(),
            uid: (*uid).to_owned(),
            cgroup: String::new(),
            measured: Measured::default(),
            containers: vec![container(uid)],
        };
        NodeStats {
            measured: Measured::default(),
            all_pods: Measured::default(),
            own: Measured::default(),
            runtime: None,
            misc: None,
            pods: uids.iter().map(pod).collect(),
        }
    }

    #[test]
    fn what_lies_on_another_disk_than_the_short_one_does_not_weigh() {
        let stats = node(&["u"]);
        let held = Held {
            tree: Tree {
                bytes: 100,
                inodes: 1,
            },
            file_system: Default::default(),
            is_local: true,
        };
        let disk = PodDisk {
            volumes: [("v".to_owned(), held)].into(),
            logs: [("c".to_owned(), Tree { bytes: 20, inodes: 2 })].into(),
        };
        let disks = HashMap::from([("u".to_owned(), disk)]);
        let layers = HashMap::from([("of u".to_owned(), Layer { bytes: 3, inodes: 30 })]);
        let usage = |signal: Signal, have_images_own_disk| {
            let weighs = Weighs::on(signal, have_images_own_disk);
            let found = on_disk(&stats, (&disks, &layers), weighs, signal.is_count());
            assert_eq!(found[0].containers["c"], if signal.is_count() { 32 } else { 23 });
            found[0].usage
        };
        for (signal, together, apart) in [
            (Signal::NodeFs, 123, 120),
            (Signal::NodeFsInodes, 33, 3),
            (Signal::ImageFs, 123, 3),
            (Signal::ImageFsInodes, 33, 30),
        ] {
            assert_eq!(
                (usage(signal, false), usage(signal, true)),
                (together, apart),
                "{signal:?}"
            );
        }
    }
}
