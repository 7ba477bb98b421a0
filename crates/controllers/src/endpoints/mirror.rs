//! Endpoints that somebody wrote by hand, as slices.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use super::backends::{Family, Group};
use super::labels as label;
use super::slices::Origin;
use crate::cache::CustomEndpoints;

/// Most addresses of a subset that are mirrored.
const ADDRESSES_MAX: usize = 1000;

/// What the slices share.
pub fn origin(custom: &CustomEndpoints, namespace: &str) -> Origin {
    let mut labels = custom.labels.clone();
    labels.insert(label::SERVICE_NAME.to_owned(), custom.owner.name.clone());
    labels.insert(label::MANAGED_BY.to_owned(), label::MIRROR_CONTROLLER.to_owned());
    let mut annotations = custom.annotations.clone();
    for key in [
        label::TRIGGER_TIME,
        "kubectl.kubernetes.io/last-applied-configuration",
    ] {
        annotations.remove(key);
    }
    Origin {
        name: custom.owner.name.clone(),
        namespace: namespace.to_owned(),
        labels,
        annotations,
        owner: custom.owner.clone(),
    }
}

/// The endpoints of all subsets, grouped.
pub fn groups(subsets: &[EndpointSubset]) -> Vec<Group> {
    let mut groups: BTreeMap<(Family, String), Group> = BTreeMap::new();
    for subset in subsets {
        let ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port.port),
                protocol: port.protocol.clone().or_else(|| Some("TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        let key = serde_json::to_string(&ports).unwrap_or_default();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let others = subset
            .not_ready_addresses
            .iter()
            .flatten()
            .map(|address| (address, false));
        for (address, ready) in ready.chain(others).take(ADDRESSES_MAX) {
            let family = Family::of(&address.ip);
            groups
                .entry((family, key.clone()))
                .or_insert_with(|| Group {
                    family,
                    ports: ports.clone(),
                    endpoints: Vec::new(),
                })
                .endpoints
                .push(endpoint(address, ready));
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    for group in &mut groups {
        group.endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        group.endpoints.dedup_by(|a, b| a.addresses == b.addresses);
    }
    groups
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: None,
            terminating: None,
        }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_mirrored_by_family_and_ports() {
        let subsets: Vec<EndpointSubset> = serde_json::from_value(json!([
            {"addresses": [{"ip": "10.0.0.2"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.1"}],
                "ports": [{"port": 80, "name": "web"}]},
        ]))
        .unwrap();
        let groups: Vec<_> = groups(&subsets)
            .into_iter()
            .map(|group| json!([group.family.as_str(), group.ports, group.endpoints]))
            .collect();
        let ports = json!([{"name": "web", "port": 80, "protocol": "TCP"}]);
        assert_eq!(
            json!(groups),
            json!([
                ["IPv4", ports, [{"addresses": ["10.0.0.1"], "conditions": {"ready": false}},
                    {"addresses": ["10.0.0.2"], "conditions": {"ready": true}}]],
                ["IPv6", ports, [{"addresses": ["fd00::1"], "conditions": {"ready": true}}]],
            ])
        );
    }
}
