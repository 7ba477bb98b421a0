//! Which pods a Service leads to, how, and at which ports.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ObjectReference, ServicePort};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cache::{Pod, PodAddress, ServiceView};

/// Kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// From what the API writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "IPv4" => Some(Self::V4),
            "IPv6" => Some(Self::V6),
            _ => None,
        }
    }

    /// Of an address.
    pub fn of(ip: &str) -> Self {
        if ip.contains(':') { Self::V6 } else { Self::V4 }
    }
}

/// Endpoints that have their ports in common, and so may share a slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The kind of their addresses.
    pub family: Family,
    /// Their ports.
    pub ports: Vec<EndpointPort>,
    /// Ordered by address.
    pub endpoints: Vec<Endpoint>,
}

/// A Service with its name.
pub struct Named<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is remembered of it.
    pub service: &'a ServiceView,
}

/// The address of that family, if the pod has one.
pub fn address_of(address: &PodAddress, family: Family) -> Option<&str> {
    address
        .ips
        .iter()
        .map(|ip| &**ip)
        .find(|ip| Family::of(ip) == family)
}

/// The ports at which `pod` is reached for the service; those it doesn't have are left out.
pub fn ports_of(service: &ServiceView, address: &PodAddress) -> Vec<EndpointPort> {
    service
        .ports
        .iter()
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(number_of(port, address)?),
                protocol: Some(protocol(port).to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The number that a port of the service has on the pod.
fn number_of(port: &ServicePort, address: &PodAddress) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => address
            .ports
            .iter()
            .find(|candidate| *candidate.name == **name && *candidate.protocol == *protocol(port))
            .map(|candidate| candidate.port),
    }
}

/// The pod's own name below that of the service.
pub fn hostname(service: &Named<'_>, address: &PodAddress) -> Option<String> {
    (address.subdomain.as_deref() == Some(service.name))
        .then(|| address.hostname.as_deref().map(str::to_owned))
        .flatten()
}

/// The pod, as what an endpoint stands for.
pub fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.key.namespace.to_string()),
        name: Some(pod.key.name.to_string()),
        uid: Some(pod.uid.to_string()),
        ..ObjectReference::default()
    }
}

/// Whether the pod can be reached at all, now or later.
pub fn address(pod: &Pod) -> Option<&PodAddress> {
    pod.address.as_deref().filter(|_| !pod.is_terminal())
}

