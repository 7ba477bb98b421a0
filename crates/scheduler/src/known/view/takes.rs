//! What a pod takes of its node.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::PodSpec;
use orlop_api::pod::{self, HostPort, Resources};
use orlop_api::quantity::Amount;
use orlop_client::informer::Shared;

/// What pods weigh when nodes are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// In thousandths of a cpu.
    pub cpu: i64,
    /// In bytes.
    pub memory: i64,
}

/// What a container weighs that asks for nothing; otherwise all such pods would be put on one node.
const UNSAID: Weight = Weight {
    cpu: 100,
    memory: 200 << 20,
};

impl Weight {
    fn of(spec: &PodSpec, requested: &Resources) -> Self {
        let is_said = |resources: Option<&core::ResourceRequirements>, name: &str| {
            let requests = resources.and_then(|resources| resources.requests.as_ref());
            requests.is_some_and(|requests| requests.contains_key(name))
        };
        let unsaid = |name: &str| {
            let containers = spec.containers.iter();
            let silent = containers.filter(|container| !is_said(container.resources.as_ref(), name));
            match is_said(spec.resources.as_ref(), name) {
                true => 0,
                false => i64::try_from(silent.count()).unwrap_or(0),
            }
        };
        let said = |name: &str| requested.get(name).copied().unwrap_or(Amount::ZERO);
        Self {
            cpu: said("cpu").milli_value() + unsaid("cpu") * UNSAID.cpu,
            memory: said("memory").value() + unsaid("memory") * UNSAID.memory,
        }
    }

    /// Both, so many times: -1 takes `other` away.
    pub fn plus(self, other: Self, times: i64) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu.saturating_mul(times)),
            memory: self.memory.saturating_add(other.memory.saturating_mul(times)),
        }
    }
}

/// What a pod takes of its node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Takes {
    /// Requests, and what is assumed where there are none.
    pub weight: Weight,
    /// Requests.
    pub requested: Resources,
    /// Limits, which are only told.
    pub limits: Resources,
    /// Host ports.
    pub ports: Vec<HostPort>,
}

// What pods of one owner have in common.
static TAKES: Shared<Takes> = Shared::new();

impl Takes {
    /// What a pod with this spec takes.
    pub fn of(spec: &PodSpec) -> Arc<Self> {
        let requested = pod::resource_requests(spec);
        TAKES.share(Arc::new(Self {
            weight: Weight::of(spec, &requested),
            requested,
            limits: pod::resource_limits(spec),
            ports: pod::host_ports(spec),
        }))
    }

    /// Whether that leaves as much room to others: limits take none.
    pub fn leaves_the_same(&self, other: &Self) -> bool {
        self.weight == other.weight && self.requested == other.requested && self.ports == other.ports
    }
}
