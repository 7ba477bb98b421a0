//! What happens when the node runs short (contract, node agent §18.2): conditions, then what costs nobody anything, then
//! one pod at a time. [`signals`] says what is short, [`candidates`] what pods use of it, [`rank`] whom it takes; here things
//! are measured and done.
pub mod candidates;
pub mod rank;
pub mod signals;

use super::images::Images;
use crate::beat;
use crate::config::KubeletConfiguration;
use crate::metrics::{self, Metrics};
use crate::node::state::State;
use crate::node::{memory_capacity, share_of_pods};
use crate::pods::Orders;
use crate::stats::disk::{self, Disk, PodDisk};
use crate::stats::{Meter, machine};
use candidates::{Weighs, local_use, of, on_disk};
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::{name, namespace, uid};
use orlop_client::events::{EventType, Recorder, node_reference, reference};
use rank::{Candidate, Told};
use signals::{Memory, Observed, Pressure, Rule, Signal};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at a machine that tells nobody what it runs short of.
const PERIOD: Duration = Duration::from_secs(10);
/// How long a pass waits for a pod to be gone before it looks again.
const CLEAN_UP_MAX: Duration = Duration::from_secs(30);
/// Grace where a hard threshold is crossed, seconds.
const HARD_GRACE: i64 = 1;

/// Watches over what the node has left.
pub struct Eviction {
    pub meter: Arc<Meter>,
    pub orders: Orders,
    pub state: State,
    pub recorder: Recorder,
    pub metrics: Metrics,
    pub images: Images,
    pub configuration: KubeletConfiguration,
}

/// What its loop remembers.
struct Watch {
    rules: Vec<Rule>,
    memory: Memory,
    began: Instant,
    /// Where images are; asked once.
    image_fs: Option<PathBuf>,
}

impl Eviction {
    /// Looks for ever.
    pub async fn run(mut self) {
        let mut watch = Watch {
            rules: signals::rules(&self.configuration),
            memory: Memory::default(),
            began: Instant::now(),
            image_fs: None,
        };
        loop {
            self.pass(&mut watch).await;
            beat::next(PERIOD).await;
        }
    }

