//! What those who ask are told: use, and what else they want beside it.
use super::summary::{self, More};
use super::{Meter, NodeStats, disk, machine, open};
use crate::volumes::claim::Claim;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::{uid, volumes};
use orlop_cri::CriError;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer waits for the file systems of claims.
const CLAIMS_PATIENCE: Duration = Duration::from_secs(1);

impl Meter {
    /// All of `/stats/summary`, or only processor and memory.
    pub async fn summary(self: &Arc<Self>, only_cpu_and_memory: bool) -> Result<Value, CriError> {
        let stats = self.usage_with_runtime().await?;
        let more = if only_cpu_and_memory {
            None
        } else {
            Some(self.more(&stats).await?)
        };
        let since = (machine::booted(), self.began);
        Ok(summary::summary(&self.node_name, since, &stats, more.as_ref()))
    }

    /// What `/metrics/cadvisor` shows: everything but directories, which nobody there asks for.
    pub async fn everything(&self) -> Result<(NodeStats, More), CriError> {
        let (stats, layers, networks) =
            tokio::join!(self.usage_with_runtime(), self.layers(), self.networks());
        let (stats, mut networks) = (stats?, networks);
        let containers = stats.pods.iter().flat_map(|pod| &pod.containers);
        let processes: Vec<(String, Vec<u32>)> = containers
            .filter_map(|container| {
                let processes = self.cgroups.processes(container.cgroup.as_deref()?);
                Some((container.id.clone(), processes))
            })
            .collect();
        for pod in &stats.pods {
            let mut ids = pod.containers.iter().map(|container| &container.id);
            let first = |id: &String| Some(*processes.iter().find(|(of, _)| of == id)?.1.first()?);
            let network = networks.get_mut(&pod.uid).zip(ids.find_map(first));
            if let Some((interfaces, process)) = network {
                machine::count_packets(interfaces, process);
            }
        }
        let count = tokio::task::spawn_blocking(move || {
            let counts = processes
                .into_iter()
                .map(|(id, processes)| (id, open::of(&processes)));
            counts.collect()
        });
        let more = More {
            interfaces: machine::interfaces(),
            networks,
            layers: layers?,
            // A count that panicked has said so.
            open: count.await.unwrap_or_default(),
            ..More::default()
        };
        Ok((stats, more))
    }

    async fn more(self: &Arc<Self>, stats: &NodeStats) -> Result<More, CriError> {
        let meter = self.clone();
        let pods: Vec<Arc<Pod>> = stats.pods.iter().map(|stats| stats.pod.clone()).collect();
        let claims = self.claims(pods.clone());
        let walk = tokio::task::spawn_blocking(move || {
            let disk = |pod: Arc<Pod>| {
                let disk = disk::of_pod(&meter.root, &meter.pod_logs, &pod);
                (uid(&pod).to_owned(), disk)
            };
            pods.into_iter().map(disk).collect()
        });
        let (disks, claims, layers, networks, image_fs) =
            tokio::join!(walk, claims, self.layers(), self.networks(), self.image_fs());
        Ok(More {
            interfaces: machine::interfaces(),
            networks,
            node_fs: disk::file_system(&self.root),
            image_fs,
            layers: layers?,
            // A walk that panicked has said so.
            disks: disks.unwrap_or_default(),
            claims,
            processes_max: machine::processes_max(),
            ..More::default()
        })
    }

    /// What the file systems have that claims lead to. One of another machine may hang: then nothing is told of any until it
    /// answers, and only one thread waits for it.
    async fn claims(&self, mut pods: Vec<Arc<Pod>>) -> HashMap<String, BTreeMap<String, disk::Claimed>> {
        pods.retain(|pod| has_claims(pod));
        if pods.is_empty() {
            return HashMap::new();
        }
        let (root, turn) = (self.root.clone(), self.claims_turn.clone());
        let look = async {
            let turn = turn.lock_owned().await;
            let look = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let claims = pods.into_iter().map(|pod| {
                    let of_pod = disk::of_claims(&root, &pod);
                    (uid(&pod).to_owned(), of_pod)
                });
                claims.collect()
            });
            // One that panicked has said so.
            look.await.unwrap_or_default()
        };
        let looked = tokio::time::timeout(CLAIMS_PATIENCE, look).await;
        looked.unwrap_or_default()
    }

    /// The file systems that claims of pods lead to, for `/metrics`.
    pub async fn claims_in_use(&self) -> BTreeMap<disk::ClaimKey, disk::FileSystem> {
        let pods = self.pods.list().iter().map(|record| record.pod.clone()).collect();
        let claimed = self.claims(pods).await.into_values();
        let of_volumes = claimed.flat_map(BTreeMap::into_values);
        of_volumes
            .map(|volume| (volume.claim, volume.file_system))
            .collect()
    }

    /// The file system of images and layers, and what images take.
    pub async fn image_fs(&self) -> Option<(disk::FileSystem, disk::Tree)> {
        let info = self.runtime.image_fs_info().await.ok()?;
        let used = info.image_filesystems.into_iter().next()?;
        let mount_point = used.fs_id?.mountpoint;
        let tree = disk::Tree {
            bytes: used.used_bytes.unwrap_or_default().value,
            inodes: used.inodes_used.unwrap_or_default().value,
        };
        Some((disk::file_system(mount_point.as_ref())?, tree))
    }
}

fn has_claims(pod: &Pod) -> bool {
    let mut volumes = volumes(pod);
    volumes.any(|volume| Claim::of(pod, volume).is_some())
}
