//! IPAddresses: an object for each address that a Service has, by which it is seen who has which
//! (`kubectl get ipaddresses`). The Services decide; these follow them.
use super::own_call;
use crate::ApiServer;
use crate::resources;
use crate::resources::services::{cluster_address, cluster_ips};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub const KINDS: &[(&str, &str)] = &[("", "services"), ("networking.k8s.io", "ipaddresses")];

const PATH: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// Upstream's name of who keeps them.
const ALLOCATOR: &str = "ipallocator.k8s.io";

/// Brings the objects in line with the Services; answers whether all are.
pub async fn follow(server: Arc<ApiServer>) -> bool {
    let Some(addresses) = resources::find("networking.k8s.io", "v1", "ipaddresses") else {
        return true;
    };
    let Some(storage) = server.cache.storage(addresses) else {
        return true;
    };
    let services = server.cache.core_objects("services", "");
    let services: Vec<Value> = services.iter().map(|service| service.value()).collect();
    let existing = server.cache.snapshot(storage, "").objects;
    let existing: Vec<Value> = existing.iter().map(|address| address.value()).collect();
    let plan = plan(&services, &existing);
    let mut done = true;
    for name in &plan.surplus {
        let code = own_call(&server, Method::DELETE, &format!("{PATH}/{name}"), Value::Null).await;
        done &= code.is_success() || code == StatusCode::NOT_FOUND;
    }
    for object in plan.missing {
        let code = own_call(&server, Method::POST, PATH, object).await;
        // Another server has been faster.
        done &= code.is_success() || code == StatusCode::CONFLICT;
    }
    done
}

#[derive(Debug, Default, PartialEq)]
struct Plan {
    missing: Vec<Value>,
    /// Names.
    surplus: Vec<String>,
}

/// Pure: what is to be made and deleted. Objects that somebody else keeps stay, unless a Service has their address.
fn plan(services: &[Value], existing: &[Value]) -> Plan {
    let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
    for service in services {
        for ip in cluster_ips(service).into_iter().filter_map(cluster_address) {
            wanted.insert(ip.to_string(), object(ip, &service["metadata"]));
        }
    }
    let mut plan = Plan::default();
    for address in existing {
        let name = address["metadata"]["name"].as_str().unwrap_or_default();
        let own = address["metadata"]["labels"][MANAGED_BY] == ALLOCATOR;
        match wanted.get(name) {
            Some(object) if object["spec"]["parentRef"] == address["spec"]["parentRef"] => {
                wanted.remove(name);
            }
            // It is made anew, since who has it cannot be changed.
            Some(_) => plan.surplus.push(name.to_owned()),
            None if own && address["metadata"]["deletionTimestamp"].is_null() => {
                plan.surplus.push(name.to_owned());
            }
            None => {}
        }
    }
    plan.missing = wanted.into_values().collect();
    plan
}

/// The object of an address of a Service, by its metadata.
pub fn object(ip: IpAddr, service: &Value) -> Value {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": ip.to_string(), "labels": {FAMILY: family, MANAGED_BY: ALLOCATOR}},
        "spec": {"parentRef": {
            "resource": "services", "namespace": service["namespace"], "name": service["name"]}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, ips: &[&str]) -> Value {
        json!({"metadata": {"namespace": "n", "name": name}, "spec": {"clusterIPs": ips}})
    }

    #[test]
    fn each_address_of_a_service_has_its_object_and_no_other_is_kept() {
        let services = [
            service("a", &["10.96.0.7"]),
            service("headless", &["None"]),
            service("b", &["10.96.0.8", "fd00::8"]),
        ];
        let first = plan(&services, &[]);
        let names: Vec<&Value> = first.missing.iter().map(|o| &o["metadata"]["name"]).collect();
        assert_eq!(names, ["10.96.0.7", "10.96.0.8", "fd00::8"]);
        assert_eq!(
            first.missing[2]["metadata"]["labels"],
            json!({FAMILY: "IPv6", MANAGED_BY: ALLOCATOR})
        );
        assert_eq!(
            first.missing[0]["spec"],
            json!({"parentRef": {"resource": "services", "namespace": "n", "name": "a"}})
        );
        assert_eq!(plan(&services, &first.missing), Plan::default());
        // A Service is gone, another has its address.
        let services = [service("c", &["10.96.0.7"])];
        let then = plan(&services, &first.missing);
        assert_eq!(then.surplus, ["10.96.0.7", "10.96.0.8", "fd00::8"]);
        assert_eq!(then.missing.len(), 1);
        assert_eq!(then.missing[0]["spec"]["parentRef"]["name"], "c");
        let mut foreign = first.missing[1].clone();
        foreign["metadata"]["labels"] = Value::Null;
        assert_eq!(plan(&[], &[foreign]), Plan::default());
    }
}
