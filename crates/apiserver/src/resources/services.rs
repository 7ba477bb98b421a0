//! Services (contract §18): what they are given, and what of it they keep.
mod addresses;
mod validate;

pub use addresses::{
    REQUIRE_DUAL_STACK, SINGLE_STACK, cluster_ips, family_of, family_policy, fill_families, is_headless,
    is_open,
};

use super::definition::{Field, PROXY_VERBS, Read, Resource, STATUS, Subresource};
use super::meaning::{fill, items_at};
use super::rules::Rules;
use addresses::keep_addresses;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Where Services are stored.
pub const STORAGE: &str = "services/specs";

pub const SERVICES: Resource = Resource::new("", "services", "service", "Service")
    .short(&["svc"])
    .in_all()
    .stored_under(STORAGE)
    .with_subresources(&[
        Subresource {
            name: "proxy",
            verbs: PROXY_VERBS,
            kind: Some(("", "v1", "ServiceProxyOptions")),
        },
        STATUS,
    ])
    .with_fields(&[
        Field {
            name: "spec.clusterIP",
            read: Read::Text("/spec/clusterIP"),
        },
        Field {
            name: "spec.type",
            read: Read::Text("/spec/type"),
        },
    ])
    .with_rules(Rules {
        name: super::NameRule::Label,
        create_on_update: true,
        delete_answers_object: true,
        default,
        prepare_create: |service| service["status"] = json!({"loadBalancer": {}}),
        prepare_update: keep_what_was_given,
        prepare_status: |service, _| default_ways_in(service),
        validate_create: validate::create,
        validate_update: validate::update,
        validate_status: validate::status,
        ..Rules::GENERIC
    });

/// Whether services of this type have addresses of the cluster.
pub fn has_cluster_ip(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName"
}

/// Whether services of this type can have ports on every node.
pub fn has_node_ports(service: &Value) -> bool {
    matches!(text(service, "type"), "NodePort" | "LoadBalancer")
}

/// Whether it is given a port on every node for each port that names none.
pub fn is_given_node_ports(service: &Value) -> bool {
    match text(service, "type") {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Whether load balancers ask each node whether it has pods of the service.
pub fn needs_health_check(service: &Value) -> bool {
    text(service, "type") == "LoadBalancer" && text(service, "externalTrafficPolicy") == "Local"
}

/// Whether it is reached from outside the cluster.
fn is_externally_accessible(service: &Value) -> bool {
    let external = service["spec"]["externalIPs"].as_array();
    has_node_ports(service)
        || (text(service, "type") == "ClusterIP" && external.is_some_and(|ips| !ips.is_empty()))
}

pub fn text<'v>(service: &'v Value, key: &str) -> &'v str {
    service["spec"][key].as_str().unwrap_or_default()
}

/// The address that somebody gave a Service. Zeros before its numbers mean nothing, as with upstream: they don't make
/// them octal.
pub fn cluster_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let mut parts = text.split('.');
    let mut octets = [0u8; 4];
    for octet in &mut octets {
        let digits = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        *octet = parts.next().filter(digits)?.parse().ok()?;
    }
    parts.next().is_none().then(|| IpAddr::from(octets))
}

fn default(service: &mut Value) {
    let spec = &mut service["spec"];
    fill(spec, "type", || json!("ClusterIP"));
    fill(spec, "sessionAffinity", || json!("None"));
    match spec["sessionAffinity"].as_str() {
        Some("ClientIP") if spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null() => {
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
        }
        Some("None") => remove(spec, "sessionAffinityConfig"),
        _ => {}
    }
    for port in items_at(spec, "/ports") {
        fill(port, "protocol", || json!("TCP"));
        let target = port["targetPort"].clone();
        if target.is_null() || target == 0 || target == "" {
            port["targetPort"] = port["port"].clone();
        }
    }
    match spec["type"].as_str() {
        // It once had one by default, and leads to nothing here.
        Some("ExternalName") => remove(spec, "internalTrafficPolicy"),
        _ => fill(spec, "internalTrafficPolicy", || json!("Cluster")),
    }
    if spec["type"] == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", || json!(true));
    }
    if is_externally_accessible(service) && text(service, "externalTrafficPolicy").is_empty() {
        service["spec"]["externalTrafficPolicy"] = json!("Cluster");
    }
    default_ways_in(service);
}

/// How a load balancer's addresses are reached, where that isn't said.
fn default_ways_in(service: &mut Value) {
    if text(service, "type") != "LoadBalancer" {
        return;
    }
    for way in items_at(service, "/status/loadBalancer/ingress") {
        if way["ip"].as_str().is_some_and(|ip| !ip.is_empty()) {
            fill(way, "ipMode", || json!("VIP"));
        }
    }
}

fn remove(object: &mut Value, key: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(key);
    }
}

