//! What is given once, whichever server gives it (contract §18): addresses and node ports of Services, and names of
//! definitions (`names`).
//!
//! What is taken is what the stored objects say. Every write that takes something also replaces one key, and only
//! over the version that was read before looking: of two that look at the same time, one looks again.
mod address;
mod names;
mod network;
mod ports;
mod range;

pub use network::{BadRanges, ServiceNetwork};
pub use range::{BadRange, ServiceRange};

use crate::ApiServer;
use crate::custom::DEFINITIONS;
use crate::encode;
use crate::http::Call;
use crate::resources::services::{self, has_cluster_ip, has_node_ports, needs_health_check};
use crate::resources::{self, Resource};
use crate::status::{ApiError, Cause};
use address::assign_addresses;
use orlop_store::{Compare, Op, Revision};
use ports::{Ports, assign_health_check, assign_ports};
use rand::Rng;
use serde_json::Value;
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The key that every write which takes something of the network replaces.
const GUARD: &str = "/registry/orlop/service-allocation";

/// What has to hold, and to be written, together with the object.
#[derive(Clone)]
pub struct Guard {
    pub compare: Compare,
    pub put: Op,
}

/// What other Services have.
#[derive(Debug, Default)]
struct Taken {
    addresses: HashSet<IpAddr>,
    /// A port of the nodes is one Service's, whatever the protocol.
    ports: HashSet<u16>,
}

/// Whether objects of this resource get something that is given once.
pub fn is_needed(resource: &Resource) -> bool {
    matches!(resource.storage, services::STORAGE | DEFINITIONS)
}

/// The version that the key of a guard had before one looked at what is taken.
struct Held(Revision);

/// Looks at a guard. What has been taken under it is in the cache then.
async fn hold(server: &ApiServer, guard: &str) -> Result<Held, ApiError> {
    let held = server.store.get(guard).await?;
    let held = held.map_or(Revision(0), |kv| kv.mod_revision);
    server.cache.reach(held.0).await;
    Ok(Held(held))
}

impl Held {
    /// Nobody has taken anything since, and who looked meanwhile has to look again.
    fn replaced(self, guard: &str, by: String) -> Guard {
        Guard {
            compare: Compare::mod_revision(guard, self.0),
            put: Op::put(guard, by.into_bytes().into(), None),
        }
    }
}

/// Gives an object what it needs and doesn't have. What is to be written together with it; nothing, if it needs nothing.
pub async fn allocate(call: &Call, object: &mut Value) -> Result<Vec<Guard>, ApiError> {
    match call.resource.storage {
        services::STORAGE => allocate_addresses(call, object).await,
        DEFINITIONS => names::allocate(call, object).await,
        _ => Ok(Vec::new()),
    }
}

async fn allocate_addresses(call: &Call, service: &mut Value) -> Result<Vec<Guard>, ApiError> {
    let server = &call.server;
    let held = hold(server, GUARD).await?;
    let own = crate::registry::text(service, "uid").to_owned();
    let mut taken = Taken::default();
    let mut before = None;
    let storage = super::get::storage(call)?;
    for object in server.cache.snapshot(storage, "").objects {
        let other = object.value();
        if crate::registry::text(&other, "uid") == own {
            before = Some(other);
        } else {
            note(&other, &mut taken);
        }
    }
    let random = rand::rng().random();
    let network = Network {
        ranges: ranges(server),
        is_dual: server.services.secondary.is_some(),
        node_ports: &server.services.node_ports,
    };
    let changed = assign(service, before.as_ref(), &taken, &network, random)
        .map_err(|causes| ApiError::invalid(call.resource, crate::registry::text(service, "name"), causes))?;
    if !changed {
        return Ok(Vec::new());
    }
    let guard = [held.replaced(GUARD, own)];
    Ok(guard
        .into_iter()
        .chain(address_objects(server, service))
        .collect())
}

/// The IPAddresses of a Service's addresses that aren't there yet: clients may ask for them as soon as they have the
/// Service.
fn address_objects(server: &ApiServer, service: &Value) -> Vec<Guard> {
    let ips = services::cluster_ips(service).into_iter();
    ips.filter_map(services::cluster_address)
        .filter_map(|ip| address_object(server, ip, &service["metadata"]))
        .collect()
}

fn address_object(server: &ApiServer, ip: IpAddr, owner: &Value) -> Option<Guard> {
    let resource = resources::find("networking.k8s.io", "v1", "ipaddresses")?;
    let storage = server.cache.storage(resource)?;
    let key = resource.key("", &ip.to_string());
    if server.cache.get(storage, &key).is_some() {
        return None;
    }
    let mut object = crate::upkeep::address_object(ip, owner);
    super::identity::assign(resource, &mut object);
    let store_key = resource.store_key(&key);
    Some(Guard {
        compare: Compare::mod_revision(&store_key, Revision(0)),
        put: Op::put(&store_key, encode::stored(resource, &object), None),
    })
}

