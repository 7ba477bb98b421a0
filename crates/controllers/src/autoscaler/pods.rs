//! What each pod of a target uses and requests of one resource, and which pods count.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orlop_api::duration::parse_go_duration;
use orlop_api::pod;
use orlop_api::quantity::{amount, parse};
use serde::Deserialize;
use std::collections::HashMap;

/// A PodMetrics of `metrics.k8s.io`, as far as it is read.
#[derive(Debug, Clone, Deserialize)]
pub struct PodMetrics {
    /// Its name is the pod's.
    pub metadata: ObjectMeta,
    /// When it was measured.
    #[serde(default)]
    timestamp: Option<Timestamp>,
    /// Over how long, as Go writes it.
    #[serde(default)]
    window: String,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Debug, Clone, Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: HashMap<String, String>,
}

/// Which part of pods a metric is about.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The resource.
    pub resource: &'a str,
    /// One container of each pod; `None` for all.
    pub container: Option<&'a str>,
}

/// What a pod uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// In thousandths.
    pub milli: i64,
    at: Timestamp,
    window: SignedDuration,
}

impl Used {
    /// Of something for which the beginning of a pod is like all of its time.
    pub fn plain(milli: i64) -> Self {
        Self {
            milli,
            at: Timestamp::MAX,
            window: SignedDuration::ZERO,
        }
    }
}

impl PodMetrics {
    /// What the part uses; `None` if some container doesn't say.
    fn used(&self, part: Part<'_>) -> Option<Used> {
        let mut milli: i64 = 0;
        let mut any = false;
        let meant = |container: &&ContainerMetrics| part.container.is_none_or(|name| name == container.name);
        for container in self.containers.iter().filter(meant) {
            milli = milli.saturating_add(parse(container.usage.get(part.resource)?).ok()?.milli_value());
            any = true;
        }
        let window = parse_go_duration(&self.window).and_then(|window| window.try_into().ok());
        (any || part.container.is_none()).then(|| Used {
            milli,
            at: self.timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
            window: window.unwrap_or_default(),
        })
    }
}

/// What the pods use, by name.
pub fn usage(metrics: &[PodMetrics], part: Part<'_>) -> BTreeMap<String, Used> {
    let of = |pod: &PodMetrics| Some((pod.metadata.name.clone()?, pod.used(part)?));
    metrics.iter().filter_map(of).collect()
}

/// What each pod requests, in thousandths; what is missing if one doesn't say.
pub fn requests(pods: &[core::Pod], part: Part<'_>) -> Result<BTreeMap<String, i64>, String> {
    let of = |resources: Option<&core::ResourceRequirements>| {
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        requests
            .and_then(|requests| requests.get(part.resource))
            .map(|quantity| amount(quantity).milli_value())
    };
    let mut all = BTreeMap::new();
    for object in pods {
        let Some(spec) = &object.spec else { continue };
        let name = pod::name(object);
        let whole = of(spec.resources.as_ref()).filter(|_| part.container.is_none());
        if let Some(whole) = whole {
            all.insert(name.to_owned(), whole);
            continue;
        }
        let sidecars = pod::init_containers(spec)
            .iter()
            .filter(|container| pod::is_sidecar(container));
        let mut sum: i64 = 0;
        for container in spec.containers.iter().chain(sidecars) {
            if part.container.is_some_and(|name| name != container.name) {
                continue;
            }
            let requested = of(container.resources.as_ref()).ok_or_else(|| {
                format!(
                    "missing request for {} in container {} of Pod {name}",
                    part.resource, container.name
                )
            })?;
            sum = sum.saturating_add(requested);
        }
        all.insert(name.to_owned(), sum);
    }
    Ok(all)
}

/// How long pods that just began aren't taken at their word.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// After its start a pod's use of cpu counts only once it is ready and was measured since.
    pub initialisation: SignedDuration,
    /// A pod that isn't ready so long after its start, and never was ready, still begins.
    pub first_readiness: SignedDuration,
}

/// The pods sorted by what their use says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Their use counts.
    pub ready: usize,
    /// They begin.
    pub unready: BTreeSet<String>,
    /// Nothing is known of them.
    pub missing: BTreeSet<String>,
    /// They go or are over.
    pub ignored: BTreeSet<String>,
}

/// Sorts the pods.
pub fn sort(
    pods: &[core::Pod],
    usage: &BTreeMap<String, Used>,
    resource: &str,
    patience: Patience,
    now: Timestamp,
) -> Sorted {
    let mut sorted = Sorted::default();
    for pod in pods {
        let name = pod::name(pod).to_owned();
        let phase = pod::phase(pod);
        if pod.metadata.deletion_timestamp.is_some() || phase == "Failed" {
            sorted.ignored.insert(name);
        } else if phase == "Pending" {
            sorted.unready.insert(name);
        } else {
            match usage.get(&name) {
                None => drop(sorted.missing.insert(name)),
                Some(used) if resource == "cpu" && begins(pod, *used, patience, now) => {
                    sorted.unready.insert(name);
                }
                Some(_) => sorted.ready += 1,
            }
        }
    }
    sorted
}

