//! What the node, its pods and their containers use. Everything is read when somebody asks and not otherwise: from
//! cgroup files where the runtime's cgroups are found, from CRI where they are not (a runtime of virtual machines), and
//! for what only CRI knows.
//!
//! | file | job |
//! |---|---|
//! | [`machine`] | the node's own numbers |
//! | [`disk`] | file systems and directory trees |
//! | [`open`] | what processes hold open |
//! | [`rates`] | use per second, between two asks |
//! | [`answers`] | what else those who ask are told, and when nothing more is waited for |
//! | [`summary`] | the answer of `/stats/summary` |
mod answers;
pub mod disk;
pub mod machine;
pub mod open;
mod rates;
pub mod summary;

use crate::cgroups::Cgroups;
use crate::cgroups::usage::{CpuUsed, MemoryUsed, Used};
use crate::pods::{PodRecord, PodsHandle};
use crate::runtime::seen::labels::POD_UID;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use orlop_cri::{CriError, RuntimeService, v1};
use parking_lot::Mutex;
use rates::Rates;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A measurement and when it was taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    pub at: Timestamp,
    pub used: Used,
    /// Since the last ask; `None` the first time.
    pub nanocores: Option<u64>,
}

/// A running container.
#[derive(Clone, Debug)]
pub struct ContainerStats {
    pub name: String,
    pub id: String,
    pub image: String,
    /// Where the kernel counts it, if that was found.
    pub cgroup: Option<String>,
    pub started: Option<Timestamp>,
    pub measured: Measured,
}

/// A pod with something running.
#[derive(Clone, Debug)]
pub struct PodStats {
    pub pod: Arc<Pod>,
    pub uid: String,
    pub cgroup: String,
    pub measured: Measured,
    pub containers: Vec<ContainerStats>,
}

/// The node.
#[derive(Clone, Debug)]
pub struct NodeStats {
    pub measured: Measured,
    /// All pods together.
    pub all_pods: Measured,
    /// This very process.
    pub own: Measured,
    /// The runtime's, if it is known.
    pub runtime: Option<Measured>,
    /// The system's own programs, if the configuration says where they are.
    pub misc: Option<Measured>,
    pub pods: Vec<PodStats>,
}

/// What a container has written beside its volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    pub bytes: u64,
    pub inodes: u64,
}

impl Layer {
    /// As a tree of files.
    pub fn tree(&self) -> disk::Tree {
        disk::Tree {
            bytes: self.bytes,
            inodes: self.inodes,
        }
    }
}

/// What went over a network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub received_bytes: u64,
    pub received_errors: u64,
    pub sent_bytes: u64,
    pub sent_errors: u64,
    /// `None`: not told by the runtime, and no process of the pod was there to ask.
    pub packets: Option<Packets>,
}

/// What went over it, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    pub received: u64,
    pub received_dropped: u64,
    pub sent: u64,
    pub sent_dropped: u64,
}

/// Reads all of it.
pub struct Meter {
    pub node_name: String,
    pub runtime: Arc<dyn RuntimeService>,
    pub pods: PodsHandle,
    pub cgroups: Arc<Cgroups>,
    /// `/var/lib/kubelet`.
    pub root: PathBuf,
    /// `/var/log/pods`.
    pub pod_logs: PathBuf,
    /// Where the runtime listens.
    runtime_socket: Option<PathBuf>,
    /// The cgroup of the system's own programs.
    system_cgroup: Option<String>,
    /// When this agent began.
    began: Timestamp,
    rates: Mutex<Rates>,
    /// Held by who looks at the file systems of claims.
    claims_turn: Arc<tokio::sync::Mutex<()>>,
}

impl Meter {
    pub fn new(
        node_name: String,
        runtime: Arc<dyn RuntimeService>,
        pods: PodsHandle,
        cgroups: Arc<Cgroups>,
        (root, pod_logs): (PathBuf, PathBuf),
    ) -> Self {
        Self {
            node_name,
            runtime,
            pods,
            cgroups,
            root,
            pod_logs,
            runtime_socket: None,
            system_cgroup: None,
            began: Timestamp::now(),
            rates: Mutex::default(),
            claims_turn: Arc::default(),
        }
    }