/// Where one Service gets its addresses and ports.
struct Network<'n> {
    /// The server's own first.
    ranges: Vec<ServiceRange>,
    /// Whether the server's own are of both families. A ServiceCIDR of another family makes no cluster one of both.
    is_dual: bool,
    node_ports: &'n RangeInclusive<u16>,
}

/// The server's own ranges, and those of ServiceCIDRs.
fn ranges(server: &ApiServer) -> Vec<ServiceRange> {
    let mut ranges = server.services.ranges();
    let added = server.cache.values_of("networking.k8s.io", "servicecidrs");
    ranges.extend(added.iter().flat_map(offered));
    let mut seen = HashSet::new();
    ranges.retain(|range| seen.insert(*range));
    ranges
}

/// The ranges of a ServiceCIDR that addresses are still given from. What is too small to hold any is none.
pub fn offered(cidr: &Value) -> Vec<ServiceRange> {
    if !cidr["metadata"]["deletionTimestamp"].is_null() {
        return Vec::new();
    }
    let cidrs = cidr["spec"]["cidrs"].as_array().into_iter().flatten();
    cidrs.filter_map(|cidr| cidr.as_str()?.parse().ok()).collect()
}

fn note(service: &Value, taken: &mut Taken) {
    let addresses = services::cluster_ips(service).into_iter();
    taken
        .addresses
        .extend(addresses.filter_map(services::cluster_address));
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let of_nodes = ports.map(|port| &port["nodePort"]);
    let all = of_nodes.chain([&service["spec"]["healthCheckNodePort"]]);
    taken.ports.extend(all.filter_map(number));
}

/// A port that was named.
fn number(value: &Value) -> Option<u16> {
    value
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
}

