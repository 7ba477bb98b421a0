//! `/metrics/resource` (contract, node agent §22.4): what metrics-server and autoscalers live on.
use super::{Family, Labelled};
use crate::stats::{Measured, NodeStats};
use orlop_api::pod::{name, namespace};
use orlop_metrics::text::{Kind, Sample, Text};

fn cpu(measured: &Measured) -> Option<f64> {
    Some(measured.used.cpu?.total.as_secs_f64())
}

fn memory(measured: &Measured) -> Option<f64> {
    Some(measured.used.memory?.working_set as f64)
}

fn swap(measured: &Measured) -> Option<f64> {
    Some(measured.used.memory?.swap? as f64)
}

/// Of those that are counted, and limited.
fn swap_limit(measured: &Measured) -> Option<f64> {
    let memory = measured.used.memory?;
    memory.swap?;
    Some(memory.swap_limit? as f64)
}

const fn family(
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&Measured) -> Option<f64>,
) -> Family {
    Family {
        name,
        help,
        kind,
        value,
    }
}

const NODE: [Family; 3] = [
    family(
        "node_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the node in core-seconds",
        Kind::Counter,
        cpu,
    ),
    family(
        "node_memory_working_set_bytes",
        "Current working set of the node in bytes",
        Kind::Gauge,
        memory,
    ),
    family(
        "node_swap_usage_bytes",
        "Current swap usage of the node in bytes",
        Kind::Gauge,
        swap,
    ),
];

const CONTAINER: [Family; 4] = [
    family(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the container in core-seconds",
        Kind::Counter,
        cpu,
    ),
    family(
        "container_memory_working_set_bytes",
        "Current working set of the container in bytes",
        Kind::Gauge,
        memory,
    ),
    family(
        "container_swap_usage_bytes",
        "Current amount of the container swap usage in bytes",
        Kind::Gauge,
        swap,
    ),
    family(
        "container_swap_limit_bytes",
        "Current amount of the container swap limit in bytes",
        Kind::Gauge,
        swap_limit,
    ),
];

const POD: [Family; 3] = [
    family(
        "pod_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the pod in core-seconds",
        Kind::Counter,
        cpu,
    ),
    family(
        "pod_memory_working_set_bytes",
        "Current working set of the pod in bytes",
        Kind::Gauge,
        memory,
    ),
    family(
        "pod_swap_usage_bytes",
        "Current amount of the pod swap usage in bytes",
        Kind::Gauge,
        swap,
    ),
];

/// The text; without `stats` only that they could not be read.
pub fn text(stats: Option<&NodeStats>) -> String {
    let mut text = Text::default();
    if let Some(stats) = stats {
        let node = [(Vec::new(), &stats.measured)];
        NODE.iter().for_each(|family| family.write(&mut text, &node));
        let containers: Vec<Labelled<'_>> = stats
            .pods
            .iter()
            .flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
            .map(|(pod, container)| {
                let labels = vec![
                    ("container", container.name.as_str()),
                    ("namespace", namespace(&pod.pod)),
                    ("pod", name(&pod.pod)),
                ];
                (labels, &container.measured)
            })
            .collect();
        CONTAINER
            .iter()
            .for_each(|family| family.write(&mut text, &containers));
        started(&mut text, stats);
        let pods: Vec<Labelled<'_>> = stats
            .pods
            .iter()
            .map(|pod| {
                let labels = vec![("namespace", namespace(&pod.pod)), ("pod", name(&pod.pod))];
                (labels, &pod.measured)
            })
            .collect();
        POD.iter().for_each(|family| family.write(&mut text, &pods));
    }
    for name in ["resource_scrape_error", "scrape_error"] {
        let failed = Sample {
            labels: Vec::new(),
            value: if stats.is_none() { 1.0 } else { 0.0 },
            at: None,
        };
        let help = "1 if there was an error while getting container metrics, 0 otherwise";
        text.family(name, help, Kind::Gauge, [failed]);
    }
    text.finish()
}

fn started(text: &mut Text, stats: &NodeStats) {
    let containers = stats.pods.iter().flat_map(|pod| {
        let labels = (namespace(&pod.pod), name(&pod.pod));
        pod.containers.iter().map(move |container| (labels, container))
    });
    let samples = containers.filter_map(|((namespace, pod), container)| {
        let started = container.started?;
        Some(Sample {
            labels: vec![
                ("container", container.name.as_str()),
                ("namespace", namespace),
                ("pod", pod),
            ],
            value: started.as_millisecond() as f64 / 1000.0,
            at: None,
        })
    });
    let help = "Start time of the container since unix epoch in seconds";
    text.family("container_start_time_seconds", help, Kind::Gauge, samples);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::usage::{CpuUsed, MemoryUsed, Used};
    use crate::stats::{ContainerStats, PodStats};
    use jiff::Timestamp;
    use std::sync::Arc;
    use std::time::Duration;

    fn measured(seconds: u64, working_set: u64) -> Measured {
        Measured {
            at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            used: Used {
                cpu: Some(CpuUsed {
                    total: Duration::from_millis(seconds * 1000 + 500),
                    ..CpuUsed::default()
                }),
                memory: Some(MemoryUsed {
                    working_set,
                    ..MemoryUsed::default()
                }),
                ..Used::default()
            },
            nanocores: None,
        }
    }

    #[test]
    fn n11_resource_metrics_have_node_pods_and_containers_with_times() {
        let pod = serde_json::json!({"metadata": {"name": "web-n1", "namespace": "shop", "uid": "u"}});
        let stats = NodeStats {
            measured: measured(100, 4096),
            all_pods: Measured::default(),
            own: Measured::default(),
            runtime: None,
            misc: None,
            pods: vec![PodStats {
                pod: Arc::new(serde_json::from_value(pod).unwrap()),
                uid: "u".into(),
                cgroup: String::new(),
                measured: measured(9, 2048),
                containers: vec![ContainerStats {
                    name: "c".into(),
                    id: "abc".into(),
                    image: "i".into(),
                    cgroup: None,
                    started: Some(Timestamp::from_second(1_699_999_999).unwrap()),
                    measured: measured(5, 1024),
                }],
            }],
        };
        let text = text(Some(&stats));
        for line in [
            "node_cpu_usage_seconds_total 100.5 1700000000123",
            "node_memory_working_set_bytes 4096 1700000000123",
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"shop\",pod=\"web-n1\"} 5.5 1700000000123",
            "container_memory_working_set_bytes{container=\"c\",namespace=\"shop\",pod=\"web-n1\"} 1024 1700000000123",
            "container_start_time_seconds{container=\"c\",namespace=\"shop\",pod=\"web-n1\"} 1699999999",
            "pod_cpu_usage_seconds_total{namespace=\"shop\",pod=\"web-n1\"} 9.5 1700000000123",
            "pod_memory_working_set_bytes{namespace=\"shop\",pod=\"web-n1\"} 2048 1700000000123",
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("swap"), "what is not known is not told:\n{text}");
    }

    #[test]
    fn swap_limit_is_told_of_what_is_limited_to_none_too() {
        let mut limited = measured(1, 1);
        assert_eq!(swap_limit(&limited), None);
        let memory = limited.used.memory.as_mut().unwrap();
        (memory.swap, memory.swap_limit) = (Some(0), Some(0));
        assert_eq!(swap_limit(&limited), Some(0.0));
    }

    #[test]
    fn scrape_that_failed_says_so() {
        assert!(super::text(None).contains("\nresource_scrape_error 1\n"));
    }
}
