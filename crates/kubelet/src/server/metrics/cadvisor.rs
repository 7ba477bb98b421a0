//! `/metrics/cadvisor`: the same measurements under cAdvisor's names and labels, which dashboards ask for.
mod families;

use super::Labelled;
use crate::cgroups::usage::DiskUsed;
use crate::stats::summary::More;
use crate::stats::{Interface, Measured, NodeStats, PodStats};
use families::{CPU_TOTAL, DISKS, FAMILIES, NETWORK, OPEN, PRESSURES, WAITS};
use orlop_api::pod::{name, namespace};
use orlop_metrics::text::{Kind, Sample, Text};

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
    faults(&mut text, &all);
    pressures(&mut text, &all);
    disks(&mut text, &all);
    held(&mut text, stats, more);
    for (name, help, value) in NETWORK {
        text.family(
            name,
            help,
            Kind::Counter,
            networks(stats, more)
                .iter()
                .filter_map(|(labels, interface, measured)| {
                    Some(one(labels.clone(), value(interface)? as f64, measured))
                }),
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

/// With a label beside the others, where its name belongs.
fn beside<'a>(labels: &[(&'a str, &'a str)], name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut labels = labels.to_vec();
    let at = labels.partition_point(|(other, _)| *other < name);
    labels.insert(at, (name, value));
    labels
}

fn faults(text: &mut Text, all: &[Labelled<'_>]) {
    let help = "Cumulative count of memory allocation failures.";
    let samples = all.iter().flat_map(|(labels, measured)| {
        let memory = measured.used.memory.into_iter();
        memory.flat_map(move |memory| {
            let kinds = [
                ("pgfault", memory.page_faults),
                ("pgmajfault", memory.major_page_faults),
            ];
            kinds.map(|(kind, count)| {
                let labels = beside(&beside(labels, "failure_type", kind), "scope", "container");
                one(labels, count as f64, measured)
            })
        })
    });
    text.family("container_memory_failures_total", help, Kind::Counter, samples);
}

fn pressures(text: &mut Text, all: &[Labelled<'_>]) {
    for (what, why, pressure) in PRESSURES {
        for (verb, help, of) in WAITS {
            let samples = all.iter().filter_map(|(labels, measured)| {
                let waited = of(&pressure(&measured.used)?).total;
                Some(one(labels.clone(), waited.as_secs_f64(), measured))
            });
            let name = format!("container_pressure_{what}_{verb}_seconds_total");
            text.family(&name, &format!("{help} due to {why}."), Kind::Counter, samples);
        }
    }
}

/// Of what has not touched a disk yet, nothing is told as zero.
fn disks(text: &mut Text, all: &[Labelled<'_>]) {
    let none = [DiskUsed::default()];
    let of = |measured: &Measured| match &measured.used.disks[..] {
        [] => none.to_vec(),
        disks => disks.to_vec(),
    };
    let each: Vec<(&Labelled<'_>, DiskUsed)> = all
        .iter()
        .flat_map(|labelled| of(labelled.1).into_iter().map(move |disk| (labelled, disk)))
        .collect();
    for (name, help, value) in DISKS {
        let samples = each.iter().map(|((labels, measured), disk)| {
            one(
                beside(labels, "device", &disk.device),
                value(disk) as f64,
                measured,
            )
        });
        text.family(name, help, Kind::Counter, samples);
    }
    let help = "Blkio Device bytes usage";
    let samples = each.iter().flat_map(|((labels, measured), disk)| {
        let (major, minor) = disk.device.split_once(':').unwrap_or_default();
        let directions = [("Read", disk.read_bytes), ("Write", disk.written_bytes)];
        directions.map(|(operation, bytes)| {
            let numbered = beside(&beside(labels, "major", major), "minor", minor);
            let labels = beside(&beside(&numbered, "device", &disk.device), "operation", operation);
            one(labels, bytes as f64, measured)
        })
    });
    text.family("container_blkio_device_usage_total", help, Kind::Counter, samples);
}

fn held(text: &mut Text, stats: &NodeStats, more: &More) {
    let containers = || {
        stats.pods.iter().flat_map(|pod| {
            pod.containers.iter().filter_map(move |container| {
                let open = more.open.get(&container.id)?;
                let labels = of_pod(pod, &container.name, &container.image, &container.id);
                let cgroup = container.cgroup.as_deref().unwrap_or(&container.id);
                Some((with_id(labels, cgroup), open, &container.measured))
            })
        })
    };
    for (name, help, value) in OPEN {
        let samples = containers().map(|(labels, open, measured)| one(labels, value(open) as f64, measured));
        text.family(name, help, Kind::Gauge, samples);
    }
    let help = "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice";
    let samples = containers().map(|(labels, open, measured)| {
        let labels = beside(&labels, "ulimit", "max_open_files");
        one(labels, open.files_max as f64, measured)
    });
    text.family("container_ulimits_soft", help, Kind::Gauge, samples);
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
    use crate::cgroups::usage::{CpuUsed, MemoryUsed, Pressure, Stall, Used};
    use crate::stats::open::Open;
    use crate::stats::{ContainerStats, Layer, Packets};
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
                    page_faults: 8,
                    ..MemoryUsed::default()
                }),
                processes: Some(3),
                disks: vec![DiskUsed {
                    device: "8:0".into(),
                    reads: 4,
                    written_bytes: 512,
                    ..DiskUsed::default()
                }],
                io_pressure: Some(Pressure {
                    some: Stall {
                        total: Duration::from_millis(2500),
                        ..Stall::default()
                    },
                    full: Stall::default(),
                }),
                ..Used::default()
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
            runtime: None,
            misc: None,
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
            packets: Some(Packets {
                received: 3,
                received_dropped: 1,
                sent: 4,
                sent_dropped: 2,
            }),
            ..Interface::default()
        };
        let open = Open {
            files: 5,
            sockets: 2,
            files_max: 1024,
        };
        let more = More {
            networks: [("u".to_owned(), vec![interface])].into(),
            layers: [("abc".to_owned(), Layer { bytes: 99, inodes: 1 })].into(),
            open: [("abc".to_owned(), open)].into(),
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
            "container_network_transmit_packets_dropped_total{container=\"\",id=\"/kubepods/podu\",image=\"\",interface=\"eth0\",name=\"\",\
             namespace=\"shop\",pod=\"web-n1\"} 2 1000",
            "container_network_transmit_packets_total{container=\"\",id=\"/kubepods/podu\",image=\"\",interface=\"eth0\",name=\"\",\
             namespace=\"shop\",pod=\"web-n1\"} 4 1000",
            "container_network_receive_packets_dropped_total{container=\"\",id=\"/kubepods/podu\",image=\"\",interface=\"eth0\",name=\"\",\
             namespace=\"shop\",pod=\"web-n1\"} 1 1000",
            "container_network_receive_packets_total{container=\"\",id=\"/kubepods/podu\",image=\"\",interface=\"eth0\",name=\"\",\
             namespace=\"shop\",pod=\"web-n1\"} 3 1000",
            "container_fs_usage_bytes{container=\"c\",id=\"/kubepods/podu/abc\",image=\"i:1\",name=\"abc\",namespace=\"shop\",\
             pod=\"web-n1\"} 99 1000",
            "container_memory_failures_total{container=\"c\",failure_type=\"pgfault\",id=\"/kubepods/podu/abc\",image=\"i:1\",\
             name=\"abc\",namespace=\"shop\",pod=\"web-n1\",scope=\"container\"} 8 1000",
            "container_fs_reads_total{container=\"c\",device=\"8:0\",id=\"/kubepods/podu/abc\",image=\"i:1\",name=\"abc\",\
             namespace=\"shop\",pod=\"web-n1\"} 4 1000",
            "container_blkio_device_usage_total{container=\"c\",device=\"8:0\",id=\"/kubepods/podu/abc\",image=\"i:1\",\
             major=\"8\",minor=\"0\",name=\"abc\",namespace=\"shop\",operation=\"Write\",pod=\"web-n1\"} 512 1000",
            "container_sockets{container=\"c\",id=\"/kubepods/podu/abc\",image=\"i:1\",name=\"abc\",namespace=\"shop\",\
             pod=\"web-n1\"} 2 1000",
            "container_ulimits_soft{container=\"c\",id=\"/kubepods/podu/abc\",image=\"i:1\",name=\"abc\",namespace=\"shop\",\
             pod=\"web-n1\",ulimit=\"max_open_files\"} 1024 1000",
            "container_threads_max{container=\"c\",id=\"/kubepods/podu/abc\",image=\"i:1\",name=\"abc\",namespace=\"shop\",\
             pod=\"web-n1\"} 0 1000",
            "container_pressure_io_waiting_seconds_total{container=\"c\",id=\"/kubepods/podu/abc\",image=\"i:1\",name=\"abc\",\
             namespace=\"shop\",pod=\"web-n1\"} 2.5 1000",
            "container_pressure_io_stalled_seconds_total{container=\"c\",id=\"/kubepods/podu/abc\",image=\"i:1\",name=\"abc\",\
             namespace=\"shop\",pod=\"web-n1\"} 0 1000",
            "machine_cpu_cores 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(
            !text.contains("container_pressure_cpu"),
            "what is not known is not told"
        );
    }
}
