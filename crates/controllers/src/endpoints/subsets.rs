//! What the Endpoints of a Service say.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::backends::{Named, address, address_of, hostname, ports_of, target};
use super::pack::{Part, pack};
use super::{labels as label, print};
use crate::cache::Pod;

/// Most addresses of an Endpoints; readers that need more read slices.
pub const ADDRESSES_MAX: usize = 1000;

/// The Endpoints of the service, and its print.
pub fn endpoints(service: &Named<'_>, namespace: &str, pods: &[Pod]) -> (Endpoints, u128) {
    let publish_all = service.service.publish_not_ready;
    let mut reached: Vec<(Vec<EndpointPort>, EndpointAddress, bool)> = Vec::new();
    let mut over_capacity = false;
    let mut pods: Vec<&Pod> = pods.iter().collect();
    // Those that are ready fit in first; of more than fit in always the same.
    pods.sort_by(|a, b| (!a.is_ready(), &a.key).cmp(&(!b.is_ready(), &b.key)));
    for pod in pods {
        let Some(known) = address(pod).filter(|_| publish_all || !pod.terminating) else {
            continue;
        };
        let Some(&family) = service.service.families.first() else {
            continue;
        };
        let Some(ip) = address_of(known, family) else {
            continue;
        };
        let ports: Vec<EndpointPort> = ports_of(service.service, known)
            .into_iter()
            .map(|port| EndpointPort {
                name: port.name.filter(|name| !name.is_empty()),
                port: port.port.unwrap_or(0),
                protocol: port.protocol,
                app_protocol: port.app_protocol,
            })
            .collect();
        // A service with ports leads nowhere in a pod that has none of them.
        if ports.is_empty() && !service.service.ports.is_empty() {
            continue;
        }
        if reached.len() == ADDRESSES_MAX {
            over_capacity = true;
            break;
        }
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: hostname(service, known),
            node_name: pod.node.as_deref().map(str::to_owned),
            target_ref: Some(target(pod)),
        };
        reached.push((ports, address, publish_all || pod.is_ready()));
    }
    // Mostly all pods have the same ports: those are compared once for all of them.
    let alike = reached.chunk_by(|(ports, ..), (others, ..)| ports == others);
    let parts = alike.map(|reached| Part {
        ports: reached.first().map_or_else(Vec::new, |(ports, ..)| ports.clone()),
        addresses: reached
            .iter()
            .map(|(_, address, ready)| (address, *ready))
            .collect(),
    });
    let subsets: Vec<EndpointSubset> = pack(parts).into_iter().map(subset).collect();
    let mut labels = service.service.labels.clone();
    labels.remove(label::HEADLESS);
    if service.service.headless {
        labels.insert(label::HEADLESS.to_owned(), String::new());
    }
    labels.insert(
        label::ENDPOINTS_MANAGED_BY.to_owned(),
        label::ENDPOINTS_CONTROLLER.to_owned(),
    );
    let print = print::of(&(&labels, &subsets, over_capacity));
    let annotations =
        over_capacity.then(|| BTreeMap::from([(label::OVER_CAPACITY.to_owned(), "truncated".to_owned())]));
    let endpoints = Endpoints {
        metadata: ObjectMeta {
            name: Some(service.name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            annotations,
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    };
    (endpoints, print)
}

fn subset(part: Part<'_, EndpointPort>) -> EndpointSubset {
    let of = |wanted: bool| {
        let addresses = part.addresses.iter().filter(|(_, ready)| *ready == wanted);
        let addresses: Vec<EndpointAddress> = addresses.map(|(address, _)| (*address).clone()).collect();
        (!addresses.is_empty()).then_some(addresses)
    };
    EndpointSubset {
        addresses: of(true),
        not_ready_addresses: of(false),
        ports: (!part.ports.is_empty()).then_some(part.ports),
    }
}

#[cfg(test)]
mod tests {
    use super::super::backends::tests::{at, service};
    use super::*;
    use crate::owned::testing::pod;
    use orlop_client::informer::Projection;
    use serde_json::json;

    #[test]
    fn addresses_are_told_apart_by_readiness_and_ports() {
        let service = service(json!({"selector": {"a": "b"}, "clusterIP": "None",
            "ports": [{"port": 80, "targetPort": "http", "name": "web"}]}));
        let named = Named {
            name: "svc",
            service: &service,
        };
        let pods = [
            at(pod("b").ready(), "10.1.0.2", &[("http", 80)]),
            at(pod("a").ready(), "10.1.0.1", &[("http", 80)]),
            at(pod("new"), "10.1.0.3", &[("http", 80)]),
            at(pod("other").ready(), "10.1.0.4", &[("http", 81)]),
            at(pod("leaving").ready().terminating(), "10.1.0.5", &[("http", 80)]),
            at(pod("portless").ready(), "10.1.0.6", &[]),
        ];
        let (endpoints, print) = endpoints(&named, "ns", &pods);
        let ips = |addresses: &Option<Vec<EndpointAddress>>| -> Vec<String> {
            addresses
                .iter()
                .flatten()
                .map(|address| address.ip.clone())
                .collect()
        };
        let subsets = endpoints.subsets.clone().unwrap();
        assert_eq!(ips(&subsets[0].addresses), ["10.1.0.1", "10.1.0.2"]);
        assert_eq!(ips(&subsets[0].not_ready_addresses), ["10.1.0.3"]);
        assert_eq!(ips(&subsets[1].addresses), ["10.1.0.4"]);
        assert_eq!(
            serde_json::to_value(&endpoints.metadata.labels).unwrap(),
            json!({"team": "a", "service.kubernetes.io/headless": "",
                "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
        );
        assert_eq!(
            crate::cache::EndpointsView::project(endpoints).contents,
            print,
            "what is stored is recognised"
        );
    }

    #[test]
    fn more_than_a_thousand_addresses_are_cut_off() {
        let service = service(json!({"selector": {"a": "b"}, "ports": [{"port": 80}]}));
        let named = Named {
            name: "svc",
            service: &service,
        };
        let pods: Vec<Pod> = (0..1001)
            .map(|number| {
                let ip = format!("10.1.{}.{}", number / 256, number % 256);
                at(pod(&format!("p{number}")), &ip, &[])
            })
            .collect();
        let (endpoints, print) = endpoints(&named, "ns", &pods);
        let turned: Vec<Pod> = pods.iter().rev().cloned().collect();
        assert_eq!(
            super::endpoints(&named, "ns", &turned).1,
            print,
            "in whatever order they are found"
        );
        let subset = &endpoints.subsets.unwrap()[0];
        assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), ADDRESSES_MAX);
        assert_eq!(
            endpoints.metadata.annotations.unwrap()[label::OVER_CAPACITY],
            "truncated"
        );
    }
}
