//! `networking.k8s.io` (contract §18).
use super::definition::{Field, Read, Resource, STATUS};
use super::meaning::{fill, items_at};
use super::rules::{Rules, StatusMetadata};
use super::validation::{address, port};
use crate::status::{Cause, cause};
use orlop_api::names::{check_dns_subdomain, is_dns_subdomain};
use serde_json::{Value, json};
use std::net::IpAddr;

const GROUP: &str = "networking.k8s.io";

pub const INGRESSES: Resource = Resource::new(GROUP, "ingresses", "ingress", "Ingress")
    .short(&["ing"])
    .stored_under("ingress")
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        prepare_create: |ingress| ingress["status"] = json!({"loadBalancer": {}}),
        validate_create: validate_ingress,
        validate_update: |new, _| validate_ingress(new),
        warnings: ingress_warnings,
        ..Rules::WITH_GENERATION
    });

pub const INGRESSCLASSES: Resource = Resource::new(GROUP, "ingressclasses", "ingressclass", "IngressClass")
    .cluster_scoped()
    .with_rules(Rules {
        default: |class| {
            if class["spec"]["parameters"].is_object() {
                fill(&mut class["spec"]["parameters"], "scope", || json!("Cluster"));
            }
        },
        validate_create: validate_class,
        validate_update: |new, old| {
            let mut causes = validate_class(new);
            let controller = &new["spec"]["controller"];
            if *controller != old["spec"]["controller"] {
                causes.push(cause::invalid(
                    "spec.controller",
                    controller,
                    "field is immutable",
                ));
            }
            causes
        },
        ..Rules::WITH_GENERATION
    });

/// An address that belongs to somebody; its name is the address.
pub const IPADDRESSES: Resource = Resource::new(GROUP, "ipaddresses", "ipaddress", "IPAddress")
    .cluster_scoped()
    .short(&["ip"])
    .with_fields(&[Field {
        name: "spec.parentRef.name",
        read: Read::Text("/spec/parentRef/name"),
    }])
    .with_rules(Rules {
        validate_create: validate_address,
        validate_update: |new, old| fixed(new, old, "parentRef"),
        ..Rules::GENERIC
    });

pub const SERVICECIDRS: Resource = Resource::new(GROUP, "servicecidrs", "servicecidr", "ServiceCIDR")
    .cluster_scoped()
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        status_metadata: StatusMetadata::Kept,
        prepare_create: |range| range["status"] = json!({}),
        validate_create: validate_cidr,
        validate_update: validate_cidr_update,
        ..Rules::GENERIC
    });

pub const NETWORKPOLICIES: Resource =
    Resource::new(GROUP, "networkpolicies", "networkpolicy", "NetworkPolicy")
        .short(&["netpol"])
        .with_rules(Rules {
            default: default_policy,
            validate_create: validate_policy,
            validate_update: |new, _| validate_policy(new),
            ..Rules::WITH_GENERATION
        });

fn default_policy(policy: &mut Value) {
    let spec = &mut policy["spec"];
    let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
    fill(spec, "policyTypes", || match egress {
        true => json!(["Ingress", "Egress"]),
        false => json!(["Ingress"]),
    });
    for direction in ["/ingress", "/egress"] {
        for rule in items_at(spec, direction) {
            for port in items_at(rule, "/ports") {
                fill(port, "protocol", || json!("TCP"));
            }
        }
    }
}

fn list<'v>(object: &'v Value, member: &str) -> impl Iterator<Item = (usize, &'v Value)> + Clone {
    object[member].as_array().into_iter().flatten().enumerate()
}

fn text<'v>(object: &'v Value, member: &str) -> &'v str {
    object[member].as_str().unwrap_or_default()
}

fn fixed(new: &Value, old: &Value, member: &str) -> Vec<Cause> {
    if new["spec"][member] == old["spec"][member] {
        return Vec::new();
    }
    let field = format!("spec.{member}");
    vec![cause::invalid(&field, &new["spec"][member], "field is immutable")]
}

