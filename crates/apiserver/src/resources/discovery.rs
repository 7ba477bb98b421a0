//! `discovery.k8s.io` (contract §18).
use super::definition::Resource;
use super::meaning::{fill, items_at};
use super::rules::Rules;
use super::validation::{address, invalid, list, port, text};
use crate::status::{Cause, cause};
use orlop_api::names;
use serde_json::{Value, json};
use std::net::IpAddr;

const ENDPOINTS_MAX: usize = 1000;
/// Of one endpoint.
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 100;

pub const ENDPOINTSLICES: Resource = Resource::new(
    "discovery.k8s.io",
    "endpointslices",
    "endpointslice",
    "EndpointSlice",
)
.with_rules(Rules {
    default: |slice| {
        for port in items_at(slice, "/ports") {
            fill(port, "name", || json!(""));
            fill(port, "protocol", || json!("TCP"));
        }
    },
    validate_create: validate,
    validate_update: |new, old| {
        let mut causes = validate(new);
        if new["addressType"] != old["addressType"] {
            causes.push(cause::invalid(
                "addressType",
                &new["addressType"],
                "field is immutable",
            ));
        }
        causes
    },
    ..Rules::WITH_GENERATION
});

fn validate(slice: &Value) -> Vec<Cause> {
    let sort = text(slice, "addressType");
    let mut causes = Vec::new();
    match sort {
        "IPv4" | "IPv6" | "FQDN" => {}
        "" => causes.push(cause::required("addressType", "")),
        other => causes.push(cause::unsupported(
            "addressType",
            other,
            &["FQDN", "IPv4", "IPv6"],
        )),
    }
    let endpoints = list(slice, "endpoints");
    match cause::too_many("endpoints", endpoints.len(), ENDPOINTS_MAX) {
        Some(cause) => causes.push(cause),
        None => {
            let numbered = endpoints.iter().enumerate();
            causes.extend(numbered.flat_map(|(number, endpoint)| of_endpoint(endpoint, sort, number)));
        }
    }
    let ports = list(slice, "ports");
    match cause::too_many("ports", ports.len(), PORTS_MAX) {
        Some(cause) => causes.push(cause),
        None => causes.extend((0..ports.len()).flat_map(|number| of_port(ports, number))),
    }
    causes
}

fn of_endpoint(endpoint: &Value, sort: &str, number: usize) -> Vec<Cause> {
    let field = |member: &str| format!("endpoints[{number}].{member}");
    let addresses = list(endpoint, "addresses");
    let mut causes = Vec::new();
    if addresses.is_empty() {
        causes.push(cause::required(
            &field("addresses"),
            "must contain at least 1 address",
        ));
    }
    causes.extend(cause::too_many(
        &field("addresses"),
        addresses.len(),
        ADDRESSES_MAX,
    ));
    for (at, address) in addresses.iter().enumerate() {
        let field = format!("{}[{at}]", field("addresses"));
        causes.extend(of_address(address.as_str().unwrap_or_default(), sort, &field));
    }
    if let Some(hostname) = endpoint["hostname"].as_str() {
        causes.extend(invalid(
            &field("hostname"),
            hostname,
            names::check_dns_label(hostname),
        ));
    }
    causes
}

fn of_address(text: &str, sort: &str, field: &str) -> Vec<Cause> {
    let family = text.parse::<IpAddr>();
    let other = match (sort, &family) {
        ("IPv4", Ok(IpAddr::V6(_)) | Err(_)) => Some("must be a valid IPv4 address"),
        ("IPv6", Ok(IpAddr::V4(_)) | Err(_)) => Some("must be a valid IPv6 address"),
        _ => None,
    };
    match (sort, other) {
        (_, Some(why)) => vec![cause::invalid(field, &json!(text), why)],
        ("IPv4" | "IPv6", None) => address::endpoint_ip(text, field).into_iter().collect(),
        ("FQDN", None) => {
            let name = text.strip_suffix('.').unwrap_or(text);
            let mut causes = invalid(field, text, names::check_dns_subdomain(name));
            if causes.is_empty() && !name.contains('.') {
                let why = "should be a domain with at least two segments separated by dots";
                causes.push(cause::invalid(field, &json!(text), why));
            }
            causes
        }
        _ => Vec::new(),
    }
}

fn of_port(ports: &[Value], number: usize) -> Vec<Cause> {
    let port = &ports[number];
    let field = |member: &str| format!("ports[{number}].{member}");
    let mut causes = Vec::new();
    let name = text(port, "name");
    if !name.is_empty() {
        causes.extend(invalid(&field("name"), name, names::check_dns_label(name)));
    }
    if ports[..number]
        .iter()
        .any(|earlier| earlier["name"] == port["name"])
    {
        causes.push(cause::duplicate(&field("name"), &port["name"]));
    }
    causes.extend(port::protocol(port, &field("protocol")));
    causes.extend(port::application_protocol(port, &field("appProtocol")));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    #[test]
    fn slices_have_addresses_of_their_type_and_ports_told_apart() {
        let told = |sort: &str, endpoints: Value, ports: Value| {
            shown(&validate(
                &json!({"addressType": sort, "endpoints": endpoints, "ports": ports}),
            ))
        };
        let several = json!([{"addresses": ["1.2.3.4", "5.6.7.8"]}, {"addresses": ["2.2.3.4"]}]);
        assert!(told("IPv4", several, json!([{"name": "", "protocol": "TCP"}])).is_empty());
        assert!(told("FQDN", json!([{"addresses": ["a.example.com"]}]), json!([])).is_empty());
        assert_eq!(
            told(
                "IPv4",
                json!([{"addresses": []}, {"addresses": ["fd00::1"]}]),
                json!([])
            ),
            [
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses[0]: Invalid value: \"fd00::1\": must be a valid IPv4 address",
            ]
        );
        let port = json!({"name": "a", "protocol": "TCP"});
        assert_eq!(
            told("IPv4", json!([]), json!([port, port])),
            ["ports[1].name: Duplicate value: \"a\""]
        );
        let endpoints: Vec<Value> = (0..1001).map(|_| json!({"addresses": ["10.0.0.1"]})).collect();
        assert_eq!(
            told("IPv4", json!(endpoints), json!([])),
            ["endpoints: Too many: 1001: must have at most 1000 items"]
        );
    }
}
