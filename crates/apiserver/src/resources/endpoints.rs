//! Endpoints: what came before EndpointSlices (contract §18).
use super::definition::Resource;
use super::meaning::{fill, items_at};
use super::rules::Rules;
use super::validation::{address, invalid, list, port, text};
use crate::status::{Cause, cause};
use orlop_api::names;
use serde_json::{Value, json};

pub const ENDPOINTS: Resource = Resource::new("", "endpoints", "endpoints", "Endpoints")
    .short(&["ep"])
    .stored_under("services/endpoints")
    .with_rules(Rules {
        create_on_update: true,
        default: |endpoints| {
            for subset in items_at(endpoints, "/subsets") {
                for port in items_at(subset, "/ports") {
                    fill(port, "protocol", || json!("TCP"));
                }
            }
        },
        validate_create: validate,
        validate_update: |new, _| validate(new),
        warnings: |_| {
            vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
        },
        ..Rules::GENERIC
    });

fn validate(endpoints: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (number, subset) in list(endpoints, "subsets").iter().enumerate() {
        let field = format!("subsets[{number}]");
        let of = ["addresses", "notReadyAddresses"];
        if of.iter().all(|member| list(subset, member).is_empty()) {
            let hint = "must specify `addresses` or `notReadyAddresses`";
            causes.push(cause::required(&field, hint));
        }
        for member in of {
            for (number, address) in list(subset, member).iter().enumerate() {
                causes.extend(of_address(address, &format!("{field}.{member}[{number}]")));
            }
        }
        let ports = list(subset, "ports");
        for (number, port) in ports.iter().enumerate() {
            let field = format!("{field}.ports[{number}]");
            causes.extend(of_port(port, ports.len() > 1, &field));
        }
    }
    causes
}

fn of_address(address: &Value, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = address::endpoint_ip(text(address, "ip"), &format!("{field}.ip"))
        .into_iter()
        .collect();
    for (member, check) in [
        ("hostname", names::check_dns_label as fn(&str) -> Vec<String>),
        ("nodeName", names::check_dns_subdomain),
    ] {
        let name = text(address, member);
        if !name.is_empty() {
            causes.extend(invalid(&format!("{field}.{member}"), name, check(name)));
        }
    }
    causes
}

fn of_port(port: &Value, needs_name: bool, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let at = |member: &str| format!("{field}.{member}");
    match text(port, "name") {
        "" if needs_name => causes.push(cause::required(&at("name"), "")),
        "" => {}
        name => causes.extend(invalid(&at("name"), name, names::check_dns_label(name))),
    }
    if !port["port"].as_i64().is_some_and(|n| (1..=65535).contains(&n)) {
        let why = "must be between 1 and 65535, inclusive";
        causes.push(cause::invalid(&at("port"), &port["port"], why));
    }
    causes.extend(port::protocol(port, &at("protocol")));
    causes.extend(port::application_protocol(port, &at("appProtocol")));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    #[test]
    fn addresses_and_ports_lead_somewhere() {
        let told = |subset: Value| shown(&validate(&json!({"subsets": [subset]})));
        let port = json!({"port": 80, "protocol": "TCP"});
        assert!(told(json!({"addresses": [{"ip": "10.0.0.24"}], "ports": [port]})).is_empty());
        assert_eq!(
            told(json!({"ports": [port]})),
            ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]
        );
        assert_eq!(
            told(
                json!({"notReadyAddresses": [{"ip": "x", "hostname": "A"}], "ports": [port, {"port": 0, "protocol": "TCP", "name": "a"}]})
            ),
            [
                "subsets[0].notReadyAddresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "subsets[0].notReadyAddresses[0].hostname: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ]
        );
    }
}
