//! The pod's cgroup and the resources of its containers: where it lies ([`tree`]), which numbers it gets ([`limits`],
//! [`resources`]), making and removing it on cgroup v1 and v2 ([`fs`]) or having systemd do so ([`slices`]), and what it
//! has used ([`usage`]).
//!
//! Limits must never keep a pod from running: what a machine has no controller for is said once and left out.
mod fs;
mod limits;
pub mod resources;
mod slices;
mod tree;
pub mod usage;

use crate::config::KubeletConfiguration;
use crate::metrics::{Operation, OperationTimes, operation_times};
use crate::node::swap_capacity;
use fs::Hierarchy;
use k8s_openapi::api::core::v1::{Container, Pod};
use limits::{Limits, class_shares, shares};
use orlop_api::pod::{QosClass, qos_class, uid};
use orlop_cri::v1;
use parking_lot::Mutex;
use resources::NodeLimits;
use slices::Slices;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tree::{CLASSES, Driver, class_path, pod_path};

/// Where the kernel shows cgroups.
pub const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// A cgroup that could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove the cgroup {}: {source}; a process of the pod may still run in it", path.display())]
pub struct RemoveError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// A cgroup that is to be limited and does not exist.
#[derive(Debug, thiserror::Error)]
#[error("there is no such cgroup")]
pub struct NoCgroup;

/// Removes what an agent made for its pods below `root` (`cgroupRoot`), when no pod is left; the root itself only if
/// nothing else is in it.
pub fn remove_all(root: &str, mount_point: &Path) -> Result<(), RemoveError> {
    let hierarchy = Hierarchy::at(mount_point);
    let root = root.trim_end_matches('/');
    hierarchy.remove(&class_path(root, Driver::Cgroupfs, QosClass::Guaranteed))?;
    if !root.is_empty() {
        hierarchy.remove_empty(root);
    }
    Ok(())
}

/// What some may use of the machine together; `None`: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Thousandths of a core.
    pub milli_cpu: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Processes.
    pub processes: Option<i64>,
}

impl Share {
    fn limits(self) -> Limits {
        Limits {
            shares: self.milli_cpu.map(shares),
            quota: None,
            memory: self.memory,
            pids: self.processes,
        }
    }
}

/// The node's cgroups.
pub struct Cgroups {
    root: String,
    driver: Driver,
    hierarchy: Hierarchy,
    node: NodeLimits,
    /// What makes the cgroups where systemd does.
    slices: Option<Slices>,
    /// Thousandths of a core that burstable pods asked for, by UID.
    burstable: Mutex<BTreeMap<String, i64>>,
    times: OperationTimes,
}

impl Cgroups {
    /// `driver` as the runtime says or the configuration names it; the kernel's files at `mount_point`.
    pub fn new(configuration: &KubeletConfiguration, driver: &str, mount_point: &Path, memory: i64) -> Self {
        let hierarchy = Hierarchy::at(mount_point);
        let unified = hierarchy.is_unified();
        let node = NodeLimits {
            memory_capacity: memory,
            cpu_quota: configuration.cpu_cfs_quota,
            cpu_period: configuration.cpu_cfs_quota_period.0,
            pids_per_pod: configuration.pod_pids_limit,
            unified,
            single_process_oom_kill: configuration.single_process_oom_kill.unwrap_or(!unified),
            limits_swap: hierarchy.limits_swap(),
            shared_swap: match configuration.memory_swap.swap_behavior.as_str() {
                "LimitedSwap" => swap_capacity(),
                _ => 0,
            },
            huge_pages: hierarchy.huge_pages(Path::new("/sys/kernel/mm/hugepages")),
        };
        Self {
            root: configuration.cgroup_root.trim_end_matches('/').to_owned(),
            driver: if driver == "systemd" {
                Driver::Systemd
            } else {
                Driver::Cgroupfs
            },
            hierarchy,
            node,
            slices: None,
            burstable: Mutex::default(),
            times: operation_times(),
        }
    }

    /// Has systemd make the slices that are needed, if it is the one who makes cgroups here.
    pub fn asking_systemd(mut self) -> Self {
        self.slices = (self.driver == Driver::Systemd).then(Slices::start);
        self
    }

    /// Says there how long work on cgroups takes.
    pub fn timed(mut self, times: OperationTimes) -> Self {
        self.times = times;
        self
    }

    fn time<T>(&self, operation_type: &'static str, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        let times = self.times.get_or_create(&Operation { operation_type });
        times.observe(began.elapsed().as_secs_f64());
        done
    }

    /// Cgroup v1 or v2.
    pub fn is_unified(&self) -> bool {
        self.node.unified
    }

    /// Makes the cgroups that all pods lie in. `pods` is what they may use together; `None` where that isn't enforced.
    pub fn ensure_node(&self, pods: Option<Share>) {
        let all = pods.map_or(Limits::default(), Share::limits);
        self.make(&class_path(&self.root, self.driver, QosClass::Guaranteed), &all);
        for class in [QosClass::Burstable, QosClass::BestEffort] {
            self.share_out(class);
        }
    }

    /// Limits somebody else's cgroup, which is there already.
    pub fn limit(&self, cgroup: &str, share: Share) -> Result<(), NoCgroup> {
        let path = format!("/{}", cgroup.trim_matches('/'));
        if self.driver == Driver::Cgroupfs && !self.exists("memory", &path) {
            return Err(NoCgroup);
        }
        self.make(&path, &share.limits());
        Ok(())
    }

