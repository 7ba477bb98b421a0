//! Addresses that belong to somebody, and the ranges that those of Services are from.
use super::super::validation::address;
use super::{list, text};
use crate::status::{Cause, cause};
use serde_json::{Value, json};
use std::net::IpAddr;

pub(super) fn validate_address(address: &Value) -> Vec<Cause> {
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

pub(super) fn validate_cidr(range: &Value) -> Vec<Cause> {
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
pub(super) fn validate_cidr_update(new: &Value, old: &Value) -> Vec<Cause> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

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