/// Whether the pod runs and is ready.
pub fn is_at_work(pod: &core::Pod) -> bool {
    pod::phase(pod) == "Running" && pod::is_ready(pod)
}

/// Whether what the pod uses of cpus is that of its beginning.
fn begins(pod: &core::Pod, used: Used, patience: Patience, now: Timestamp) -> bool {
    let Some(status) = &pod.status else { return true };
    let (Some(ready), Some(started)) = (pod::condition_of(status, "Ready"), &status.start_time) else {
        return true;
    };
    let since = ready
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let is_not = ready.status == "False";
    let after = |time: Timestamp, wait: SignedDuration| time.checked_add(wait).unwrap_or(Timestamp::MAX);
    if after(started.0, patience.initialisation) > now {
        is_not || used.at < after(since, used.window)
    } else {
        is_not && after(started.0, patience.first_readiness) > since
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::owned::testing::{ago, now};
    use serde_json::{Value, json};

    pub const PATIENCE: Patience = Patience {
        initialisation: SignedDuration::from_secs(300),
        first_readiness: SignedDuration::from_secs(30),
    };

    pub const CPU: Part<'static> = Part {
        resource: "cpu",
        container: None,
    };

    pub fn metrics(of: &[(&str, &str)]) -> Vec<PodMetrics> {
        of.iter()
            .map(|(name, cpu)| {
                serde_json::from_value(
                    json!({"metadata": {"name": name}, "timestamp": now().to_string(), "window": "15s",
                    "containers": [{"name": "c", "usage": {"cpu": cpu, "memory": "1Mi"}}]}),
                )
                .unwrap()
            })
            .collect()
    }

    /// A pod that requests 100m and is ready since a while ago; `more` is merged over it.
    pub fn pod(name: &str, more: Value) -> core::Pod {
        let mut pod = json!({"metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
            "status": {"phase": "Running", "startTime": ago(1000).to_string(), "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": ago(900).to_string()}]}});
        orlop_api::patch::merge(&mut pod, &more);
        serde_json::from_value(pod).unwrap()
    }

    fn condition(status: &str, seconds: i64) -> Value {
        json!([{"type": "Ready", "status": status, "lastTransitionTime": ago(seconds).to_string()}])
    }

    #[test]
    fn pods_that_begin_that_go_and_that_nothing_is_known_of_are_told_apart() {
        let usage = usage(
            &metrics(&[
                ("a", "1"),
                ("b", "1"),
                ("c", "1"),
                ("d", "1"),
                ("e", "1"),
                ("f", "1"),
            ]),
            CPU,
        );
        let started = |seconds: i64, conditions: Value| json!({"status": {"startTime": ago(seconds).to_string(), "conditions": conditions}});
        let pods = [
            pod("a", json!({})),
            pod("b", started(60, condition("True", 10))),
            pod("c", started(60, condition("True", 30))),
            pod("d", started(1000, condition("False", 980))),
            pod("e", started(1000, condition("False", 500))),
            pod("f", json!({"metadata": {"deletionTimestamp": now().to_string()}})),
            pod("g", json!({})),
            pod("h", json!({"status": {"phase": "Pending"}})),
        ];
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let want = Sorted {
            ready: 3,
            unready: set(&["b", "d", "h"]),
            missing: set(&["g"]),
            ignored: set(&["f"]),
        };
        assert_eq!(sort(&pods, &usage, "cpu", PATIENCE, now()), want);
        assert_eq!(
            sort(&pods[..5], &usage, "memory", PATIENCE, now()).ready,
            5,
            "memory isn't used up by beginning"
        );
    }

    #[test]
    fn one_container_or_all_of_them_are_counted() {
        let two = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}},
            {"name": "side", "resources": {"requests": {"cpu": "50m"}}}]}});
        let of = |container| Part {
            resource: "cpu",
            container,
        };
        let pods = [pod("a", two)];
        assert_eq!(requests(&pods, of(None)).unwrap()["a"], 150);
        assert_eq!(requests(&pods, of(Some("side"))).unwrap()["a"], 50);
        let memory = Part {
            resource: "memory",
            container: None,
        };
        let missing = requests(&pods, memory).unwrap_err();
        assert_eq!(missing, "missing request for memory in container c of Pod a");
        let measured = metrics(&[("a", "20m")]);
        assert_eq!(usage(&measured, of(None))["a"].milli, 20);
        assert!(usage(&measured, of(Some("side"))).is_empty());
    }
}