/// The endpoints of the service, grouped; `zone` knows where a node is. Families without any
/// endpoint have no group.
pub fn groups(service: &Named<'_>, pods: &[Pod], zone: impl Fn(&str) -> Option<String>) -> Vec<Group> {
    let mut groups: BTreeMap<(Family, String), Group> = BTreeMap::new();
    for pod in pods {
        let Some(address) = address(pod) else { continue };
        for &family in &service.service.families {
            let Some(ip) = address_of(address, family) else {
                continue;
            };
            let ports = ports_of(service.service, address);
            let name = serde_json::to_string(&ports).unwrap_or_default();
            groups
                .entry((family, name))
                .or_insert_with(|| Group {
                    family,
                    ports,
                    endpoints: Vec::new(),
                })
                .endpoints
                .push(endpoint(service, pod, address, ip, &zone));
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    for group in &mut groups {
        group.endpoints.sort_by(|a, b| {
            (&a.addresses, super::print::member(a)).cmp(&(&b.addresses, super::print::member(b)))
        });
    }
    groups
}

fn endpoint(
    service: &Named<'_>,
    pod: &Pod,
    address: &PodAddress,
    ip: &str,
    zone: impl Fn(&str) -> Option<String>,
) -> Endpoint {
    let serving = pod.is_ready();
    let ready = service.service.publish_not_ready || (serving && !pod.terminating);
    let node = pod.node.as_deref().map(str::to_owned);
    let zone = node.as_deref().and_then(zone);
    Endpoint {
        addresses: vec![ip.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(pod.terminating),
        }),
        // Nobody is sent to one that is not ready, least of all from near by.
        hints: ready
            .then(|| hints(service.service, node.as_deref(), zone.as_deref()))
            .flatten(),
        hostname: hostname(service, address),
        target_ref: Some(target(pod)),
        node_name: node,
        zone,
        deprecated_topology: None,
    }
}

/// Who should use the endpoint first, if the service wants its traffic kept close.
fn hints(service: &ServiceView, node: Option<&str>, zone: Option<&str>) -> Option<EndpointHints> {
    let zones = |zone: &str| {
        vec![ForZone {
            name: zone.to_owned(),
        }]
    };
    match service.traffic_distribution.as_deref()? {
        "PreferClose" | "PreferSameZone" => Some(EndpointHints {
            for_zones: Some(zones(zone?)),
            for_nodes: None,
        }),
        "PreferSameNode" => Some(EndpointHints {
            for_nodes: Some(vec![ForNode {
                name: node?.to_owned(),
            }]),
            for_zones: zone.map(zones),
        }),
        _ => None,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cache::NamedPort;
    use crate::owned::testing::{PodBuilder, pod};
    use orlop_client::informer::Projection;
    use serde_json::{Value, json};

    pub fn service(spec: Value) -> ServiceView {
        let service =
            json!({"metadata": {"name": "svc", "namespace": "ns", "labels": {"team": "a"}}, "spec": spec});
        ServiceView::project(serde_json::from_value(service).unwrap())
    }

    pub fn at(pod: PodBuilder, ip: &str, ports: &[(&str, i32)]) -> Pod {
        pod.on("n1")
            .address(PodAddress {
                ips: [ip.into()].into(),
                hostname: Some("h".into()),
                subdomain: Some("svc".into()),
                ports: ports
                    .iter()
                    .map(|(name, port)| NamedPort {
                        name: (*name).into(),
                        port: *port,
                        protocol: "TCP".into(),
                    })
                    .collect(),
            })
            .build()
    }

    fn of(service: &ServiceView, pods: &[Pod]) -> Value {
        let named = Named { name: "svc", service };
        let zone = |node: &str| (node == "n1").then(|| "z".to_owned());
        let groups = groups(&named, pods, zone);
        groups
            .iter()
            .map(|group| json!([group.family.as_str(), group.ports, group.endpoints]))
            .collect()
    }

    #[test]
    fn an_endpoint_says_all_about_its_pod() {
        let service = service(json!({"selector": {"a": "b"}, "clusterIP": "10.0.0.1",
            "ports": [{"port": 80, "targetPort": "http", "name": "web"}]}));
        let pods = [at(pod("p").ready(), "10.1.0.1", &[("http", 8080)])];
        assert_eq!(
            of(&service, &pods),
            json!([["IPv4", [{"name": "web", "port": 8080, "protocol": "TCP"}], [{
                "addresses": ["10.1.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "hostname": "h", "nodeName": "n1", "zone": "z",
                "targetRef": {"kind": "Pod", "namespace": "ns", "name": "p", "uid": "p"}}]]])
        );
    }

    #[test]
    fn conditions_follow_readiness_and_deletion() {
        let conditions = |publish: bool, pod: PodBuilder| {
            let service = service(
                json!({"selector": {"a": "b"}, "publishNotReadyAddresses": publish,
                "ports": [{"port": 80}]}),
            );
            let found = of(&service, &[at(pod, "10.1.0.1", &[])]);
            let conditions = &found[0][2][0]["conditions"];
            ["ready", "serving", "terminating"].map(|name| conditions[name].as_bool())
        };
        let all = |a, b, c| [Some(a), Some(b), Some(c)];
        assert_eq!(conditions(false, pod("p")), all(false, false, false));
        assert_eq!(conditions(true, pod("p")), all(true, false, false));
        assert_eq!(
            conditions(false, pod("p").ready().terminating()),
            all(false, true, true)
        );
        assert_eq!(
            conditions(true, pod("p").ready().terminating()),
            all(true, true, true)
        );
        assert_eq!(conditions(false, pod("p").succeeded()), [None; 3]);
    }

    #[test]
    fn pods_with_different_ports_are_grouped_apart_and_missing_ports_left_out() {
        let service = service(json!({"selector": {"a": "b"},
            "ports": [{"port": 80, "targetPort": "http"}, {"port": 9, "targetPort": 9, "name": "x"}]}));
        let pods = [
            at(pod("a"), "10.1.0.3", &[("http", 8080)]),
            at(pod("b"), "10.1.0.2", &[("http", 8081)]),
            at(pod("c"), "10.1.0.1", &[("http", 8080)]),
            at(pod("d"), "10.1.0.4", &[]),
        ];
        let found = of(&service, &pods);
        let shape: Vec<(usize, usize)> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|group| {
                (
                    group[1].as_array().unwrap().len(),
                    group[2].as_array().unwrap().len(),
                )
            })
            .collect();
        assert_eq!(shape, [(2, 2), (2, 1), (1, 1)]);
        assert_eq!(found[0][2][0]["addresses"][0], "10.1.0.1", "ordered");
    }

    #[test]
    fn hints_keep_traffic_close_where_the_service_wants_it() {
        let hints = |distribution: &str| {
            let service = service(json!({"selector": {"a": "b"}, "ports": [{"port": 80}],
                "trafficDistribution": distribution}));
            of(&service, &[at(pod("p").ready(), "10.1.0.1", &[])])[0][2][0]["hints"].clone()
        };
        assert_eq!(hints("PreferClose"), json!({"forZones": [{"name": "z"}]}));
        assert_eq!(
            hints("PreferSameNode"),
            json!({"forNodes": [{"name": "n1"}], "forZones": [{"name": "z"}]})
        );
        assert_eq!(hints("else"), Value::Null);
        let near = service(json!({"trafficDistribution": "PreferSameZone"}));
        assert_eq!(
            of(&near, &[at(pod("p"), "10.1.0.1", &[])])[0][2][0].get("hints"),
            None,
            "it is not ready"
        );
        let annotated = json!({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}},
            "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}], "trafficDistribution": "PreferClose"}});
        let annotated = ServiceView::project(serde_json::from_value(annotated).unwrap());
        let found = of(&annotated, &[at(pod("p").ready(), "10.1.0.1", &[])]);
        assert_eq!(found[0][2][0].get("hints"), None, "the annotation comes first");
    }
}
