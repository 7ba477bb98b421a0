//! Services, and what tells where they lead.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{EndpointSubset, ServicePort};
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use orlop_api::selector::have_all;
use orlop_client::informer::{ObjectKey, Projection};

use super::small::BY_NAMESPACE;
use crate::endpoints::{Family, labels as label, print};

/// Index: slices by `<namespace>/<service>`, those of one manager each.
pub const SLICES_OF_SERVICE: usize = 0;
/// Index: mirrored slices by `<namespace>/<endpoints>`.
pub const MIRRORED_SLICES: usize = 1;

/// What is remembered of a Service.
#[derive(Debug, Clone)]
pub struct ServiceView {
    /// metadata.labels.
    pub labels: BTreeMap<String, String>,
    /// metadata.creationTimestamp.
    pub created: Option<Timestamp>,
    /// Which pods it leads to; `None` if somebody else says where it leads.
    pub selector: Option<BTreeMap<String, String>>,
    /// spec.ports.
    pub ports: Vec<ServicePort>,
    /// It has no address of its own.
    pub headless: bool,
    /// The families of its addresses, the first one first.
    pub families: Vec<Family>,
    /// It leads to pods that aren't ready, too.
    pub publish_not_ready: bool,
    /// spec.trafficDistribution, unless an annotation asks for the older way.
    pub traffic_distribution: Option<String>,
}

impl ServiceView {
    /// Whether it leads to a pod with these labels.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector
            .as_ref()
            .is_some_and(|selector| have_all(labels, selector))
    }
}

impl Projection for ServiceView {
    type Object = core::Service;
    const INDEXES: usize = 1;

    fn project(service: core::Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        let external = spec.type_.as_deref() == Some("ExternalName");
        let mut families: Vec<Family> = spec
            .ip_families
            .iter()
            .flatten()
            .filter_map(|family| Family::parse(family))
            .collect();
        if families.is_empty() {
            let v6 = spec.cluster_ip.as_deref().is_some_and(|ip| ip.contains(':'));
            families.push(if v6 { Family::V6 } else { Family::V4 });
        }
        let annotations = service.metadata.annotations.unwrap_or_default();
        let by_topology = label::TOPOLOGY
            .iter()
            .find_map(|key| annotations.get(*key))
            .is_some_and(|mode| matches!(mode.as_str(), "Auto" | "auto"));
        Self {
            labels: service.metadata.labels.unwrap_or_default(),
            created: service.metadata.creation_timestamp.map(|time| time.0),
            selector: spec.selector.filter(|selector| !selector.is_empty() && !external),
            ports: spec.ports.unwrap_or_default(),
            headless: spec.cluster_ip.as_deref() == Some("None"),
            families,
            publish_not_ready: spec.publish_not_ready_addresses == Some(true),
            traffic_distribution: spec.traffic_distribution.filter(|_| !by_topology),
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        add(BY_NAMESPACE, &key.namespace);
    }
}

/// What is remembered of an EndpointSlice.
#[derive(Debug, Clone)]
pub struct SliceView {
    /// Who keeps it.
    pub managed_by: Option<Box<str>>,
    /// The Service or Endpoints it is of.
    pub service: Option<Box<str>>,
    /// addressType.
    pub family: Option<Family>,
    /// Tells its ports from those of others.
    pub ports: u128,
    /// Tells all that it says from what it should say.
    pub contents: u128,
    /// What its endpoints stand for, in their order: uids of pods, or addresses.
    pub members: Box<[Box<str>]>,
}

impl Projection for SliceView {
    type Object = discovery::EndpointSlice;
    const INDEXES: usize = 2;

    fn project(slice: discovery::EndpointSlice) -> Self {
        let labels = slice.metadata.labels.unwrap_or_default();
        let annotations = slice.metadata.annotations.unwrap_or_default();
        let endpoints = slice.endpoints.unwrap_or_default();
        let ports = slice.ports.unwrap_or_default();
        Self {
            managed_by: labels
                .get(label::MANAGED_BY)
                .map(|manager| manager.as_str().into()),
            service: labels
                .get(label::SERVICE_NAME)
                .map(|service| service.as_str().into()),
            family: Family::parse(&slice.address_type),
            ports: print::of(&ports),
            contents: print::slice(&labels, &annotations, &endpoints, &ports),
            members: endpoints
                .iter()
                .map(|endpoint| print::member(endpoint).into())
                .collect(),
        }
    }

    fn index(&self, key: &ObjectKey, add: &mut dyn FnMut(usize, &str)) {
        let index = match self.managed_by.as_deref() {
            Some(label::SLICE_CONTROLLER) => SLICES_OF_SERVICE,
            Some(label::MIRROR_CONTROLLER) => MIRRORED_SLICES,
            _ => return,
        };
        if let Some(service) = &self.service {
            add(index, &format!("{}/{service}", key.namespace));
        }
    }
}

/// What is remembered of an Endpoints.
#[derive(Debug, Clone)]
pub struct EndpointsView {
    /// Tells what it says from what it should say.
    pub contents: u128,
    /// Whether it is kept by the controller.
    pub managed: bool,
    /// What somebody else wrote, to be mirrored.
    pub custom: Option<Box<CustomEndpoints>>,
}

/// Endpoints that somebody wrote by hand.
#[derive(Debug, Clone)]
pub struct CustomEndpoints {
    /// metadata.labels.
    pub labels: BTreeMap<String, String>,
    /// metadata.annotations.
    pub annotations: BTreeMap<String, String>,
    /// subsets.
    pub subsets: Vec<EndpointSubset>,
    /// What the slices point at.
    pub owner: OwnerReference,
}

impl Projection for EndpointsView {
    type Object = core::Endpoints;

    fn project(endpoints: core::Endpoints) -> Self {
        let labels = endpoints.metadata.labels.unwrap_or_default();
        let annotations = endpoints.metadata.annotations.unwrap_or_default();
        let subsets = endpoints.subsets.unwrap_or_default();
        let over_capacity = annotations.contains_key(label::OVER_CAPACITY);
        let managed = labels.contains_key(label::ENDPOINTS_MANAGED_BY);
        let skipped = labels.get(label::SKIP_MIRROR).is_some_and(|skip| skip == "true")
            || annotations.contains_key(label::LEADER);
        Self {
            contents: print::of(&(&labels, &subsets, over_capacity)),
            managed,
            custom: (!managed && !skipped).then(|| {
                Box::new(CustomEndpoints {
                    owner: OwnerReference {
                        api_version: "v1".to_owned(),
                        kind: "Endpoints".to_owned(),
                        name: endpoints.metadata.name.unwrap_or_default(),
                        uid: endpoints.metadata.uid.unwrap_or_default(),
                        controller: Some(true),
                        block_owner_deletion: Some(true),
                    },
                    labels,
                    annotations,
                    subsets,
                })
            }),
        }
    }
}