/// An update that doesn't name addresses and ports keeps those that were given. What only means something for types that
/// the service no longer has goes, unless it was named anew.
fn keep_what_was_given(new: &mut Value, old: &Value) {
    keep_addresses(new, old);
    keep_ports(new, old);
    let drop = |new: &mut Value, had: bool, has: bool, key: &str| {
        if had && !has && new["spec"][key] == old["spec"][key] {
            remove(&mut new["spec"], key);
        }
    };
    let balanced = |service: &Value| text(service, "type") == "LoadBalancer";
    for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        let has = balanced(new);
        drop(new, balanced(old), has, key);
    }
    let has = needs_health_check(new);
    drop(new, needs_health_check(old), has, "healthCheckNodePort");
    let has = is_externally_accessible(new);
    drop(new, is_externally_accessible(old), has, "externalTrafficPolicy");
    if !balanced(new) && new["status"].is_object() {
        new["status"]["loadBalancer"] = json!({});
    }
}

fn keep_ports(new: &mut Value, old: &Value) {
    if !has_node_ports(old) {
        return;
    }
    let of_node = |port: &Value| port["nodePort"].as_i64().unwrap_or_default();
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    let ports = |service: &Value| service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let used = |service: &Value| -> HashSet<i64> {
        let all = ports(service);
        all.iter().map(of_node).filter(|port| *port != 0).collect()
    };
    let (before, named) = (used(old), used(new));
    if !has_node_ports(new) {
        if named.is_subset(&before) {
            items_at(new, "/spec/ports").for_each(|port| remove(port, "nodePort"));
        }
        return;
    }
    if is_given_node_ports(new) {
        let mut taken: HashSet<i64> = before.intersection(&named).copied().collect();
        let given: HashMap<String, i64> = ports(old)
            .iter()
            .map(|port| (name(port), of_node(port)))
            .collect();
        for port in items_at(new, "/spec/ports") {
            let had = given.get(&name(port)).copied().unwrap_or_default();
            if of_node(port) == 0 && had != 0 && taken.insert(had) {
                port["nodePort"] = json!(had);
            }
        }
    }
    let checked = |service: &Value| {
        service["spec"]["healthCheckNodePort"]
            .as_i64()
            .unwrap_or_default()
    };
    if needs_health_check(old) && needs_health_check(new) && checked(new) == 0 && checked(old) != 0 {
        new["spec"]["healthCheckNodePort"] = json!(checked(old));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_what_was_given() {
        let old = json!({"spec": {"type": "NodePort", "externalTrafficPolicy": "Cluster", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]}});
        keep_what_was_given(&mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.7"]));
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30080);
        assert_eq!(new["spec"]["ports"][1].get("nodePort"), None);
        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        keep_what_was_given(&mut new, &old);
        assert_eq!(new["spec"].get("externalTrafficPolicy"), None);
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
        assert_eq!(new["spec"]["clusterIP"], "10.96.0.7");
        let mut new = old.clone();
        new["spec"]["type"] = json!("ExternalName");
        keep_what_was_given(&mut new, &old);
        assert_eq!(new["spec"].get("clusterIP"), None);
    }

    #[test]
    fn a_load_balancer_that_wants_no_ports_of_nodes_loses_those_that_it_leaves_out() {
        let of = |allocates: bool, node_port: u16| {
            json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": allocates,
                "ports": [{"port": 80, "protocol": "TCP", "nodePort": node_port}]}})
        };
        for (had, has, named, kept) in [
            (true, true, 0, 30080),
            (false, false, 30080, 30080),
            (false, false, 0, 0),
            (true, false, 0, 0),
            (true, false, 30080, 30080),
        ] {
            let mut new = of(has, named);
            keep_what_was_given(&mut new, &of(had, 30080));
            assert_eq!(new["spec"]["ports"][0]["nodePort"], kept, "{had} {has} {named}");
        }
    }

    #[test]
    fn zeros_before_the_numbers_of_an_address_mean_nothing() {
        let address = |text: &str| cluster_address(text).map(|address| address.to_string());
        for (text, meant) in [
            ("10.96.0.011", "10.96.0.11"),
            ("010.096.000.0009", "10.96.0.9"),
            ("10.96.0.11", "10.96.0.11"),
            ("fd00::011", "fd00::11"),
        ] {
            assert_eq!(address(text).as_deref(), Some(meant), "{text}");
        }
        for bad in [
            "",
            "None",
            "10.96.0",
            "10.96.0.1.2",
            "10.96.0.+1",
            "10.96..1",
            "10.96.0.0256",
            "10.96.0.0x9",
        ] {
            assert_eq!(address(bad), None, "{bad}");
        }
        let old =
            json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.11", "clusterIPs": ["10.96.0.11"]}});
        for list in [json!(null), json!(["10.96.0.011"])] {
            let mut new =
                json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.011", "clusterIPs": list}});
            keep_what_was_given(&mut new, &old);
            assert_eq!(new, old, "it is the same address");
        }
    }
}
