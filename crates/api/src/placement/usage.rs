//! What the pods of a node already take.

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::{NodeFacts, Reason};
use crate::pod::{self, HostPort, Resources, resources};
use crate::quantity::{Amount, amount};

/// Sum over the non-terminal pods of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeUsage {
    /// How many pods.
    pub pods: i64,
    /// Their requests.
    pub requested: Resources,
    /// Their host ports.
    pub ports: Vec<HostPort>,
}

impl NodeUsage {
    /// Sums up; terminal pods hold nothing and are left out.
    pub fn of<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut usage = NodeUsage::default();
        for p in pods {
            usage.add(p);
        }
        usage
    }

    /// Adds a pod unless it is terminal.
    pub fn add(&mut self, pod: &Pod) {
        if !pod::is_terminal(pod)
            && let Some(spec) = &pod.spec
        {
            self.add_spec(spec);
        }
    }

    /// Adds a spec.
    pub fn add_spec(&mut self, spec: &PodSpec) {
        self.pods += 1;
        resources::add(&mut self.requested, &pod::resource_requests(spec));
        self.ports.extend(pod::host_ports(spec));
    }

    /// Is one of the ports taken?
    pub fn has_port_conflict(&self, ports: &[HostPort]) -> bool {
        ports.iter().any(|p| self.ports.iter().any(|q| p.conflicts(q)))
    }

    /// What the node lacks for the spec: pod count first, then cpu, memory, ephemeral-storage, the rest by
    /// name. A pod without requests is only counted.
    pub fn insufficient(&self, spec: &PodSpec, node: &dyn NodeFacts) -> Vec<Reason> {
        let allocatable = node.allocatable();
        let of = |resource: &str| {
            allocatable
                .and_then(|a| a.get(resource))
                .map_or(Amount::ZERO, amount)
        };
        let mut reasons = Vec::new();
        let capacity = of("pods").value();
        if self.pods + 1 > capacity {
            reasons.push(Reason::TooManyPods {
                used: self.pods,
                capacity,
            });
        }
        let requests = pod::resource_requests(spec);
        let rank = |r: &str| match r {
            "cpu" => 0,
            "memory" => 1,
            "ephemeral-storage" => 2,
            _ => 3,
        };
        let mut wanted: Vec<(&String, &Amount)> = requests
            .iter()
            .filter(|(_, a)| !a.is_zero() && !a.is_negative())
            .collect();
        wanted.sort_by_key(|(name, _)| (rank(name), (*name).clone()));
        for (resource, request) in wanted {
            let used = self.requested.get(resource).copied().unwrap_or_default();
            let capacity = of(resource);
            if *request > capacity.minus(used) {
                let number = |a: Amount| {
                    if resource == "cpu" {
                        a.milli_value()
                    } else {
                        a.value()
                    }
                };
                reasons.push(Reason::Insufficient {
                    resource: resource.clone(),
                    requested: number(*request),
                    used: number(used),
                    capacity: number(capacity),
                });
            }
        }
        reasons
    }
}
