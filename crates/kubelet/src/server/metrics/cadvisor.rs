//! `/metrics/cadvisor`: the same measurements under cAdvisor's names and labels, which dashboards ask for.
use super::{Family, Labelled};
use crate::cgroups::usage::{CpuUsed, MemoryUsed};
use crate::stats::summary::More;
use crate::stats::{Interface, Measured, NodeStats, PodStats};
use orlop_api::pod::{name, namespace};
use orlop_metrics::text::{Kind, Sample, Text};

macro_rules! cpu {
    ($kind:ident $name:literal, $help:literal, $value:expr) => {
        Family {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            value: |measured| {
                let value: fn(CpuUsed) -> f64 = $value;
                Some(value(measured.used.cpu?))
            },
        }
    };
}

macro_rules! memory {
    ($kind:ident $name:literal, $help:literal, $value:expr) => {
        Family {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            value: |measured| {
                let value: fn(MemoryUsed) -> u64 = $value;
                Some(value(measured.used.memory?) as f64)
            },
        }
    };
}

const FAMILIES: &[Family] = &[
    cpu!(Counter "container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", |cpu| cpu.user.as_secs_f64()),
    cpu!(Counter "container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.",
        |cpu| cpu.system.as_secs_f64()),
    cpu!(Counter "container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", |cpu| cpu.periods as f64),
    cpu!(Counter "container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.",
        |cpu| cpu.throttled_periods as f64),
    cpu!(Counter "container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.",
        |cpu| cpu.throttled.as_secs_f64()),
    memory!(Gauge "container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", |memory| memory.usage),
    memory!(Gauge "container_memory_working_set_bytes", "Current working set in bytes.", |memory| memory.working_set),
    memory!(Gauge "container_memory_rss", "Size of RSS in bytes.", |memory| memory.rss),
    memory!(Gauge "container_memory_cache", "Number of bytes of page cache memory.", |memory| memory.cache),
    memory!(Gauge "container_memory_swap", "Container swap usage in bytes.", |memory| memory.swap.unwrap_or(0)),
    memory!(Gauge "container_spec_memory_limit_bytes", "Memory limit for the container.", |memory| memory.limit.unwrap_or(0)),
    Family {
        name: "container_processes",
        help: "Number of processes running inside the container.",
        kind: Kind::Gauge,
        value: |measured| Some(measured.used.processes? as f64),
    },
];

/// cAdvisor splits this one by processor; the sum is what is asked for.
const CPU_TOTAL: Family = cpu!(Counter "container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.",
    |cpu| cpu.total.as_secs_f64());

/// A direction of a network, in cAdvisor's words.
type Direction = (&'static str, &'static str, fn(&Interface) -> u64);

const NETWORK: &[Direction] = &[
    (
        "container_network_receive_bytes_total",
        "Cumulative count of bytes received",
        |of| of.received_bytes,
    ),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |of| of.received_errors,
    ),
    (
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted",
        |of| of.sent_bytes,
    ),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |of| of.sent_errors,
    ),
];

/// The machine.
pub struct Machine {
    pub cores: i64,
    /// Bytes.
    pub memory: i64,
}

fn of_pod<'a>(pod: &'a PodStats, container: &'a str, image: &'a str, id: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("container", container),
        ("id", ""),
        ("image", image),
        ("name", id),
        ("namespace", namespace(&pod.pod)),
        ("pod", name(&pod.pod)),
    ]
}

fn labels(id: &str) -> Vec<(&str, &str)> {
    let empty = ["container", "image", "name", "namespace", "pod"].map(|name| (name, ""));
    let mut labels = empty.to_vec();
    labels.insert(1, ("id", id));
    labels
}

/// Everything measured with its labels: the machine, all pods, each pod, each container.
fn everything(stats: &NodeStats) -> Vec<Labelled<'_>> {
    let mut all: Vec<Labelled<'_>> = vec![(labels("/"), &stats.measured)];
    for pod in &stats.pods {
        all.push((with_id(of_pod(pod, "", "", ""), &pod.cgroup), &pod.measured));
        for container in &pod.containers {
            let of = of_pod(pod, &container.name, &container.image, &container.id);
            let cgroup = container.cgroup.as_deref().unwrap_or(&container.id);
            all.push((with_id(of, cgroup), &container.measured));
        }
    }
    all
}

fn with_id<'a>(mut labels: Vec<(&'a str, &'a str)>, id: &'a str) -> Vec<(&'a str, &'a str)> {
    if let Some(label) = labels.iter_mut().find(|(name, _)| *name == "id") {
        label.1 = id;
    }
    labels
}

fn one<'a>(labels: Vec<(&'a str, &'a str)>, value: f64, measured: &Measured) -> Sample<'a> {
    Sample {
        labels,
        value,
        at: Some(measured.at.as_millisecond()),
    }
}

