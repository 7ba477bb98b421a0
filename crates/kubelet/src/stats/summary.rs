//! The answer of `/stats/summary` (contract, node agent §22.4): `stats.k8s.io/v1alpha1`'s Summary, without I/O.
use super::disk::{Claimed, FileSystem, PodDisk, Tree};
use super::open::Open;
use super::{ContainerStats, Interface, Layer, Measured, NodeStats, PodStats};
use crate::cgroups::usage::{Pressure, Stall};
use jiff::Timestamp;
use orlop_api::pod::{name, namespace};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// What is told beside processor and memory.
#[derive(Default)]
pub struct More {
    /// The node's interfaces.
    pub interfaces: Vec<Interface>,
    /// Pods' interfaces, by UID.
    pub networks: BTreeMap<String, Vec<Interface>>,
    /// The agent's file system.
    pub node_fs: Option<FileSystem>,
    /// The images' file system, and what images take of it.
    pub image_fs: Option<(FileSystem, Tree)>,
    /// By container id.
    pub layers: HashMap<String, Layer>,
    /// By pod UID.
    pub disks: HashMap<String, PodDisk>,
    /// Volumes of claims by name, by pod UID.
    pub claims: HashMap<String, BTreeMap<String, Claimed>>,
    /// The largest process id.
    pub processes_max: Option<u64>,
    /// What containers hold open, by id.
    pub open: HashMap<String, Open>,
}

/// The summary; without `more`, what `only_cpu_and_memory=true` asks for. The machine `booted` before the agent `began`.
pub fn summary(
    node_name: &str,
    (booted, began): (Option<Timestamp>, Timestamp),
    stats: &NodeStats,
    more: Option<&More>,
) -> Value {
    let at = stats.measured.at;
    let mut node = usage(&stats.measured);
    node.insert("nodeName".into(), json!(node_name));
    put(&mut node, "startTime", booted.map(time));
    let part = |name: &str, started: Option<Timestamp>, measured: &Measured| {
        let mut part = usage(measured);
        part.insert("name".into(), json!(name));
        put(&mut part, "startTime", started.map(time));
        Value::Object(part)
    };
    let runtime = stats.runtime.as_ref();
    let runtime = runtime.map(|runtime| part("runtime", booted, runtime));
    let misc = stats.misc.as_ref();
    let misc = misc.map(|misc| part("misc", booted, misc));
    let parts = [
        part("kubelet", Some(began), &stats.own),
        part("pods", booted, &stats.all_pods),
    ];
    node.insert(
        "systemContainers".into(),
        parts.into_iter().chain(runtime).chain(misc).collect(),
    );
    if let Some(more) = more {
        put(&mut node, "network", network(at, &more.interfaces));
        put(&mut node, "fs", more.node_fs.map(|fs| file_system(at, fs, None)));
        let images = more
            .image_fs
            .map(|(fs, images)| file_system(at, fs, Some(images)));
        if let Some(images) = images {
            node.insert(
                "runtime".into(),
                json!({"imageFs": images.clone(), "containerFs": images}),
            );
        }
        node.insert(
            "rlimit".into(),
            json!({"time": time(at), "maxpid": more.processes_max, "curproc": stats.measured.used.processes}),
        );
    }
    let pods: Vec<Value> = stats.pods.iter().map(|stats| pod(stats, more)).collect();
    json!({"node": node, "pods": pods})
}

fn pod(stats: &PodStats, more: Option<&More>) -> Value {
    let at = stats.measured.at;
    let mut pod = usage(&stats.measured);
    let reference = json!({"name": name(&stats.pod), "namespace": namespace(&stats.pod), "uid": stats.uid});
    pod.insert("podRef".into(), reference);
    let started = stats
        .pod
        .status
        .as_ref()
        .and_then(|status| status.start_time.as_ref());
    put(&mut pod, "startTime", started.map(|started| time(started.0)));
    let disk = more.and_then(|more| more.disks.get(&stats.uid));
    let containers = stats
        .containers
        .iter()
        .map(|stats| container(stats, disk, more))
        .collect();
    pod.insert("containers".into(), Value::Array(containers));
    if let Some(processes) = stats.measured.used.processes {
        pod.insert("process_stats".into(), json!({"process_count": processes}));
    }
    let Some(more) = more else {
        return Value::Object(pod);
    };
    let interfaces = more.networks.get(&stats.uid);
    put(
        &mut pod,
        "network",
        interfaces.and_then(|interfaces| network(at, interfaces)),
    );
    let Some(disk) = disk else {
        return Value::Object(pod);
    };
    let volumes = disk.volumes.iter().map(|(name, held)| {
        let mut volume = file_system(at, held.file_system, Some(held.tree));
        volume["name"] = json!(name);
        volume
    });
    let claims = more.claims.get(&stats.uid).into_iter().flatten();
    let claimed = claims.map(|(name, claimed)| {
        let mut volume = file_system(at, claimed.file_system, None);
        volume["name"] = json!(name);
        let claim = &claimed.claim;
        volume["pvcRef"] = json!({"name": claim.name, "namespace": claim.namespace});
        volume
    });
    pod.insert("volume".into(), volumes.chain(claimed).collect());
    let layers = stats
        .containers
        .iter()
        .filter_map(|container| more.layers.get(&container.id));
    let used = local(disk, layers.map(Layer::tree));
    put(
        &mut pod,
        "ephemeral-storage",
        more.node_fs.map(|fs| file_system(at, fs, Some(used))),
    );
    Value::Object(pod)
}