    async fn pass(&mut self, watch: &mut Watch) {
        if watch.image_fs.is_none() {
            watch.image_fs = self.image_path().await;
        }
        let (seen, due) = self.look(watch);
        let have_images_own_disk = self.have_images_own_disk(watch.image_fs.as_deref());
        if self.evict_over_limits(have_images_own_disk).await {
            return;
        }
        let Some(rule) = due.first().map(|index| watch.rules[*index].clone()) else {
            return;
        };
        let resource = rule.signal.resource();
        let weighs = Weighs::on(rule.signal, have_images_own_disk);
        let message = format!("Attempting to reclaim {resource}");
        tracing::warn!(signal = rule.signal.name(), "the node is short of {resource}");
        self.recorder.event(
            &node_reference(&self.meter.node_name),
            EventType::Warning,
            "EvictionThresholdMet",
            message,
        );
        if rule.signal.pressure() == Pressure::Disk {
            // The dead first: nobody misses them, and they keep images in use.
            let _ = tokio::time::timeout(CLEAN_UP_MAX, self.orders.collect()).await;
            let (_, due) = self.look(watch);
            if !due.iter().any(|index| watch.rules[*index].signal == rule.signal) {
                tracing::info!("dead containers removed for want of room");
                return;
            }
            if weighs.layers {
                // Everything that nobody uses or is about to; that it is little is no failure.
                let freed = self.images.round(Some(u64::MAX)).await;
                tracing::info!(?freed, "unused images removed for want of room");
                let (_, due) = self.look(watch);
                if !due.iter().any(|index| watch.rules[*index].signal == rule.signal) {
                    return;
                }
            }
        }
        let Some(seen) = seen.get(&rule.signal) else {
            return;
        };
        let candidates = self.candidates(rule.signal, weighs).await;
        let Some(victim) = rank::victim(rule.signal, &candidates) else {
            tracing::warn!(
                signal = rule.signal.name(),
                "no pod may be evicted: all are critical"
            );
            return;
        };
        let told = rank::told(&rule, *seen, victim);
        let grace = match rule.grace {
            None => HARD_GRACE,
            Some(_) => {
                let most = self.configuration.eviction_max_pod_grace_period.into();
                let own = victim
                    .pod
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.termination_grace_period_seconds);
                own.unwrap_or(30).min(most)
            }
        };
        let pod = victim.pod.clone();
        self.evict(&pod, rule.signal.name(), grace, told).await;
    }

    /// Measures, tells of conditions, and says which rules ask for action.
    fn look(&self, watch: &mut Watch) -> (BTreeMap<Signal, Observed>, Vec<usize>) {
        let seen = self.measure(watch.image_fs.as_deref());
        let found = signals::look(
            &watch.rules,
            &seen,
            &mut watch.memory,
            watch.began.elapsed(),
            self.configuration.eviction_pressure_transition_period.0,
        );
        self.state.change(|current| current.pressures = found.pressures);
        (seen, found.due)
    }

    fn measure(&self, images: Option<&Path>) -> BTreeMap<Signal, Observed> {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let mut seen = BTreeMap::new();
        let cgroups = &self.meter.cgroups;
        let used = machine::used(cgroups);
        if let Some(memory) = used.memory {
            let capacity = memory_capacity();
            let available = capacity - number(memory.working_set);
            seen.insert(Signal::Memory, Observed { available, capacity });
        }
        let of_pods = cgroups.used(&cgroups.of_pods()).memory;
        if let (Some(memory), Some(capacity)) = (of_pods, share_of_pods(&self.configuration).memory) {
            let available = capacity - number(memory.working_set);
            seen.insert(Signal::AllocatableMemory, Observed { available, capacity });
        }
        let places = [
            (
                Some(self.meter.root.as_path()),
                Signal::NodeFs,
                Signal::NodeFsInodes,
            ),
            (images, Signal::ImageFs, Signal::ImageFsInodes),
        ];
        for (path, bytes, inodes) in places {
            let Some(found) = path.and_then(disk::file_system) else {
                continue;
            };
            let (available, capacity) = (number(found.available), number(found.usable()));
            seen.insert(bytes, Observed { available, capacity });
            // Some file systems have no inodes of their own.
            if found.inodes > 0 {
                let (available, capacity) = (number(found.inodes_free), number(found.inodes));
                seen.insert(inodes, Observed { available, capacity });
            }
        }
        if let (Some(capacity), Some(processes)) = (machine::processes_max(), used.processes) {
            let capacity = number(capacity);
            let available = capacity - number(processes);
            seen.insert(Signal::Pids, Observed { available, capacity });
        }
        seen
    }

    fn have_images_own_disk(&self, images: Option<&Path>) -> bool {
        let images = images.and_then(Disk::of);
        images.is_some() && images != Disk::of(&self.meter.root)
    }

    async fn image_path(&self) -> Option<PathBuf> {
        let info = self.meter.runtime.image_fs_info().await.ok()?;
        let used = info.image_filesystems.into_iter().next()?;
        Some(PathBuf::from(used.fs_id?.mountpoint))
    }

    async fn candidates(&self, signal: Signal, weighs: Weighs) -> Vec<Candidate> {
        let stats = match self.meter.usage().await {
            Ok(stats) => stats,
            Err(error) => {
                tracing::warn!(%error, "cannot measure what pods use");
                return Vec::new();
            }
        };
        match signal.resource() {
            "memory" => of(&stats, |measured| {
                measured.used.memory.map_or(0, |memory| memory.working_set)
            }),
            "pids" => of(&stats, |measured| measured.used.processes.unwrap_or(0)),
            _ => {
                let pods = stats.pods.iter().map(|stats| stats.pod.clone()).collect();
                let disks = self.walk(pods).await;
                // Only the runtime knows what containers wrote; without its word, the rest still ranks.
                let layers = self.meter.layers().await.unwrap_or_default();
                on_disk(&stats, (&disks, &layers), weighs, signal.is_count())
            }
        }
    }

    async fn walk(&self, pods: Vec<Arc<Pod>>) -> HashMap<String, PodDisk> {
        let (root, logs) = (self.meter.root.clone(), self.meter.pod_logs.clone());
        let walk = move || {
            let disk = |pod: Arc<Pod>| {
                let disk = disk::of_pod(&root, &logs, &pod);
                (uid(&pod).to_owned(), disk)
            };
            pods.into_iter().map(disk).collect()
        };
        // A walk that panicked has said so.
        tokio::task::spawn_blocking(walk).await.unwrap_or_default()
    }

    /// Pods that wrote more than their own limits allow; whether there was one. Only those that have limits are looked at.
    async fn evict_over_limits(&self, have_images_own_disk: bool) -> bool {
        let records = self.meter.pods.list();
        let runs = |pod: &Pod| orlop_api::pod::phase(pod) == "Running";
        let limited: Vec<Arc<Pod>> = records
            .iter()
            .map(|record| record.pod.clone())
            .filter(|pod| runs(pod) && rank::is_limited(pod))
            .collect();
        if limited.is_empty() || !self.configuration.local_storage_capacity_isolation {
            return false;
        }
        let disks = self.walk(limited.clone()).await;
        // What lies beside the images is limited only where that is the disk of all.
        let layers = match have_images_own_disk {
            true => HashMap::new(),
            false => self.meter.layers().await.unwrap_or_default(),
        };
        let mut any = false;
        for pod in limited {
            let Some(disk) = disks.get(uid(&pod)) else {
                continue;
            };
            if let Some(verdict) = rank::over_its_limits(&pod, &local_use(&pod, disk, &layers)) {
                let annotations = BTreeMap::new();
                let told = Told { verdict, annotations };
                self.evict(&pod, "ephemeralstorage.limit", HARD_GRACE, told).await;
                any = true;
            }
        }
        any
    }

    async fn evict(&self, pod: &Pod, signal: &str, grace: i64, told: Told) {
        let Told { verdict, annotations } = told;
        tracing::warn!(
            pod = name(pod),
            namespace = namespace(pod),
            uid = uid(pod),
            message = verdict.message,
            "evicting pod"
        );
        let message = verdict.message.clone();
        let of = reference(pod);
        self.recorder
            .event_with(&of, EventType::Warning, "Evicted", message, annotations);
        let eviction_signal = signal.to_owned();
        let counted = metrics::Eviction { eviction_signal };
        self.metrics.evictions.get_or_create(&counted).inc();
        let ended = self.orders.stop(uid(pod), grace, verdict);
        // A pod that takes longer goes on being stopped; the next look counts what is free then.
        let _ = tokio::time::timeout(CLEAN_UP_MAX, ended).await;
    }
}