/// Pure: gives a Service what it needs, given what others have and what it had. Answers whether it took anything.
fn assign(
    service: &mut Value,
    before: Option<&Value>,
    taken: &Taken,
    network: &Network<'_>,
    random: u64,
) -> Result<bool, Vec<Cause>> {
    let mut changed = false;
    if has_cluster_ip(service) {
        changed |= assign_addresses(service, before, taken, network, u128::from(random))?;
    }
    if has_node_ports(service) {
        let mut ports = Ports::new(before, taken, network.node_ports, random);
        assign_ports(service, before.is_none(), &mut ports)?;
        if needs_health_check(service) {
            assign_health_check(service, &mut ports)?;
        }
        changed |= ports.took;
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "s"}, "spec": spec})
    }

    fn assigned(spec: Value, taken: &Taken) -> Result<Value, String> {
        assigned_from(vec![ServiceRange::default()], spec, taken)
    }

    fn assigned_from(ranges: Vec<ServiceRange>, spec: Value, taken: &Taken) -> Result<Value, String> {
        let mut service = service(spec);
        let network = Network {
            ranges,
            is_dual: false,
            node_ports: &ServiceNetwork::default().node_ports,
        };
        match assign(&mut service, None, taken, &network, 5) {
            Ok(_) => Ok(service["spec"].clone()),
            Err(causes) => Err(format!("{}: {}", causes[0].field, causes[0].message)),
        }
    }

    #[test]
    fn addresses_come_from_the_upper_part_and_are_given_once() {
        let spec = assigned(json!({"type": "ClusterIP"}), &Taken::default()).unwrap();
        assert_eq!(spec["clusterIP"], "10.96.1.6");
        assert_eq!(spec["clusterIPs"], json!(["10.96.1.6"]));
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
        let mut taken = Taken::default();
        note(&service(spec), &mut taken);
        let spec = assigned(json!({"type": "ClusterIP"}), &taken).unwrap();
        assert_eq!(spec["clusterIP"], "10.96.1.7");
        assert_eq!(
            assigned(json!({"clusterIP": "10.96.1.6"}), &taken).unwrap_err(),
            "spec.clusterIPs: Invalid value: [\"10.96.1.6\"]: failed to allocate IP 10.96.1.6: provided IP is already allocated"
        );
        let otherwise = assigned(json!({"clusterIP": "10.96.1.006"}), &taken).unwrap_err();
        assert!(otherwise.ends_with("already allocated"), "{otherwise}");
        let spec = assigned(
            json!({"clusterIP": "10.96.0.011", "clusterIPs": ["10.96.0.011"]}),
            &taken,
        )
        .unwrap();
        assert_eq!(
            (&spec["clusterIP"], &spec["clusterIPs"]),
            (&json!("10.96.0.11"), &json!(["10.96.0.11"])),
            "as it is meant, which is not octal"
        );
        assert!(
            assigned(json!({"clusterIP": "11.0.0.1"}), &taken)
                .unwrap_err()
                .contains("is 10.96.0.0/12")
        );
        assert_eq!(
            assigned(json!({"clusterIP": "None"}), &taken).unwrap()["clusterIPs"],
            json!(["None"])
        );
        assert_eq!(
            assigned(json!({"type": "ExternalName"}), &taken)
                .unwrap()
                .get("clusterIP"),
            None
        );
    }

    #[test]
    fn a_service_cidr_adds_addresses_until_it_is_to_go() {
        let mut cidr =
            json!({"metadata": {}, "spec": {"cidrs": ["10.1.0.0/24", "fd00::/120", "10.2.0.0/32"]}});
        let added = offered(&cidr);
        assert_eq!(added.len(), 2, "one address alone is no range");
        cidr["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(offered(&cidr).is_empty());
        let small: ServiceRange = "10.0.0.0/30".parse().unwrap();
        let ranges = [vec![small], added].concat();
        let mut taken = Taken::default();
        let given = |spec: Value, taken: &Taken| assigned_from(ranges.clone(), spec, taken);
        for _ in 0..2 {
            let spec = given(json!({}), &taken).unwrap();
            assert!(
                spec["clusterIP"].as_str().unwrap().starts_with("10.0.0."),
                "{spec}"
            );
            note(&service(spec), &mut taken);
        }
        let spec = given(json!({}), &taken).unwrap();
        assert!(
            spec["clusterIP"].as_str().unwrap().starts_with("10.1.0."),
            "the first is full: {spec}"
        );
        let spec = given(json!({"clusterIP": "fd00::7"}), &taken).unwrap();
        assert_eq!(
            (&spec["clusterIPs"], &spec["ipFamilies"]),
            (&json!(["fd00::7"]), &json!(["IPv6"]))
        );
        assert!(
            given(json!({"clusterIP": "10.3.0.1"}), &taken)
                .unwrap_err()
                .ends_with("is 10.0.0.0/30,10.1.0.0/24,fd00::/120")
        );
    }

    #[test]
    fn node_ports_are_given_once_for_each_protocol() {
        let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}]);
        let spec = assigned(json!({"type": "NodePort", "ports": ports}), &Taken::default()).unwrap();
        let given: Vec<&Value> = spec["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| &p["nodePort"])
            .collect();
        assert_eq!(given, [30005, 30006, 30005], "one for both protocols of port 80");
        let mut taken = Taken::default();
        note(&service(spec), &mut taken);
        let again = json!({"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP", "nodePort": 30005}]});
        assert_eq!(
            assigned(again, &taken).unwrap_err(),
            "spec.ports[0].nodePort: Invalid value: 30005: provided port is already allocated"
        );
        let outside = json!({"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP", "nodePort": 80}]});
        assert!(assigned(outside, &taken).unwrap_err().contains("30000-32767"));
    }

    #[test]
    fn load_balancers_get_a_port_to_be_asked_at() {
        let local = |more: Value| {
            let mut spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                "ports": [{"port": 80, "protocol": "TCP"}]});
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            spec
        };
        let spec = assigned(local(json!({})), &Taken::default()).unwrap();
        assert_eq!(
            spec["healthCheckNodePort"], 30006,
            "another than the Service's own"
        );
        let mut taken = Taken::default();
        note(&service(spec), &mut taken);
        assert_eq!(
            assigned(local(json!({"healthCheckNodePort": 30006})), &taken).unwrap_err(),
            "spec.healthCheckNodePort: Invalid value: 30006: failed to allocate requested HealthCheck NodePort 30006: provided port is already allocated"
        );
        let none = assigned(
            local(json!({"allocateLoadBalancerNodePorts": false})),
            &Taken::default(),
        );
        assert_eq!(none.unwrap()["ports"][0].get("nodePort"), None);
    }

    #[test]
    fn families_follow_from_addresses_and_selectors() {
        let none = Taken::default();
        let of = |spec: Value| assigned(spec, &none);
        let headless = of(json!({"clusterIP": "None"})).unwrap();
        assert_eq!(
            (&headless["ipFamilyPolicy"], &headless["ipFamilies"]),
            (&json!("RequireDualStack"), &json!(["IPv4", "IPv6"]))
        );
        let selecting = of(json!({"clusterIP": "None", "selector": {"a": "b"}})).unwrap();
        assert_eq!(selecting["ipFamilies"], json!(["IPv4"]));
        let prefers = of(json!({"ipFamilyPolicy": "PreferDualStack"})).unwrap();
        assert_eq!(
            (&prefers["ipFamilyPolicy"], &prefers["ipFamilies"]),
            (&json!("PreferDualStack"), &json!(["IPv4"]))
        );
        assert_eq!(
            of(json!({"ipFamilyPolicy": "RequireDualStack"})).unwrap_err(),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"
        );
        assert_eq!(
            of(json!({"ipFamilies": ["IPv6"]})).unwrap_err(),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
        );
    }
}
