//! Network policies: who may reach whom.
use super::super::meaning::{fill, items_at};
use super::super::validation::{address, port};
use super::{list, text};
use crate::status::{Cause, cause};
use serde_json::{Value, json};

pub(super) fn default_policy(policy: &mut Value) {
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

pub(super) fn validate_policy(policy: &Value) -> Vec<Cause> {
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
}
