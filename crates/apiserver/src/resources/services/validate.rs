//! What a Service may be.
mod addresses;

use super::{is_externally_accessible, is_headless, needs_health_check, text};
use crate::resources::validation::{self, address, invalid, list};
use crate::status::{Cause, cause};
use orlop_api::names;
use serde_json::{Value, json};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: &[&str] = &["Cluster", "Local"];
const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
/// Seconds that a client may be led to the same pod.
const AFFINITY_SECONDS_MAX: i64 = 86400;
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

/// A new Service, defaulted.
pub fn create(service: &Value) -> Vec<Cause> {
    whole(service, None)
}

/// `before`: what it was, if it isn't new.
fn whole(service: &Value, before: Option<&Value>) -> Vec<Cause> {
    let spec = &service["spec"];
    let kind = text(service, "type");
    let mut causes = of_type(service, kind);
    for number in 0..list(spec, "ports").len() {
        causes.extend(port(service, number));
    }
    let labels = orlop_api::validation::label_map(&spec["selector"], "spec.selector");
    causes.extend(labels.into_iter().map(Cause::from));
    causes.extend(affinity(service));
    causes.extend(addresses::named(service, before));
    for (number, ip) in list(spec, "externalIPs").iter().enumerate() {
        let field = format!("spec.externalIPs[{number}]");
        causes.extend(address::reachable_ip(ip.as_str().unwrap_or_default(), &field));
    }
    if !TYPES.contains(&kind) {
        causes.push(cause::unsupported("spec.type", kind, TYPES));
    }
    causes.extend(source_ranges(service, kind));
    for member in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if kind != "LoadBalancer" && !spec[member].is_null() {
            causes.push(cause::forbidden(&format!("spec.{member}"), ONLY_LOAD_BALANCER));
        }
    }
    if let Some(class) = spec["loadBalancerClass"].as_str()
        && kind == "LoadBalancer"
    {
        causes.extend(invalid(
            "spec.loadBalancerClass",
            class,
            names::check_qualified_name(class),
        ));
    }
    causes.extend(traffic(service));
    causes
}

/// `(new, old)`.
pub fn update(new: &Value, old: &Value) -> Vec<Cause> {
    // Where what is named makes no sense, it doesn't matter that it is something else.
    let mut causes = match addresses::named(new, Some(old)).is_empty() {
        true => addresses::changed(new, old),
        false => Vec::new(),
    };
    let both = |of: fn(&Value) -> bool| of(new) && of(old);
    let balanced = |service: &Value| text(service, "type") == "LoadBalancer";
    let (before, after) = (&old["spec"], &new["spec"]);
    if both(balanced) && before["loadBalancerClass"] != after["loadBalancerClass"] {
        causes.push(cause::invalid(
            "spec.loadBalancerClass",
            &after["loadBalancerClass"],
            "may not change once set",
        ));
    }
    if both(needs_health_check) && before["healthCheckNodePort"] != after["healthCheckNodePort"] {
        causes.push(cause::forbidden("spec.healthCheckNodePort", "field is immutable"));
    }
    causes.extend(whole(new, Some(old)));
    causes
}

/// The status of a Service, `(new, old)`.
pub fn status(new: &Value, _old: &Value) -> Vec<Cause> {
    let ingress = list(&new["status"]["loadBalancer"], "ingress");
    let all = "status.loadBalancer.ingress";
    if text(new, "type") != "LoadBalancer" {
        let hint = "may only be used when `spec.type` is 'LoadBalancer'";
        return ingress
            .iter()
            .take(1)
            .map(|_| cause::forbidden(all, hint))
            .collect();
    }
    let mut causes = Vec::new();
    for (number, way) in ingress.iter().enumerate() {
        let field = |member: &str| format!("{all}[{number}].{member}");
        let member = |name: &str| way[name].as_str().unwrap_or_default();
        let (ip, mode, host) = (member("ip"), member("ipMode"), member("hostname"));
        if !ip.is_empty() {
            causes.extend(address::ip(ip, &field("ip")));
        }
        if ip.is_empty() && !mode.is_empty() {
            let hint = "may not be specified when `ip` is not set";
            causes.push(cause::forbidden(&field("ipMode"), hint));
        } else if !matches!(mode, "" | "Proxy" | "VIP") {
            causes.push(cause::unsupported(&field("ipMode"), mode, &["Proxy", "VIP"]));
        }
        if !host.is_empty() {
            causes.extend(invalid(
                &field("hostname"),
                host,
                names::check_dns_subdomain(host),
            ));
            if host.parse::<std::net::IpAddr>().is_ok() {
                let why = "must be a DNS name, not an IP address";
                causes.push(cause::invalid(&field("hostname"), &json!(host), why));
            }
        }
    }
    causes
}