fn validate_ingress(ingress: &Value) -> Vec<Cause> {
    let spec = &ingress["spec"];
    let mut causes = Vec::new();
    let rules = spec["rules"].as_array().is_some_and(|rules| !rules.is_empty());
    if !rules && !spec["defaultBackend"].is_object() {
        causes.push(cause::invalid(
            "spec",
            &json!([]),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if spec["defaultBackend"].is_object() {
        causes.extend(validate_backend(&spec["defaultBackend"], "spec.defaultBackend"));
    }
    for (at, rule) in list(spec, "rules") {
        let field = format!("spec.rules[{at}]");
        causes.extend(validate_host(text(rule, "host"), &format!("{field}.host")));
        let http = &rule["http"];
        if !http.is_object() {
            continue;
        }
        let field = format!("{field}.http.paths");
        if list(http, "paths").next().is_none() {
            causes.push(cause::required(&field, ""));
        }
        for (at, path) in list(http, "paths") {
            causes.extend(validate_path(path, &format!("{field}[{at}]")));
        }
    }
    for (at, tls) in list(spec, "tls") {
        for (host_at, host) in list(tls, "hosts") {
            let field = format!("spec.tls[{at}].hosts[{host_at}]");
            causes.extend(validate_host(host.as_str().unwrap_or_default(), &field));
        }
    }
    let class = text(spec, "ingressClassName");
    if spec["ingressClassName"].is_string() {
        for why in check_dns_subdomain(class) {
            causes.push(cause::invalid("spec.ingressClassName", &json!(class), &why));
        }
    }
    let annotated = &ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"];
    let both = annotated.is_string() && spec["ingressClassName"].is_string();
    if both && annotated != &spec["ingressClassName"] {
        causes.push(cause::invalid(
            "metadata.annotations[kubernetes.io/ingress.class]",
            annotated,
            "must match `ingressClassName` when both are specified",
        ));
    }
    causes
}

fn validate_host(host: &str, field: &str) -> Vec<Cause> {
    if host.is_empty() {
        return Vec::new();
    }
    if host.parse::<IpAddr>().is_ok() {
        let why = "must be a DNS name, not an IP address";
        return vec![cause::invalid(field, &json!(host), why)];
    }
    if let Some(rest) = host.strip_prefix("*.") {
        return match is_dns_subdomain(rest) {
            true => Vec::new(),
            false => vec![cause::invalid(
                field,
                &json!(host),
                "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            )],
        };
    }
    let problems = check_dns_subdomain(host);
    problems
        .iter()
        .map(|why| cause::invalid(field, &json!(host), why))
        .collect()
}

fn validate_path(path: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let sorts = ["Exact", "ImplementationSpecific", "Prefix"];
    let (sort, of) = (text(path, "pathType"), text(path, "path"));
    let at_path = format!("{field}.path");
    match sort {
        "" => causes.push(cause::required(
            &format!("{field}.pathType"),
            "pathType must be specified",
        )),
        "Exact" | "Prefix" => {
            if !of.starts_with('/') {
                causes.push(cause::invalid(&at_path, &json!(of), "must be an absolute path"));
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if of.contains(bad) {
                    let why = format!("must not contain '{bad}'");
                    causes.push(cause::invalid(&at_path, &json!(of), &why));
                }
            }
            for bad in ["/..", "/."] {
                if of.ends_with(bad) {
                    causes.push(cause::invalid(
                        &at_path,
                        &json!(of),
                        &format!("cannot end with '{bad}'"),
                    ));
                }
            }
        }
        "ImplementationSpecific" => {
            if !of.is_empty() && !of.starts_with('/') {
                causes.push(cause::invalid(&at_path, &json!(of), "must be an absolute path"));
            }
        }
        other => causes.push(cause::unsupported(&format!("{field}.pathType"), other, &sorts)),
    }
    causes.extend(validate_backend(&path["backend"], &format!("{field}.backend")));
    causes
}

fn validate_backend(backend: &Value, field: &str) -> Vec<Cause> {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => vec![cause::invalid(
            field,
            &json!(""),
            "cannot set both resource and service backends",
        )],
        (false, false) => vec![cause::required(
            field,
            "either service or resource backend is required",
        )],
        (false, true) => ["kind", "name"]
            .iter()
            .filter(|member| text(resource, member).is_empty())
            .map(|member| cause::required(&format!("{field}.resource.{member}"), ""))
            .collect(),
        (true, false) => {
            let mut causes = Vec::new();
            let field = format!("{field}.service");
            if text(service, "name").is_empty() {
                causes.push(cause::required(&format!("{field}.name"), ""));
            }
            let port = &service["port"];
            let number = port["number"].as_i64().unwrap_or_default();
            let at = format!("{field}.port");
            match (text(port, "name"), number) {
                ("", 0) => causes.push(cause::required(&at, "port name or number is required")),
                ("", number) if !(1..=65535).contains(&number) => causes.push(cause::invalid(
                    &format!("{at}.number"),
                    &json!(number),
                    "must be between 1 and 65535, inclusive",
                )),
                ("", _) | (_, 0) => {}
                _ => causes.push(cause::invalid(
                    &at,
                    &json!(""),
                    "cannot set both port name & port number",
                )),
            }
            causes
        }
    }
}

fn ingress_warnings(ingress: &Value) -> Vec<String> {
    let annotation = &ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"];
    match annotation.is_string() {
        true => vec![
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
                .to_owned(),
        ],
        false => Vec::new(),
    }
}

fn validate_class(class: &Value) -> Vec<Cause> {
    let spec = &class["spec"];
    let mut causes = Vec::new();
    let controller = text(spec, "controller");
    match controller.split_once('/') {
        _ if controller.is_empty() => causes.push(cause::required("spec.controller", "")),
        Some((domain, path)) if is_dns_subdomain(domain) && !path.is_empty() => {}
        _ => causes.push(cause::invalid(
            "spec.controller",
            &json!(controller),
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        )),
    }
    let parameters = &spec["parameters"];
    if !parameters.is_object() {
        return causes;
    }
    for member in ["kind", "name"] {
        if text(parameters, member).is_empty() {
            let field = format!("spec.parameters.{member}");
            causes.push(cause::required(&field, &format!("{member} is required")));
        }
    }
    let namespace = parameters["namespace"].is_string();
    match text(parameters, "scope") {
        "Namespace" if !namespace => causes.push(cause::required(
            "spec.parameters.namespace",
            "`parameters.scope` is set to 'Namespace'",
        )),
        "Cluster" if namespace => causes.push(cause::forbidden(
            "spec.parameters.namespace",
            "`parameters.scope` is set to 'Cluster'",
        )),
        "Namespace" | "Cluster" => {}
        other => causes.push(cause::unsupported(
            "spec.parameters.scope",
            other,
            &["Cluster", "Namespace"],
        )),
    }
    causes
}

fn validate_address(address: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = text(&address["metadata"], "name");
    if name.parse::<IpAddr>().is_err() {
        causes.push(cause::invalid(
            "metadata.name",
            &json!(name),
            "must be a valid IP address",
        ));
    }
    let parent = &address["spec"]["parentRef"];
    if !parent.is_object() {
        causes.push(cause::required("spec.parentRef", ""));
        return causes;
    }
    for member in ["resource", "name"] {
        if text(parent, member).is_empty() {
            causes.push(cause::required(&format!("spec.parentRef.{member}"), ""));
        }
    }
    causes
}

fn validate_cidr(range: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let count = list(&range["spec"], "cidrs").count();
    if count == 0 {
        causes.push(cause::required("spec.cidrs", "at least one CIDR required"));
    }
    if count > 2 {
        let why = "may only hold up to 2 values";
        causes.push(cause::invalid("spec.cidrs", &range["spec"]["cidrs"], why));
    }
    let mut families = Vec::new();
    for (at, cidr) in list(&range["spec"], "cidrs") {
        let field = format!("spec.cidrs[{at}]");
        let text = cidr.as_str().unwrap_or_default();
        causes.extend(address::cidr(text, &field));
        families.push(text.contains(':'));
    }
    if families.len() == 2 && families[0] == families[1] {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96";
        causes.push(cause::invalid("spec.cidrs", &range["spec"]["cidrs"], why));
    }
    causes
}

/// A range of one family may be given the other one. Nothing else of it changes.
fn validate_cidr_update(new: &Value, old: &Value) -> Vec<Cause> {
    let (is, was) = (&new["spec"]["cidrs"], &old["spec"]["cidrs"]);
    let count = |cidrs: &Value| cidrs.as_array().map_or(0, Vec::len);
    match (count(was), count(is)) {
        (before, after) if before == after => (0..after)
            .filter(|&at| is[at] != was[at])
            .map(|at| cause::invalid(&format!("spec.cidrs[{at}]"), &is[at], "field is immutable"))
            .collect(),
        (1, 2) if is[0] != was[0] => vec![cause::invalid(
            "spec.cidrs[0]",
            &is[0],
            "primary CIDR can not be changed",
        )],
        (1, 2) => validate_cidr(new),
        _ => vec![cause::invalid("spec.cidrs", is, "field is immutable")],
    }
}

fn validate_policy(policy: &Value) -> Vec<Cause> {
    let spec = &policy["spec"];
    let mut causes = Vec::new();
    for (direction, side) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in list(spec, direction) {
            let field = format!("spec.{direction}[{at}]");
            for (at, port) in list(rule, "ports") {
                causes.extend(validate_policy_port(port, &format!("{field}.ports[{at}]")));
            }
            for (at, peer) in list(rule, side) {
                causes.extend(validate_peer(peer, &format!("{field}.{side}[{at}]")));
            }
        }
    }
    let types = list(spec, "policyTypes");
    if types.clone().count() > 2 {
        let why = "may not specify more than two policyTypes";
        causes.push(cause::invalid("spec.policyTypes", &spec["policyTypes"], why));
        return causes;
    }
    for (at, sort) in types {
        if !matches!(sort.as_str(), Some("Ingress" | "Egress")) {
            let sort = sort.as_str().unwrap_or_default();
            let field = format!("spec.policyTypes[{at}]");
            causes.push(cause::unsupported(&field, sort, &["Egress", "Ingress"]));
        }
    }
    causes
}

fn validate_policy_port(port: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if !text(port, "protocol").is_empty() {
        causes.extend(port::protocol(port, &format!("{field}.protocol")));
    }
    let range = "must be between 1 and 65535, inclusive";
    let number = port["port"].as_i64();
    if number.is_some_and(|n| !(1..=65535).contains(&n)) {
        causes.push(cause::invalid(&format!("{field}.port"), &port["port"], range));
    }
    let Some(end) = port["endPort"].as_i64() else {
        return causes;
    };
    let at_end = format!("{field}.endPort");
    match number {
        None if port["port"].is_null() => {
            causes.push(cause::required(
                &format!("{field}.port"),
                "must be specified when `endPort` is specified",
            ));
        }
        None => causes.push(cause::invalid(
            &at_end,
            &json!(end),
            "may not be specified when `port` is non-numeric",
        )),
        Some(number) if end < number => {
            let why = "must be greater than or equal to `port`";
            causes.push(cause::invalid(&at_end, &json!(end), why));
        }
        Some(_) if !(1..=65535).contains(&end) => causes.push(cause::invalid(&at_end, &json!(end), range)),
        Some(_) => {}
    }
    causes
}

fn validate_peer(peer: &Value, field: &str) -> Vec<Cause> {
    let selects = peer["podSelector"].is_object() || peer["namespaceSelector"].is_object();
    let block = peer["ipBlock"].is_object();
    match (selects, block) {
        (false, false) => vec![cause::required(field, "must specify a peer")],
        (true, true) => {
            vec![cause::forbidden(
                field,
                "may not specify both ipBlock and another peer",
            )]
        }
        (false, true) => validate_block(&peer["ipBlock"], &format!("{field}.ipBlock")),
        (true, false) => Vec::new(),
    }
}

/// A range of addresses, and those of it that aren't meant.
fn validate_block(block: &Value, field: &str) -> Vec<Cause> {
    let cidr = text(block, "cidr");
    let at = format!("{field}.cidr");
    if cidr.is_empty() {
        return vec![cause::required(&at, "")];
    }
    if let Some(cause) = address::cidr(cidr, &at) {
        return vec![cause];
    }
    let mut causes = Vec::new();
    for (number, except) in list(block, "except") {
        let at = format!("{field}.except[{number}]");
        let range = except.as_str().unwrap_or_default();
        match address::cidr(range, &at) {
            Some(cause) => causes.push(cause),
            None if address::is_within(range, cidr) => {}
            None => causes.push(cause::invalid(&at, except, "must be a strict subset of `cidr`")),
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    #[test]
    fn ingresses_lead_somewhere() {
        let ingress = |spec: Value| shown(&validate_ingress(&json!({"metadata": {}, "spec": spec})));
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        let rule = |path: Value| json!({"rules": [{"host": "a.example", "http": {"paths": [path]}}]});
        assert!(
            ingress(rule(
                json!({"path": "/", "pathType": "Prefix", "backend": backend})
            ))
            .is_empty()
        );
        assert!(ingress(json!({"defaultBackend": backend})).is_empty());
        assert_eq!(
            ingress(json!({})),
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]
        );
        assert_eq!(
            ingress(rule(json!({"path": "x", "pathType": "Exact", "backend": {}}))),
            [
                "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path",
                "spec.rules[0].http.paths[0].backend: Required value: either service or resource backend is required",
            ]
        );
        assert_eq!(
            ingress(rule(
                json!({"path": "/", "backend": {"service": {"name": "s", "port": {}}}})
            )),
            [
                "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
                "spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number is required",
            ]
        );
        assert_eq!(
            ingress(
                json!({"defaultBackend": backend, "rules": [{"host": "1.2.3.4"}, {"host": "*.example.com"}]})
            ),
            ["spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"]
        );
    }

    #[test]
    fn ingress_classes_name_their_controller() {
        let class = |spec: Value| shown(&validate_class(&json!({"spec": spec})));
        assert!(class(json!({"controller": "acme.io/foo"})).is_empty());
        assert_eq!(class(json!({})), ["spec.controller: Required value"]);
        assert_eq!(
            class(json!({"controller": "foo"})),
            [
                "spec.controller: Invalid value: \"foo\": must be a domain-prefixed path (such as \"acme.io/foo\")"
            ]
        );
        assert_eq!(
            class(
                json!({"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}})
            ),
            ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]
        );
    }

    #[test]
    fn network_policies_name_ports_and_peers() {
        let policy = |spec: Value| shown(&validate_policy(&json!({"spec": spec})));
        assert!(policy(json!({"podSelector": {}, "policyTypes": ["Ingress"]})).is_empty());
        assert_eq!(
            policy(
                json!({"ingress": [{"ports": [{"port": 80, "endPort": 79}], "from": [{}]}], "policyTypes": ["Both"]})
            ),
            [
                "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
                "spec.ingress[0].from[0]: Required value: must specify a peer",
                "spec.policyTypes[0]: Unsupported value: \"Both\": supported values: \"Egress\", \"Ingress\"",
            ]
        );
        let block = |block: Value| policy(json!({"ingress": [{"from": [{"ipBlock": block}]}]}));
        assert!(block(json!({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]})).is_empty());
        for (given, expected) in [
            (
                json!({"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}),
                "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            ),
            (
                json!({"cidr": "10.0.0.0"}),
                "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ),
        ] {
            assert_eq!(block(given), [expected]);
        }
    }

    #[test]
    fn ranges_and_addresses() {
        let range = |cidrs: Value| shown(&validate_cidr(&json!({"spec": {"cidrs": cidrs}})));
        assert!(range(json!(["10.0.0.0/8", "fd00::/64"])).is_empty());
        assert_eq!(
            range(json!([])),
            ["spec.cidrs: Required value: at least one CIDR required"]
        );
        assert_eq!(range(json!(["10.0.0.0/33"])).len(), 1);
        assert_eq!(range(json!(["10.0.0.0/8", "11.0.0.0/8"])).len(), 1);
        let update = |was: Value, is: Value| {
            let of = |cidrs: Value| json!({"spec": {"cidrs": cidrs}});
            shown(&validate_cidr_update(&of(is), &of(was)))
        };
        assert!(update(json!(["10.0.0.0/8"]), json!(["10.0.0.0/8", "fd00::/64"])).is_empty());
        assert_eq!(
            update(json!(["10.0.0.0/8"]), json!(["11.0.0.0/8"])),
            ["spec.cidrs[0]: Invalid value: \"11.0.0.0/8\": field is immutable"]
        );
        assert_eq!(
            update(json!(["10.0.0.0/8"]), json!(["11.0.0.0/8", "fd00::/64"])),
            ["spec.cidrs[0]: Invalid value: \"11.0.0.0/8\": primary CIDR can not be changed"]
        );
        let address =
            json!({"metadata": {"name": "x"}, "spec": {"parentRef": {"resource": "services", "name": "s"}}});
        assert_eq!(
            shown(&validate_address(&address)),
            ["metadata.name: Invalid value: \"x\": must be a valid IP address"]
        );
    }
}