    /// Measures the process that listens at `socket` too.
    pub fn with_runtime_at(mut self, socket: Option<PathBuf>) -> Self {
        self.runtime_socket = socket;
        self
    }

    /// Measures this cgroup as that of the system's own programs (`systemCgroups`; empty: none).
    pub fn with_system_at(mut self, cgroup: &str) -> Self {
        let cgroup = cgroup.trim_matches('/');
        self.system_cgroup = (!cgroup.is_empty()).then(|| format!("/{cgroup}"));
        self
    }

    /// Who listens at the runtime's socket, asked each time: a runtime may be started anew.
    async fn runtime_process(&self) -> Option<u32> {
        let stream = tokio::net::UnixStream::connect(self.runtime_socket.as_ref()?).await;
        let process = stream.ok()?.peer_cred().ok()?.pid()?;
        u32::try_from(process).ok()
    }

    /// Processor and memory of everything but the runtime itself, which few ask about. Of containers whose cgroups are not
    /// found, what the runtime says.
    pub async fn usage(&self) -> Result<NodeStats, CriError> {
        self.measure(None).await
    }

    /// The same, with the runtime's own.
    async fn usage_with_runtime(&self) -> Result<NodeStats, CriError> {
        self.measure(self.runtime_process().await).await
    }

    async fn measure(&self, runtime: Option<u32>) -> Result<NodeStats, CriError> {
        let records = self.pods.list();
        let mut pods: Vec<PodStats> = records.iter().filter_map(|record| self.pod(record)).collect();
        let unknown = |container: &ContainerStats| container.measured.used == Used::default();
        if pods.iter().flat_map(|pod| &pod.containers).any(unknown) {
            let told = self.runtime.list_container_stats(None).await?;
            let told: HashMap<&str, &v1::ContainerStats> = told
                .iter()
                .filter_map(|stats| Some((stats.attributes.as_ref()?.id.as_str(), stats)))
                .collect();
            for container in pods.iter_mut().flat_map(|pod| &mut pod.containers) {
                if unknown(container)
                    && let Some(stats) = told.get(container.id.as_str())
                {
                    container.measured = of_runtime(stats);
                }
            }
        }
        for pod in &mut pods {
            if pod.measured.used == Used::default() {
                pod.measured = sum(&pod.containers);
            }
        }
        let unified = self.cgroups.is_unified();
        let mut node = NodeStats {
            measured: now(machine::used(&self.cgroups)),
            all_pods: now(self.cgroups.used(&self.cgroups.of_pods())),
            own: now(machine::process(std::process::id(), unified)),
            runtime: runtime.map(|process| now(machine::process(process, unified))),
            misc: self.misc(),
            pods,
        };
        self.rates.lock().note(&mut node);
        Ok(node)
    }

    fn misc(&self) -> Option<Measured> {
        let used = self.cgroups.used(self.system_cgroup.as_ref()?);
        (used != Used::default()).then(|| now(used))
    }

    fn pod(&self, record: &PodRecord) -> Option<PodStats> {
        let containers: Vec<ContainerStats> = running(&record.pod)
            .map(|(status, id, started)| {
                let cgroup = self.cgroups.of_container(&record.pod, id);
                let used = cgroup.as_ref().map(|path| self.cgroups.used(path));
                ContainerStats {
                    name: status.name.clone(),
                    id: id.to_owned(),
                    image: status.image.clone(),
                    cgroup,
                    started,
                    measured: now(used.unwrap_or_default()),
                }
            })
            .collect();
        if containers.is_empty() {
            return None;
        }
        let cgroup = self.cgroups.parent_of(&record.pod);
        Some(PodStats {
            pod: record.pod.clone(),
            uid: record.uid.clone(),
            measured: now(self.cgroups.used(&cgroup)),
            cgroup,
            containers,
        })
    }

