//! `discovery.k8s.io` (contract §18).
use super::definition::Resource;
use super::meaning::{fill, items};
use super::rules::Rules;
use crate::status::{Cause, cause};
use serde_json::{Value, json};

pub const ENDPOINTSLICES: Resource = Resource::new(
    "discovery.k8s.io",
    "endpointslices",
    "endpointslice",
    "EndpointSlice",
)
.with_rules(Rules {
    default: |slice| {
        for port in items(&mut slice["ports"]) {
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
    match slice["addressType"].as_str() {
        Some("IPv4" | "IPv6" | "FQDN") => Vec::new(),
        None | Some("") => vec![cause::required("addressType", "")],
        Some(other) => vec![cause::unsupported(
            "addressType",
            other,
            &["FQDN", "IPv4", "IPv6"],
        )],
    }
}