    /// The `cgroup_parent` of a pod's sandbox.
    pub fn parent_of(&self, pod: &Pod) -> String {
        pod_path(&self.root, self.driver, qos_class(pod), uid(pod))
    }

    /// Limits of one container.
    pub fn container_resources(&self, pod: &Pod, container: &Container) -> v1::LinuxContainerResources {
        resources::linux(pod, container, &self.node)
    }

    /// Limits of the pod, for the sandbox's request.
    pub fn pod_resources(&self, pod: &Pod) -> v1::LinuxContainerResources {
        resources::of_sandbox(pod, &self.node)
    }

    /// The cgroup of all pods.
    pub fn of_pods(&self) -> String {
        class_path(&self.root, self.driver, QosClass::Guaranteed)
    }

    /// A container's cgroup, if the runtime has made it where the common ones do.
    pub fn of_container(&self, pod: &Pod, id: &str) -> Option<String> {
        let above = self.parent_of(pod);
        let names = match self.driver {
            Driver::Cgroupfs => vec![id.to_owned()],
            Driver::Systemd => vec![format!("cri-containerd-{id}.scope"), format!("crio-{id}.scope")],
        };
        let paths = names.into_iter().map(|name| format!("{above}/{name}"));
        let mut existing = paths.filter(|path| self.exists("memory", path));
        existing.next()
    }

    /// What a cgroup has used; of the root (`/`) what the machine has.
    pub fn used(&self, path: &str) -> usage::Used {
        usage::used(self.node.unified, &|controller, file| {
            self.hierarchy.read(controller, path, file)
        })
    }

    /// The processes in a cgroup.
    pub fn processes(&self, path: &str) -> Vec<u32> {
        let text = self.hierarchy.read("memory", path, "cgroup.procs");
        let text = text.unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// Makes the pod's cgroup with its limits.
    pub fn ensure_pod(&self, pod: &Pod) {
        let path = self.parent_of(pod);
        self.make(&path, &resources::of_pod(pod, &self.node));
        for (size, bytes) in resources::huge_pages_of_pod(pod, &self.node) {
            let files = limits::huge_page_files(size, self.node.unified);
            let there = |file: &&String| self.hierarchy.read("hugetlb", &path, file).is_some();
            for file in files.iter().filter(there) {
                self.hierarchy.write("hugetlb", &path, file, &bytes.to_string());
            }
        }
        if qos_class(pod) == QosClass::Burstable {
            let asked = resources::milli_cpu(pod);
            let before = self.burstable.lock().insert(uid(pod).to_owned(), asked);
            if before != Some(asked) {
                self.share_out(QosClass::Burstable);
            }
        }
    }

    /// Gives the pod's cgroup what it is to have more of, and takes nothing away yet.
    pub fn widen_pod(&self, pod: &Pod) {
        let path = self.parent_of(pod);
        let read = |controller: &str, file: &str| self.hierarchy.read(controller, &path, file);
        let current = limits::current(self.node.unified, &read);
        self.make(
            &path,
            &limits::wider(resources::of_pod(pod, &self.node), &current),
        );
    }

    /// Removes the pod's cgroup with what the runtime left in it; harmless when it is gone.
    pub fn remove_pod(&self, uid: &str) -> Result<(), RemoveError> {
        self.time("destroy", || self.remove(uid))
    }

    fn remove(&self, uid: &str) -> Result<(), RemoveError> {
        for class in CLASSES.iter().filter(|_| !uid.is_empty()) {
            let path = pod_path(&self.root, self.driver, *class, uid);
            match (self.driver, &self.slices) {
                (Driver::Cgroupfs, _) => self.hierarchy.remove(&path)?,
                (Driver::Systemd, Some(slices)) => slices.drop(&path),
                (Driver::Systemd, None) => {}
            }
        }
        if self.burstable.lock().remove(uid).is_some() {
            self.share_out(QosClass::Burstable);
        }
        Ok(())
    }

    /// Shares of a class among the others.
    fn share_out(&self, class: QosClass) {
        let shares = class_shares(class, &self.burstable.lock());
        let limits = Limits {
            shares: Some(shares),
            ..Limits::default()
        };
        self.make(&class_path(&self.root, self.driver, class), &limits);
    }

    fn exists(&self, controller: &str, path: &str) -> bool {
        self.hierarchy.read(controller, path, "cgroup.procs").is_some()
    }

    fn make(&self, path: &str, limits: &Limits) {
        let is_there = self.exists("memory", path);
        let operation = if is_there { "update" } else { "create" };
        self.time(operation, || self.set(path, limits));
    }

    fn set(&self, path: &str, limits: &Limits) {
        if self.driver == Driver::Cgroupfs {
            self.hierarchy.make(path);
        } else if let Some(slices) = &self.slices {
            slices.have(path, limits, self.node.unified);
        }
        for (controller, file, value) in limits::files(limits, self.node.unified) {
            // What systemd is still to make gets its limits from it; where there is something, nobody waits for it.
            if self.driver == Driver::Cgroupfs || self.exists(controller, path) {
                self.hierarchy.write(controller, path, file, &value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
