//! What all pods ask for, as metrics under upstream's names: what clusters are billed and planned by.

use std::fmt;
use std::sync::{Arc, OnceLock};

use orlop_api::pod::Resources;
use orlop_api::quantity::Amount;
use orlop_client::informer::{Cached, Store};
use orlop_metrics::text::{Kind, Sample, Text};

use crate::known::view::{PodView, Takes};

/// Where it is found.
pub const PAGE: &str = "/metrics/resources";

/// What is told, once a scheduler that was given it knows the pods.
#[derive(Clone, Default)]
pub struct PodResources(Arc<OnceLock<Arc<Store<PodView>>>>);

impl PodResources {
    /// The page; nothing is on it before.
    pub fn page(&self) -> String {
        self.0.get().map_or_else(String::new, |pods| page(pods))
    }

    pub(crate) fn are_of(&self, pods: &Arc<Store<PodView>>) {
        // One who runs again tells what the first one saw, and nobody does.
        let _ = self.0.set(pods.clone());
    }
}

impl fmt::Debug for PodResources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PodResources")
    }
}

impl PartialEq for PodResources {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A pod that isn't over, and what is told of it.
struct Row<'a> {
    pod: &'a Cached<PodView>,
    /// Empty while it has none.
    node: &'a str,
    scheduler: &'a str,
    priority: String,
    takes: &'a Takes,
}

impl<'a> Row<'a> {
    fn of(pod: &'a Cached<PodView>) -> Option<Self> {
        let (node, scheduler, priority, takes) = match &pod.object {
            PodView::Pending(pending) => ("", &pending.scheduler, pending.priority(), &pending.takes),
            PodView::Gated(gated) => ("", &gated.scheduler, gated.priority, &gated.takes),
            PodView::Bound {
                node,
                scheduler,
                priority,
                takes,
                ..
            } => (&**node, scheduler, *priority, takes),
            PodView::Other => return None,
        };
        Some(Self {
            pod,
            node,
            scheduler,
            priority: priority.to_string(),
            takes,
        })
    }

    fn samples(&self, of: impl Fn(&'a Takes) -> &'a Resources) -> impl Iterator<Item = Sample<'_>> {
        let asked = of(self.takes).iter();
        asked
            .filter(|(_, amount)| **amount != Amount::ZERO)
            .map(move |(resource, amount)| Sample {
                labels: vec![
                    ("namespace", &*self.pod.key.namespace),
                    ("pod", &*self.pod.key.name),
                    ("node", self.node),
                    ("scheduler", self.scheduler),
                    ("priority", self.priority.as_str()),
                    ("resource", resource.as_str()),
                    ("unit", unit(resource)),
                ],
                value: amount.approximate(),
                at: None,
            })
    }
}

/// In which unit a resource is told, if its name says that.
fn unit(resource: &str) -> &'static str {
    match resource {
        "cpu" => "cores",
        "memory" | "storage" | "ephemeral-storage" => "bytes",
        name if name.starts_with("hugepages-") => "bytes",
        name if name.starts_with("attachable-volumes-") => "integer",
        _ => "",
    }
}

/// The page.
fn page(pods: &Store<PodView>) -> String {
    let mut pods: Vec<Arc<Cached<PodView>>> = pods.all();
    pods.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let rows: Vec<Row<'_>> = pods.iter().filter_map(|pod| Row::of(pod)).collect();
    let mut text = Text::default();
    text.family(
        "kube_pod_resource_limit",
        "What pods may use at most, overhead included.",
        Kind::Gauge,
        rows.iter().flat_map(|row| row.samples(|takes| &takes.limits)),
    );
    text.family(
        "kube_pod_resource_request",
        "What pods ask for and nodes keep for them, overhead included.",
        Kind::Gauge,
        rows.iter().flat_map(|row| row.samples(|takes| &takes.requested)),
    );
    text.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value, phase: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": spec, "status": {"phase": phase}})
    }

    #[test]
    fn every_pod_that_is_not_over_tells_what_it_asks_for() {
        let asks = json!([
            {"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "1Gi", "example.com/gpu": "2"},
                "limits": {"memory": "2Gi", "example.com/gpu": "2", "cpu": "0"}}}]);
        let bound = json!({"nodeName": "n", "schedulerName": "mine", "priority": -7, "overhead": {"cpu": "50m"},
            "containers": asks});
        let gated = json!({"schedulingGates": [{"name": "g"}], "containers": [
            {"name": "c", "resources": {"requests": {"hugepages-2Mi": "4Mi"}}}]});
        let waits =
            json!({"containers": [{"name": "c", "resources": {"requests": {"ephemeral-storage": "1500m"}}}]});
        let over = json!({"nodeName": "n", "containers": asks});
        let pods = Store::<PodView>::new();
        for pod in [
            pod("gated", gated, "Pending"),
            pod("bound", bound, "Running"),
            pod("over", over, "Succeeded"),
            pod("waits", waits, "Pending"),
        ] {
            pods.apply(serde_json::from_value(pod).unwrap());
        }
        let resources = PodResources::default();
        assert_eq!(resources.page(), "", "nobody knows the pods yet");
        resources.are_of(&Arc::new(pods));
        let page = resources.page();
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let bound = |resource: &str, unit: &str, value: &str| {
            format!(
                "{{namespace=\"ns\",pod=\"bound\",node=\"n\",scheduler=\"mine\",priority=\"-7\",\
                 resource=\"{resource}\",unit=\"{unit}\"}} {value}"
            )
        };
        let free = |pod: &str, resource: &str, value: &str| {
            format!(
                "{{namespace=\"ns\",pod=\"{pod}\",node=\"\",scheduler=\"default-scheduler\",priority=\"0\",\
                 resource=\"{resource}\",unit=\"bytes\"}} {value}"
            )
        };
        let want = [
            format!("kube_pod_resource_limit{}", bound("example.com/gpu", "", "2")),
            format!(
                "kube_pod_resource_limit{}",
                bound("memory", "bytes", "2147483648")
            ),
            format!("kube_pod_resource_request{}", bound("cpu", "cores", "0.3")),
            format!("kube_pod_resource_request{}", bound("example.com/gpu", "", "2")),
            format!(
                "kube_pod_resource_request{}",
                bound("memory", "bytes", "1073741824")
            ),
            format!(
                "kube_pod_resource_request{}",
                free("gated", "hugepages-2Mi", "4194304")
            ),
            format!(
                "kube_pod_resource_request{}",
                free("waits", "ephemeral-storage", "1.5")
            ),
        ];
        assert_eq!(lines, want);
        assert!(
            page.contains("# TYPE kube_pod_resource_request gauge\n"),
            "{page}"
        );
    }
}