/// What each type has and hasn't.
fn of_type(service: &Value, kind: &str) -> Vec<Cause> {
    let spec = &service["spec"];
    let mut causes = Vec::new();
    let headless = is_headless(service);
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        causes.push(cause::required("spec.ports", ""));
    }
    if matches!(kind, "NodePort" | "LoadBalancer") && headless {
        causes.push(cause::invalid(
            "spec.clusterIPs[0]",
            &spec["clusterIP"],
            &format!("may not be set to 'None' for {kind} services"),
        ));
    }
    if kind != "ExternalName" {
        return causes;
    }
    let set = |member: &str| match &spec[member] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    for (members, field) in [
        (&["clusterIP", "clusterIPs"][..], "spec.clusterIPs"),
        (&["ipFamilies"], "spec.ipFamilies"),
        (&["ipFamilyPolicy"], "spec.ipFamilyPolicy"),
    ] {
        if members.iter().any(|member| set(member)) {
            let hint = "may not be set for ExternalName services";
            causes.push(cause::forbidden(field, hint));
        }
    }
    let name = text(service, "externalName");
    match name.strip_suffix('.').unwrap_or(name) {
        "" => causes.push(cause::required("spec.externalName", "")),
        name => causes.extend(invalid(
            "spec.externalName",
            name,
            names::check_dns_subdomain(name),
        )),
    }
    causes
}

fn port(service: &Value, number: usize) -> Vec<Cause> {
    let ports = list(&service["spec"], "ports");
    let (port, earlier) = (&ports[number], &ports[..number]);
    let field = |member: &str| format!("spec.ports[{number}].{member}");
    let member = |name: &str| port[name].as_str().unwrap_or_default();
    let mut causes = Vec::new();
    let name = member("name");
    if name.is_empty() && ports.len() > 1 {
        causes.push(cause::required(&field("name"), ""));
    }
    if !name.is_empty() {
        causes.extend(invalid(&field("name"), name, names::check_dns_label(name)));
        if earlier.iter().any(|p| p["name"] == port["name"]) {
            causes.push(cause::duplicate(&field("name"), &port["name"]));
        }
    }
    if !is_port(&port["port"]) {
        causes.push(cause::invalid(&field("port"), &port["port"], PORT_RANGE));
    }
    causes.extend(validation::port::protocol(port, &field("protocol")));
    match &port["targetPort"] {
        Value::String(name) => {
            causes.extend(invalid(&field("targetPort"), name, names::check_port_name(name)));
        }
        target if !is_port(target) => {
            causes.push(cause::invalid(&field("targetPort"), target, PORT_RANGE));
        }
        _ => {}
    }
    causes.extend(validation::port::application_protocol(
        port,
        &field("appProtocol"),
    ));
    let kind = text(service, "type");
    let of_node = |port: &Value| port["nodePort"].as_i64().unwrap_or_default();
    let asked = of_node(port);
    if asked != 0 && kind == "ClusterIP" {
        let hint = "may not be used when `type` is 'ClusterIP'";
        causes.push(cause::forbidden(&field("nodePort"), hint));
    }
    let alike = |p: &&Value| p["protocol"] == port["protocol"];
    if asked != 0 && earlier.iter().filter(alike).any(|p| of_node(p) == asked) {
        causes.push(cause::duplicate(&field("nodePort"), &port["nodePort"]));
    }
    if earlier.iter().filter(alike).any(|p| p["port"] == port["port"]) {
        let value = json!({"port": port["port"], "protocol": member("protocol")});
        causes.push(cause::duplicate(&format!("spec.ports[{number}]"), value));
    }
    causes
}

fn is_port(value: &Value) -> bool {
    value.as_i64().is_some_and(|port| (1..=65535).contains(&port))
}

fn affinity(service: &Value) -> Vec<Cause> {
    let config = &service["spec"]["sessionAffinityConfig"];
    match text(service, "sessionAffinity") {
        "None" if !config.is_null() => vec![cause::forbidden(
            "spec.sessionAffinityConfig",
            "must not be set when session affinity is None",
        )],
        "None" => Vec::new(),
        "ClientIP" => {
            let seconds = &config["clientIP"]["timeoutSeconds"];
            let valid = seconds
                .as_i64()
                .is_some_and(|seconds| (1..=AFFINITY_SECONDS_MAX).contains(&seconds));
            let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            (!valid)
                .then(|| cause::invalid(field, seconds, &why))
                .into_iter()
                .collect()
        }
        other => vec![cause::unsupported(
            "spec.sessionAffinity",
            other,
            &["ClientIP", "None"],
        )],
    }
}