    /// What containers have written into their own file systems, by container id: only the runtime knows.
    pub async fn layers(&self) -> Result<HashMap<String, Layer>, CriError> {
        let told = self.runtime.list_container_stats(None).await?;
        let layer = |stats: v1::ContainerStats| {
            let used = stats.writable_layer?;
            let layer = Layer {
                bytes: used.used_bytes.unwrap_or_default().value,
                inodes: used.inodes_used.unwrap_or_default().value,
            };
            Some((stats.attributes?.id, layer))
        };
        Ok(told.into_iter().filter_map(layer).collect())
    }

    /// What went over pods' networks, by UID; nothing from runtimes that don't count.
    pub async fn networks(&self) -> BTreeMap<String, Vec<Interface>> {
        let told = match self.runtime.list_pod_sandbox_stats(None).await {
            Ok(told) => told,
            Err(error) => {
                if !error.is_unimplemented() {
                    tracing::debug!(%error, "the runtime does not tell what pods sent and received");
                }
                return BTreeMap::new();
            }
        };
        let interface = |usage: v1::NetworkInterfaceUsage| Interface {
            received_bytes: usage.rx_bytes.unwrap_or_default().value,
            received_errors: usage.rx_errors.unwrap_or_default().value,
            sent_bytes: usage.tx_bytes.unwrap_or_default().value,
            sent_errors: usage.tx_errors.unwrap_or_default().value,
            packets: None,
            name: usage.name,
        };
        let network = |stats: v1::PodSandboxStats| {
            let uid = stats.attributes?.labels.remove(POD_UID)?;
            let network = stats.linux?.network?;
            let all = network.default_interface.into_iter().chain(network.interfaces);
            Some((uid, all.map(interface).collect()))
        };
        told.into_iter().filter_map(network).collect()
    }
}

fn now(used: Used) -> Measured {
    Measured {
        at: Timestamp::now(),
        used,
        nanocores: None,
    }
}

/// Statuses of containers that run, with their ids and start times.
pub fn running(pod: &Pod) -> impl Iterator<Item = (&ContainerStatus, &str, Option<Timestamp>)> {
    let status = pod.status.as_ref();
    let lists = status.into_iter().flat_map(|status| {
        [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ]
    });
    lists.flatten().flatten().filter_map(|status| {
        let running = status.state.as_ref()?.running.as_ref()?;
        let (_, id) = status.container_id.as_deref()?.split_once("://")?;
        Some((status, id, running.started_at.as_ref().map(|time| time.0)))
    })
}

fn of_runtime(stats: &v1::ContainerStats) -> Measured {
    let value = |value: &Option<v1::UInt64Value>| value.as_ref().map(|value| value.value);
    let cpu = stats.cpu.as_ref().and_then(|cpu| {
        let total = Duration::from_nanos(value(&cpu.usage_core_nano_seconds)?);
        Some((total, cpu.timestamp))
    });
    let memory = stats.memory.as_ref().and_then(|memory| {
        let working_set = value(&memory.working_set_bytes)?;
        Some(MemoryUsed {
            usage: value(&memory.usage_bytes).unwrap_or(working_set),
            working_set,
            rss: value(&memory.rss_bytes).unwrap_or(0),
            page_faults: value(&memory.page_faults).unwrap_or(0),
            major_page_faults: value(&memory.major_page_faults).unwrap_or(0),
            ..MemoryUsed::default()
        })
    });
    let at = cpu.and_then(|(_, at)| Timestamp::from_nanosecond(at.into()).ok());
    Measured {
        at: at.unwrap_or_else(Timestamp::now),
        used: Used {
            cpu: cpu.map(|(total, _)| CpuUsed {
                total,
                ..CpuUsed::default()
            }),
            memory,
            ..Used::default()
        },
        nanocores: None,
    }
}

/// Of a pod whose cgroup does not count, what its containers use together.
fn sum(containers: &[ContainerStats]) -> Measured {
    let mut all = now(Used::default());
    for measured in containers.iter().map(|container| &container.measured) {
        all.at = measured.at;
        if let Some(cpu) = measured.used.cpu {
            all.used.cpu.get_or_insert_default().total += cpu.total;
        }
        if let Some(memory) = measured.used.memory {
            let all = all.used.memory.get_or_insert_default();
            all.usage += memory.usage;
            all.working_set += memory.working_set;
            all.rss += memory.rss;
        }
    }
    all
}

#[cfg(test)]
mod tests;