/// The text.
pub fn text(stats: &NodeStats, more: &More, machine: &Machine) -> String {
    let mut text = Text::default();
    let all = everything(stats);
    let totals: Vec<Labelled<'_>> = all
        .iter()
        .map(|(labels, measured)| {
            let mut labels = labels.clone();
            labels.insert(1, ("cpu", "total"));
            (labels, *measured)
        })
        .collect();
    CPU_TOTAL.write(&mut text, &totals);
    for family in FAMILIES {
        family.write(&mut text, &all);
    }
    for (name, help, value) in NETWORK {
        text.family(
            name,
            help,
            Kind::Counter,
            networks(stats, more)
                .iter()
                .map(|(labels, interface, measured)| one(labels.clone(), value(interface) as f64, measured)),
        );
    }
    let written = stats.pods.iter().flat_map(|pod| {
        pod.containers.iter().filter_map(move |container| {
            let layer = more.layers.get(&container.id)?;
            let labels = of_pod(pod, &container.name, &container.image, &container.id);
            let cgroup = container.cgroup.as_deref().unwrap_or(&container.id);
            let labels = with_id(labels, cgroup);
            Some(one(labels, layer.bytes as f64, &container.measured))
        })
    });
    let help = "Number of bytes that are consumed by the container on this filesystem.";
    text.family("container_fs_usage_bytes", help, Kind::Gauge, written);
    started(&mut text, stats);
    for (name, help, value) in [
        ("machine_cpu_cores", "Number of logical CPU cores.", machine.cores),
        (
            "machine_memory_bytes",
            "Amount of memory installed on the machine.",
            machine.memory,
        ),
    ] {
        let sample = Sample {
            labels: Vec::new(),
            value: value as f64,
            at: None,
        };
        text.family(name, help, Kind::Gauge, [sample]);
    }
    text.finish()
}

fn started(text: &mut Text, stats: &NodeStats) {
    let samples = stats.pods.iter().flat_map(|pod| {
        pod.containers.iter().filter_map(move |container| {
            let labels = of_pod(pod, &container.name, &container.image, &container.id);
            let cgroup = container.cgroup.as_deref().unwrap_or(&container.id);
            let seconds = container.started?.as_millisecond() as f64 / 1000.0;
            Some(one(with_id(labels, cgroup), seconds, &container.measured))
        })
    });
    let help = "Start time of the container since unix epoch in seconds.";
    text.family("container_start_time_seconds", help, Kind::Gauge, samples);
}

type OfInterface<'a> = (Vec<(&'a str, &'a str)>, &'a Interface, &'a Measured);

fn networks<'a>(stats: &'a NodeStats, more: &'a More) -> Vec<OfInterface<'a>> {
    let named = |mut labels: Vec<(&'a str, &'a str)>, interface: &'a Interface| {
        labels.insert(3, ("interface", interface.name.as_str()));
        labels
    };
    let node = more
        .interfaces
        .iter()
        .map(|interface| (named(labels("/"), interface), interface, &stats.measured));
    let pods = stats.pods.iter().flat_map(|pod| {
        let interfaces = more.networks.get(&pod.uid).into_iter().flatten();
        interfaces.map(move |interface| {
            let labels = with_id(of_pod(pod, "", "", ""), &pod.cgroup);
            (named(labels, interface), interface, &pod.measured)
        })
    });
    node.chain(pods).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::usage::Used;
    use crate::stats::{ContainerStats, Layer};
    use jiff::Timestamp;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn containers_pods_and_machine_have_cadvisors_names_and_labels() {
        let measured = Measured {
            at: Timestamp::from_millisecond(1000).unwrap(),
            used: Used {
                cpu: Some(CpuUsed {
                    total: Duration::from_secs(5),
                    ..CpuUsed::default()
                }),
                memory: Some(MemoryUsed {
                    rss: 77,
                    ..MemoryUsed::default()
                }),
                processes: Some(3),
            },
            nanocores: None,
        };
        let pod = serde_json::json!({"metadata": {"name": "web-n1", "namespace": "shop", "uid": "u"}});
        let container = ContainerStats {
            name: "c".into(),
            id: "abc".into(),
            image: "i:1".into(),
            cgroup: Some("/kubepods/podu/abc".into()),
            started: Timestamp::from_second(7).ok(),
            measured: measured.clone(),
        };
        let stats = NodeStats {
            measured: measured.clone(),
            all_pods: Measured::default(),
            own: Measured::default(),
            pods: vec![PodStats {
                pod: Arc::new(serde_json::from_value(pod).unwrap()),
                uid: "u".into(),
                cgroup: "/kubepods/podu".into(),
                measured,
                containers: vec![container],
            }],
        };
        let interface = Interface {
            name: "eth0".into(),
            received_bytes: 12,
            ..Interface::default()
        };
        let more = More {
            networks: [("u".to_owned(), vec![interface])].into(),
            layers: [("abc".to_owned(), Layer { bytes: 99, inodes: 1 })].into(),
            ..More::default()
        };
        let text = text(
            &stats,
            &more,
            &Machine {
                cores: 2,
                memory: 1024,
            },
        );
        for line in [
            "container_cpu_usage_seconds_total{container=\"c\",cpu=\"total\",id=\"/kubepods/podu/abc\",image=\"i:1\",name=\"abc\",\
             namespace=\"shop\",pod=\"web-n1\"} 5 1000",
            "container_cpu_usage_seconds_total{container=\"\",cpu=\"total\",id=\"/\",image=\"\",name=\"\",namespace=\"\",pod=\"\"} 5 1000",
            "container_memory_rss{container=\"\",id=\"/kubepods/podu\",image=\"\",name=\"\",namespace=\"shop\",pod=\"web-n1\"} 77 1000",
            "container_network_receive_bytes_total{container=\"\",id=\"/kubepods/podu\",image=\"\",interface=\"eth0\",name=\"\",\
             namespace=\"shop\",pod=\"web-n1\"} 12 1000",
            "container_fs_usage_bytes{container=\"c\",id=\"/kubepods/podu/abc\",image=\"i:1\",name=\"abc\",namespace=\"shop\",\
             pod=\"web-n1\"} 99 1000",
            "machine_cpu_cores 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