/// What counts as a pod's ephemeral storage: layers, logs, and volumes on the node's disk.
pub fn local(disk: &PodDisk, layers: impl Iterator<Item = Tree>) -> Tree {
    let volumes = disk
        .volumes
        .values()
        .filter(|held| held.is_local)
        .map(|held| held.tree);
    let all = volumes.chain(disk.logs.values().copied()).chain(layers);
    all.fold(Tree::default(), |sum, tree| Tree {
        bytes: sum.bytes + tree.bytes,
        inodes: sum.inodes + tree.inodes,
    })
}

fn container(stats: &ContainerStats, disk: Option<&PodDisk>, more: Option<&More>) -> Value {
    let at = stats.measured.at;
    let mut container = usage(&stats.measured);
    container.insert("name".into(), json!(stats.name));
    put(&mut container, "startTime", stats.started.map(time));
    let Some(more) = more else {
        return Value::Object(container);
    };
    if let (Some((fs, _)), Some(layer)) = (more.image_fs, more.layers.get(&stats.id)) {
        container.insert("rootfs".into(), file_system(at, fs, Some(layer.tree())));
    }
    if let (Some(fs), Some(logs)) = (more.node_fs, disk.and_then(|disk| disk.logs.get(&stats.name))) {
        container.insert("logs".into(), file_system(at, fs, Some(*logs)));
    }
    Value::Object(container)
}

fn put(object: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), value);
    }
}

/// Whole seconds, as every time of the API.
fn time(at: Timestamp) -> Value {
    json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// `cpu`, `memory`, `swap` and `io`, as far as they are known.
fn usage(measured: &Measured) -> Map<String, Value> {
    let mut object = Map::new();
    let at = time(measured.at);
    if let Some(cpu) = measured.used.cpu {
        let mut value = json!({"time": at, "usageCoreNanoSeconds": nanoseconds(cpu.total)});
        if let Some(nanocores) = measured.nanocores {
            value["usageNanoCores"] = json!(nanocores);
        }
        if let Some(psi) = cpu.pressure {
            value["psi"] = pressure(psi);
        }
        object.insert("cpu".into(), value);
    }
    if let Some(memory) = measured.used.memory {
        let mut value = json!({
            "time": at,
            "usageBytes": memory.usage,
            "workingSetBytes": memory.working_set,
            "rssBytes": memory.rss,
            "pageFaults": memory.page_faults,
            "majorPageFaults": memory.major_page_faults,
        });
        if let Some(limit) = memory.limit {
            value["availableBytes"] = json!(limit.saturating_sub(memory.working_set));
        }
        if let Some(psi) = memory.pressure {
            value["psi"] = pressure(psi);
        }
        object.insert("memory".into(), value);
        if let Some(swap) = memory.swap {
            let mut value = json!({"time": at, "swapUsageBytes": swap});
            if let Some(limit) = memory.swap_limit {
                value["swapAvailableBytes"] = json!(limit.saturating_sub(swap));
            }
            object.insert("swap".into(), value);
        }
    }
    if let Some(psi) = measured.used.io_pressure {
        object.insert("io".into(), json!({"time": at, "psi": pressure(psi)}));
    }
    object
}

/// 580 years of one core fit.
pub fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn pressure(pressure: Pressure) -> Value {
    let stall = |stall: Stall| {
        json!({"total": nanoseconds(stall.total), "avg10": stall.avg10, "avg60": stall.avg60,
            "avg300": stall.avg300})
    };
    json!({"some": stall(pressure.some), "full": stall(pressure.full)})
}

fn network(at: Timestamp, interfaces: &[Interface]) -> Option<Value> {
    let interface = |of: &Interface| {
        json!({"name": of.name, "rxBytes": of.received_bytes, "rxErrors": of.received_errors,
            "txBytes": of.sent_bytes, "txErrors": of.sent_errors})
    };
    let mut network = interface(interfaces.first()?);
    network["time"] = time(at);
    network["interfaces"] = interfaces.iter().map(interface).collect();
    Some(network)
}

/// A file system, with what somebody uses of it; else what all use.
fn file_system(at: Timestamp, fs: FileSystem, used: Option<Tree>) -> Value {
    let (bytes, inodes) = match used {
        Some(tree) => (tree.bytes, tree.inodes),
        None => (fs.used, fs.inodes.saturating_sub(fs.inodes_free)),
    };
    json!({"time": time(at), "availableBytes": fs.available, "capacityBytes": fs.capacity, "usedBytes": bytes,
        "inodes": fs.inodes, "inodesFree": fs.inodes_free, "inodesUsed": inodes})
}
