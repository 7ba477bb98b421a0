//! Endpoints that somebody wrote by hand, as slices.

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use super::backends::{Family, Group};
use super::labels as label;
use super::pack::{Part, pack};
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

/// The endpoints of all subsets, grouped: ports of several subsets that lead to the same addresses share slices.
pub fn groups(subsets: &[EndpointSubset]) -> Vec<Group> {
    let parts = subsets.iter().map(|subset| {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let others = subset
            .not_ready_addresses
            .iter()
            .flatten()
            .map(|address| (address, false));
        let ports = subset.ports.iter().flatten().map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: port.protocol.clone().or_else(|| Some("TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        });
        Part {
            ports: ports.collect(),
            addresses: ready.chain(others).take(ADDRESSES_MAX).collect(),
        }
    });
    let mut groups = Vec::new();
    for part in pack(parts) {
        for family in [Family::V4, Family::V6] {
            let of_family = part
                .addresses
                .iter()
                .filter(|(address, _)| Family::of(&address.ip) == family);
            let endpoints: Vec<Endpoint> = of_family
                .map(|(address, ready)| endpoint(address, *ready))
                .collect();
            if !endpoints.is_empty() {
                groups.push(Group {
                    family,
                    ports: part.ports.clone(),
                    endpoints,
                });
            }
        }
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

    #[test]
    fn ports_of_several_subsets_that_lead_to_the_same_addresses_share_a_slice() {
        let slices = |first: &[&str], second: &[&str]| -> Vec<(usize, usize)> {
            let subset = |ips: &[&str], name: &str, port: i32| {
                let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
                json!({"addresses": addresses, "ports": [{"name": name, "port": port}]})
            };
            let subsets = json!([subset(first, "port1", 80), subset(second, "port2", 90)]);
            let subsets: Vec<EndpointSubset> = serde_json::from_value(subsets).unwrap();
            let groups = groups(&subsets);
            groups
                .iter()
                .map(|group| (group.ports.len(), group.endpoints.len()))
                .collect()
        };
        assert_eq!(slices(&["10.0.0.1"], &["10.0.0.1"]), [(2, 1)]);
        assert_eq!(slices(&["10.0.0.1"], &["10.0.0.2"]), [(1, 1), (1, 1)]);
        assert_eq!(slices(&["10.0.0.1", "10.0.0.2"], &["10.0.0.1"]), [(1, 1), (1, 2)]);
    }

    #[test]
    fn an_address_that_is_not_ready_somewhere_is_not_ready() {
        let subsets: Vec<EndpointSubset> = serde_json::from_value(json!([
            {"addresses": [{"ip": "10.0.0.1"}]}, {"notReadyAddresses": [{"ip": "10.0.0.1"}]},
        ]))
        .unwrap();
        let groups = groups(&subsets);
        assert_eq!((groups.len(), groups[0].ports.len()), (1, 0));
        assert_eq!(
            groups[0].endpoints[0].conditions.as_ref().unwrap().ready,
            Some(false)
        );
    }
}