fn source_ranges(service: &Value, kind: &str) -> Vec<Cause> {
    let field = "spec.LoadBalancerSourceRanges";
    let ranges = list(&service["spec"], "loadBalancerSourceRanges");
    let mut causes = Vec::new();
    if !ranges.is_empty() && kind != "LoadBalancer" {
        causes.push(cause::forbidden(field, ONLY_LOAD_BALANCER));
    }
    for (number, range) in ranges.iter().enumerate() {
        let range = range.as_str().unwrap_or_default().trim();
        causes.extend(address::cidr(range, &format!("{field}[{number}]")));
    }
    causes
}

/// Where traffic from inside and outside goes.
fn traffic(service: &Value) -> Vec<Cause> {
    let spec = &service["spec"];
    let mut causes = Vec::new();
    let outside = text(service, "externalTrafficPolicy");
    if !is_externally_accessible(service) && !outside.is_empty() {
        causes.push(cause::invalid(
            "spec.externalTrafficPolicy",
            &spec["externalTrafficPolicy"],
            "may only be set for externally-accessible services",
        ));
    }
    let checked = spec["healthCheckNodePort"].as_i64().unwrap_or_default();
    if checked != 0 && !needs_health_check(service) {
        causes.push(cause::invalid(
            "spec.healthCheckNodePort",
            &spec["healthCheckNodePort"],
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ));
    }
    for (member, supported) in [
        ("externalTrafficPolicy", POLICIES),
        ("internalTrafficPolicy", POLICIES),
        ("trafficDistribution", DISTRIBUTIONS),
    ] {
        if let Some(value) = spec[member].as_str()
            && !(value.is_empty() && member == "externalTrafficPolicy")
            && !supported.contains(&value)
        {
            causes.push(cause::unsupported(&format!("spec.{member}"), value, supported));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    fn of(spec: Value) -> Vec<String> {
        let mut service = json!({"spec": spec});
        super::super::default(&mut service);
        shown(&create(&service))
    }

    #[test]
    fn what_belongs_to_one_type_is_refused_for_others() {
        let ports = json!([{"port": 80}]);
        assert!(of(json!({"ports": ports, "externalIPs": ["1.1.1.1"]})).is_empty());
        assert!(of(json!({"type": "ExternalName", "externalName": "foo.example.com."})).is_empty());
        for (spec, expected) in [
            (
                json!({"ports": ports, "loadBalancerClass": "a.b/c"}),
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
            ),
            (
                json!({"ports": ports, "externalTrafficPolicy": "Local"}),
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
            ),
            (
                json!({"ports": ports, "type": "NodePort", "healthCheckNodePort": 30000}),
                "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            ),
            (
                json!({"type": "ExternalName", "externalName": "a", "clusterIP": "10.0.0.1"}),
                "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            ),
            (
                json!({"ports": ports, "externalIPs": ["127.0.0.1"]}),
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ),
            (
                json!({"ports": ports, "trafficDistribution": "Near"}),
                "spec.trafficDistribution: Unsupported value: \"Near\": supported values: \"PreferClose\", \"PreferSameNode\", \"PreferSameZone\"",
            ),
            (
                json!({"ports": ports, "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
            ),
            (
                json!({"ports": [{"port": 80, "targetPort": "a_b"}]}),
                "spec.ports[0].targetPort: Invalid value: \"a_b\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            ),
        ] {
            assert_eq!(of(spec), [expected]);
        }
    }

    #[test]
    fn some_fields_stay_as_they_were_set() {
        let service = |spec: Value| {
            let mut service = json!({"spec": {"ports": [{"port": 80}], "type": "LoadBalancer"}});
            for (key, value) in spec.as_object().unwrap() {
                service["spec"][key] = value.clone();
            }
            super::super::default(&mut service);
            service
        };
        let local = |port: i64| {
            service(
                json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": port, "loadBalancerClass": "a.b/c"}),
            )
        };
        assert!(update(&local(30001), &local(30001)).is_empty());
        assert_eq!(
            shown(&update(&local(30002), &local(30001))),
            ["spec.healthCheckNodePort: Forbidden: field is immutable"]
        );
        let other = service(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30001}));
        assert_eq!(
            shown(&update(&other, &local(30001))),
            ["spec.loadBalancerClass: Invalid value: null: may not change once set"]
        );
    }

    #[test]
    fn only_load_balancers_have_ways_in() {
        let told = |kind: &str, ingress: Value| {
            let service = json!({"spec": {"type": kind}, "status": {"loadBalancer": {"ingress": ingress}}});
            shown(&status(&service, &json!({})))
        };
        assert!(told("LoadBalancer", json!([{"ip": "203.0.113.1", "ipMode": "VIP"}])).is_empty());
        assert_eq!(
            told("ClusterIP", json!([{"ip": "203.0.113.1"}])),
            ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
        );
        assert_eq!(
            told("LoadBalancer", json!([{"hostname": "1.2.3.4", "ipMode": "VIP"}])),
            [
                "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
                "status.loadBalancer.ingress[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
            ]
        );
    }
}
