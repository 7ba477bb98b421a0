//! Services (contract §18): what they are given, and what of it they keep.
use super::definition::{Field, PROXY_VERBS, Read, Resource, STATUS, Subresource};
use super::meaning::{fill, items};
use super::rules::Rules;
use crate::status::{Cause, cause};
use serde_json::{Value, json};

/// Where Services are stored.
pub const STORAGE: &str = "services/specs";

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

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
        validate_create: validate,
        validate_update,
        ..Rules::GENERIC
    });

/// Whether services of this type have addresses of the cluster.
pub fn has_cluster_ip(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName"
}

/// Whether services of this type have ports on every node.
pub fn has_node_ports(service: &Value) -> bool {
    match service["spec"]["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

pub fn text<'v>(service: &'v Value, key: &str) -> &'v str {
    service["spec"][key].as_str().unwrap_or_default()
}

fn default(service: &mut Value) {
    let spec = &mut service["spec"];
    fill(spec, "type", || json!("ClusterIP"));
    fill(spec, "sessionAffinity", || json!("None"));
    if spec["sessionAffinity"] == "ClientIP" {
        fill(
            spec,
            "sessionAffinityConfig",
            || json!({"clientIP": {"timeoutSeconds": 10800}}),
        );
    }
    for port in items(&mut spec["ports"]) {
        fill(port, "protocol", || json!("TCP"));
        let target = port["targetPort"].clone();
        if target.is_null() || target == 0 || target == "" {
            port["targetPort"] = port["port"].clone();
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        fill(spec, "internalTrafficPolicy", || json!("Cluster"));
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        fill(spec, "externalTrafficPolicy", || json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", || json!(true));
    }
}

/// An update that doesn't name addresses and ports keeps those that were given; a change of the type gives them back.
fn keep_what_was_given(new: &mut Value, old: &Value) {
    if has_cluster_ip(new) && has_cluster_ip(old) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let value = old["spec"][key].clone();
            if new["spec"][key].as_str() == Some("") || new["spec"][key].is_null() {
                fill_or_replace(new, key, value);
            }
        }
    }
    if !has_cluster_ip(new)
        && let Some(spec) = new["spec"].as_object_mut()
        && spec.get("clusterIP") == old["spec"].get("clusterIP")
    {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(key);
        }
    }
    // What only means something for types that the service no longer has goes, unless it was named anew.
    let outside = |service: &Value| matches!(text(service, "type"), "NodePort" | "LoadBalancer");
    if outside(old)
        && !outside(new)
        && new["spec"]["externalTrafficPolicy"] == old["spec"]["externalTrafficPolicy"]
        && let Some(spec) = new["spec"].as_object_mut()
    {
        spec.remove("externalTrafficPolicy");
        spec.remove("allocateLoadBalancerNodePorts");
    }
    let before = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let (had, has) = (has_node_ports(old), has_node_ports(new));
    for port in items(&mut new["spec"]["ports"]) {
        let same = before
            .iter()
            .find(|b| b["port"] == port["port"] && b["protocol"] == port["protocol"]);
        let given = same.map_or(Value::Null, |b| b["nodePort"].clone());
        if had && has && port["nodePort"].as_i64().unwrap_or_default() == 0 && !given.is_null() {
            port["nodePort"] = given;
        } else if had
            && !has
            && port["nodePort"] == given
            && let Some(port) = port.as_object_mut()
        {
            port.remove("nodePort");
        }
    }
}

fn fill_or_replace(service: &mut Value, key: &str, value: Value) {
    if let Some(spec) = service["spec"].as_object_mut()
        && !value.is_null()
    {
        spec.insert(key.to_owned(), value);
    }
}

fn validate(service: &Value) -> Vec<Cause> {
    let spec = &service["spec"];
    let mut causes = Vec::new();
    let kind = text(service, "type");
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let headless = text(service, "clusterIP") == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.push(cause::required("spec.ports", ""));
    }
    if !TYPES.contains(&kind) {
        causes.push(cause::unsupported("spec.type", kind, TYPES));
    }
    if kind == "ExternalName" && text(service, "externalName").is_empty() {
        causes.push(cause::required("spec.externalName", ""));
    }
    if kind == "ExternalName" && !text(service, "clusterIP").is_empty() {
        causes.push(cause::forbidden(
            "spec.clusterIPs",
            "may not be set when `type` is 'ExternalName'",
        ));
    }
    if matches!(kind, "NodePort" | "LoadBalancer") && headless {
        causes.push(cause::invalid(
            "spec.clusterIPs[0]",
            &spec["clusterIP"],
            &format!("may not be set to 'None' for {kind} services"),
        ));
    }
    let affinity = text(service, "sessionAffinity");
    if !matches!(affinity, "None" | "ClientIP") {
        causes.push(cause::unsupported(
            "spec.sessionAffinity",
            affinity,
            &["ClientIP", "None"],
        ));
    }
    for (number, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{number}]");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            causes.push(cause::required(&format!("{field}.name"), ""));
        }
        if !name.is_empty() {
            let wrong = orlop_api::names::check_dns_label(name);
            causes.extend(
                wrong
                    .iter()
                    .map(|why| cause::invalid(&format!("{field}.name"), &port["name"], why)),
            );
        }
        if !port["port"].as_i64().is_some_and(|n| (1..=65535).contains(&n)) {
            causes.push(cause::invalid(
                &format!("{field}.port"),
                &port["port"],
                "must be between 1 and 65535, inclusive",
            ));
        }
        let protocol = port["protocol"].as_str().unwrap_or_default();
        let protocols = ["SCTP", "TCP", "UDP"];
        if !protocols.contains(&protocol) {
            causes.push(cause::unsupported(
                &format!("{field}.protocol"),
                protocol,
                &protocols,
            ));
        }
        let node_port = port["nodePort"].as_i64().unwrap_or_default();
        if node_port != 0 && matches!(kind, "ClusterIP" | "ExternalName") {
            causes.push(cause::forbidden(
                &format!("{field}.nodePort"),
                &format!("may not be used when `type` is '{kind}'"),
            ));
        }
        let earlier = &ports[..number];
        if earlier
            .iter()
            .any(|p| p["port"] == port["port"] && p["protocol"] == port["protocol"])
        {
            causes.push(Cause::new(
                "FieldValueDuplicate",
                field.clone(),
                format!(
                    "Duplicate value: {}",
                    json!({"port": port["port"], "protocol": protocol})
                ),
            ));
        }
        if !name.is_empty() && earlier.iter().any(|p| p["name"] == port["name"]) {
            causes.push(Cause::new(
                "FieldValueDuplicate",
                format!("{field}.name"),
                format!("Duplicate value: {}", port["name"]),
            ));
        }
    }
    causes
}

fn validate_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate(new);
    let (was, is) = (text(old, "clusterIP"), text(new, "clusterIP"));
    if has_cluster_ip(new) && has_cluster_ip(old) && !was.is_empty() && was != is {
        causes.push(cause::invalid(
            "spec.clusterIPs[0]",
            &json!([is]),
            "may not change once set",
        ));
    }
    causes
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
}
