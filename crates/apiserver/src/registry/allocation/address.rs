//! The address of one Service, and the families that go with it.
use super::{ServiceRange, Taken};
use crate::resources::services::{cluster_address, text};
use crate::status::{Cause, cause};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Gives a Service its address. Answers whether it took one.
pub(super) fn assign_address(
    service: &mut Value,
    before: Option<&Value>,
    taken: &Taken,
    ranges: &[ServiceRange],
    random: u128,
) -> Result<bool, Vec<Cause>> {
    let families = assign_families(service, before, ranges)?;
    let had = before.map(|b| text(b, "clusterIP")).unwrap_or_default();
    let wanted = text(service, "clusterIP").to_owned();
    let refused = |why: &str| {
        let what = json!([wanted]);
        let hint = format!("failed to allocate IP {wanted}: {why}");
        vec![cause::invalid("spec.clusterIPs", &what, &hint)]
    };
    let (address, takes) = match wanted.as_str() {
        "None" => ("None".to_owned(), false),
        "" => {
            let first = families.first().map_or("IPv4", String::as_str);
            let mut alike = ranges.iter().filter(|range| range.family() == first);
            match alike.find_map(|range| range.free(&taken.addresses, random)) {
                Some(free) => (free.to_string(), true),
                None => return Err(refused("range is full")),
            }
        }
        given if given == had => (wanted.clone(), false),
        given => {
            let Some(address) = cluster_address(given) else {
                let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                return Err(vec![cause::invalid("spec.clusterIPs[0]", &json!(given), why)]);
            };
            if !ranges.iter().any(|range| range.contains(address)) {
                let valid: Vec<String> = ranges.iter().map(ServiceRange::to_string).collect();
                return Err(refused(&format!(
                    "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                    valid.join(",")
                )));
            }
            if taken.addresses.contains(&address) {
                return Err(refused("provided IP is already allocated"));
            }
            (address.to_string(), true)
        }
    };
    let spec = &mut service["spec"];
    spec["clusterIP"] = json!(address);
    spec["clusterIPs"] = json!([address]);
    Ok(takes)
}

/// The families of a Service's addresses, which it is given as well. A Service has one address here; what asks for two
/// is refused as by a cluster of one family.
fn assign_families(
    service: &mut Value,
    before: Option<&Value>,
    ranges: &[ServiceRange],
) -> Result<Vec<String>, Vec<Cause>> {
    let headless = text(service, "clusterIP") == "None";
    let selector = service["spec"]["selector"].as_object();
    // Who writes its endpoints may write those of any family.
    let is_open = headless && selector.is_none_or(|selector| selector.is_empty());
    let usual = ranges.first().map_or("IPv4", ServiceRange::family);
    let policy = match text(service, "ipFamilyPolicy") {
        "" if is_open => "RequireDualStack",
        "" => "SingleStack",
        given => given,
    }
    .to_owned();
    let named = service["spec"]["ipFamilies"].as_array().into_iter().flatten();
    let mut families: Vec<String> = named.filter_map(|f| f.as_str().map(str::to_owned)).collect();
    let same = |key: &str| before.is_some_and(|before| before["spec"][key] == service["spec"][key]);
    if !families.is_empty()
        && ["ipFamilies", "ipFamilyPolicy", "clusterIP"]
            .into_iter()
            .all(same)
    {
        return Ok(families);
    }
    let of_address = cluster_address(text(service, "clusterIP")).map(|address| match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    });
    let mut causes = Vec::new();
    if policy == "SingleStack" && families.len() > 1 {
        causes.push(cause::invalid(
            "spec.ipFamilyPolicy",
            &json!(policy),
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ));
    }
    match (families.first(), of_address) {
        (None, of_address) => families.push(of_address.unwrap_or(usual).to_owned()),
        (Some(first), Some(of_address)) if first != of_address => causes.push(cause::invalid(
            "spec.clusterIPs[0]",
            &service["spec"]["clusterIP"],
            &format!("expected an {first} value as indicated by `ipFamilies[0]`"),
        )),
        _ => {}
    }
    if is_open && families.len() == 1 && policy != "SingleStack" {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.to_owned());
    } else if !is_open {
        if policy == "RequireDualStack" {
            let why = "this cluster is not configured for dual-stack services";
            causes.push(cause::invalid("spec.ipFamilyPolicy", &json!(policy), why));
        }
        for (number, family) in families.iter().enumerate() {
            if number > 0 || !ranges.iter().any(|range| range.family() == family) {
                let field = format!("spec.ipFamilies[{number}]");
                causes.push(cause::invalid(
                    &field,
                    &json!(family),
                    "not configured on this cluster",
                ));
            }
        }
    }
    if !causes.is_empty() {
        return Err(causes);
    }
    service["spec"]["ipFamilyPolicy"] = json!(policy);
    service["spec"]["ipFamilies"] = json!(families);
    Ok(families)
}
