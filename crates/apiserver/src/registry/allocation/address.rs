//! The addresses of one Service, and the families that go with them.
use super::{Network, ServiceRange, Taken};
use crate::resources::services::{
    REQUIRE_DUAL_STACK, SINGLE_STACK, cluster_address, cluster_ips, family_of, family_policy, is_headless,
    is_open,
};
use crate::status::{Cause, cause};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Gives a Service its addresses, one of each of its families. Answers whether it took any. Those that it had and names no
/// more are free once it is stored.
pub(super) fn assign_addresses(
    service: &mut Value,
    before: Option<&Value>,
    taken: &Taken,
    network: &Network<'_>,
    random: u128,
) -> Result<bool, Vec<Cause>> {
    let families = assign_families(service, before, network)?;
    if is_headless(service) {
        service["spec"]["clusterIPs"] = json!(["None"]);
        return Ok(false);
    }
    let had = before.map(cluster_ips).unwrap_or_default();
    let named = cluster_ips(service);
    let wanted: Vec<&str> = (0..families.len())
        .map(|number| named.get(number).copied().unwrap_or_default())
        .collect();
    let mut takes = false;
    let mut addresses = Vec::new();
    for (address, family) in wanted.iter().zip(&families) {
        if !address.is_empty() && had.contains(address) {
            addresses.push((*address).to_owned());
            continue;
        }
        let found = find(address, family, taken, network, random).map_err(|why| {
            let hint = format!("failed to allocate IP {address}: {why}");
            vec![cause::invalid("spec.clusterIPs", &json!(wanted), &hint)]
        })?;
        takes = true;
        addresses.push(found.to_string());
    }
    let spec = &mut service["spec"];
    spec["clusterIP"] = json!(addresses.first());
    spec["clusterIPs"] = json!(addresses);
    Ok(takes)
}

/// The address that is wanted, or any of the family that is free.
fn find(
    wanted: &str,
    family: &str,
    taken: &Taken,
    network: &Network<'_>,
    random: u128,
) -> Result<IpAddr, String> {
    let ranges = &network.ranges;
    if wanted.is_empty() {
        let mut alike = ranges.iter().filter(|range| range.family() == family);
        let free = alike.find_map(|range| range.free(&taken.addresses, random));
        return free.ok_or_else(|| "range is full".to_owned());
    }
    let address = cluster_address(wanted).ok_or_else(|| "it is no address".to_owned())?;
    if !ranges.iter().any(|range| range.contains(address)) {
        let valid: Vec<String> = ranges.iter().map(ServiceRange::to_string).collect();
        return Err(format!(
            "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
            valid.join(",")
        ));
    }
    if taken.addresses.contains(&address) {
        return Err("provided IP is already allocated".to_owned());
    }
    Ok(address)
}

/// The families of a Service's addresses, which it is given as well.
fn assign_families(
    service: &mut Value,
    before: Option<&Value>,
    network: &Network<'_>,
) -> Result<Vec<String>, Vec<Cause>> {
    let named = service["spec"]["ipFamilies"].as_array().into_iter().flatten();
    let mut families: Vec<String> = named.filter_map(|f| f.as_str().map(str::to_owned)).collect();
    if !families.is_empty() && before.is_some_and(|before| is_as_before(service, before)) {
        return Ok(families);
    }
    let policy = family_policy(service, before).to_owned();
    let has = |family: &str| network.ranges.iter().any(|range| range.family() == family);
    let mut causes = Vec::new();
    let addresses = cluster_ips(service);
    for (number, address) in addresses.iter().enumerate().skip(families.len()) {
        let Some(family) = cluster_address(address).map(family_of) else {
            break;
        };
        if !has(family) || (number > 0 && !network.is_dual) {
            let why = format!("may not use {family} on a cluster which is not configured for it");
            let field = format!("spec.clusterIPs[{number}]");
            causes.push(cause::invalid(&field, &json!(addresses), &why));
        }
        families.push(family.to_owned());
    }
    let is_open = is_open(service);
    if !is_open && causes.is_empty() {
        if policy == REQUIRE_DUAL_STACK && !network.is_dual {
            let why = "this cluster is not configured for dual-stack services";
            causes.push(cause::invalid("spec.ipFamilyPolicy", &json!(policy), why));
        }
        for (number, family) in families.iter().enumerate() {
            if !has(family) || (number > 0 && !network.is_dual) {
                let field = format!("spec.ipFamilies[{number}]");
                let why = "not configured on this cluster";
                causes.push(cause::invalid(&field, &json!(family), why));
            }
        }
    }
    if !causes.is_empty() {
        return Err(causes);
    }
    if families.is_empty() {
        let usual = network.ranges.first().map_or("IPv4", ServiceRange::family);
        families.push(usual.to_owned());
    }
    if families.len() == 1 && policy != SINGLE_STACK && (is_open || network.is_dual) {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.to_owned());
    }
    service["spec"]["ipFamilyPolicy"] = json!(policy);
    service["spec"]["ipFamilies"] = json!(families);
    Ok(families)
}

/// Whether all that its families follow from is as it was: what a cluster gains or loses changes no Service by itself.
fn is_as_before(service: &Value, before: &Value) -> bool {
    let same = |key: &str| service["spec"][key] == before["spec"][key];
    ["type", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]
        .into_iter()
        .all(same)
        && is_open(service) == is_open(before)
}

#[cfg(test)]
mod tests {
    use super::super::{ServiceNetwork, note};
    use super::*;
    use std::collections::HashSet;

    const SINGLE: &[&str] = &["10.96.0.0/24"];
    const DUAL: &[&str] = &["10.96.0.0/24", "fd00::/120"];

    fn given(
        service: &mut Value,
        before: Option<&Value>,
        taken: &Taken,
        ranges: &[&str],
    ) -> Result<bool, String> {
        let network = Network {
            ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            is_dual: ranges.len() > 1,
            node_ports: &ServiceNetwork::default().node_ports,
        };
        let assigned = assign_addresses(service, before, taken, &network, 0);
        assigned.map_err(|causes| format!("{}: {}", causes[0].field, causes[0].message))
    }

    fn service(spec: Value) -> Value {
        let mut service = json!({"spec": {"type": "ClusterIP"}});
        for (key, value) in spec.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        service
    }

    /// Families and addresses of a new Service.
    fn made(spec: Value, ranges: &[&str]) -> Result<[Value; 2], String> {
        let mut service = service(spec);
        given(&mut service, None, &Taken::default(), ranges)?;
        let spec = &service["spec"];
        assert_eq!(spec["clusterIP"], spec["clusterIPs"][0]);
        Ok([spec["ipFamilies"].clone(), spec["clusterIPs"].clone()])
    }

    #[test]
    fn a_service_has_the_families_that_it_asks_for_and_an_address_of_each() {
        let (v4, v6) = ("10.96.0.17", "fd00::11");
        let (first, second) = (json!([["IPv4"], [v4]]), json!([["IPv6"], [v6]]));
        let both = json!([["IPv4", "IPv6"], [v4, v6]]);
        let turned = json!([["IPv6", "IPv4"], [v6, v4]]);
        for (families, policy, expected) in [
            (json!(null), "", &first),
            (json!(null), "SingleStack", &first),
            (json!(null), "PreferDualStack", &both),
            (json!(null), "RequireDualStack", &both),
            (json!(["IPv6"]), "", &second),
            (json!(["IPv4"]), "PreferDualStack", &both),
            (json!(["IPv6"]), "PreferDualStack", &turned),
            (json!(["IPv6"]), "RequireDualStack", &turned),
            (json!(["IPv6", "IPv4"]), "PreferDualStack", &turned),
            (json!(["IPv4", "IPv6"]), "RequireDualStack", &both),
        ] {
            let spec = json!({"ipFamilies": families, "ipFamilyPolicy": policy});
            assert_eq!(json!(made(spec, DUAL).unwrap()), *expected, "{families} {policy}");
        }
        let asked = json!({"clusterIP": "fd00::77", "ipFamilyPolicy": "PreferDualStack"});
        assert_eq!(
            json!(made(asked, DUAL).unwrap()),
            json!([["IPv6", "IPv4"], ["fd00::77", v4]])
        );
        let asked = json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"],
            "ipFamilyPolicy": "RequireDualStack"});
        assert_eq!(
            json!(made(asked, DUAL).unwrap()),
            json!([["IPv4", "IPv6"], ["10.96.0.7", "fd00::7"]])
        );
    }

    #[test]
    fn headless_services_have_families_without_addresses() {
        let of = |more: Value, ranges| {
            let mut spec = json!({"clusterIP": "None"});
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            let [families, addresses] = made(spec, ranges).unwrap();
            assert_eq!(addresses, json!(["None"]));
            families
        };
        let selector = json!({"a": "b"});
        assert_eq!(of(json!({}), DUAL), json!(["IPv4", "IPv6"]));
        assert_eq!(
            of(json!({"ipFamilies": ["IPv6"]}), SINGLE),
            json!(["IPv6", "IPv4"])
        );
        assert_eq!(
            of(json!({"ipFamilyPolicy": "SingleStack"}), DUAL),
            json!(["IPv4"])
        );
        assert_eq!(of(json!({"selector": selector}), DUAL), json!(["IPv4"]));
        let chosen = json!({"selector": selector, "ipFamilyPolicy": "RequireDualStack"});
        assert_eq!(of(chosen, DUAL), json!(["IPv4", "IPv6"]));
    }

    #[test]
    fn a_cluster_of_one_family_gives_no_second_address() {
        for (spec, expected) in [
            (
                json!({"ipFamilyPolicy": "RequireDualStack"}),
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
            ),
            (
                json!({"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "PreferDualStack"}),
                "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
            ),
            (
                json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}),
                "spec.ipFamilies[1]: Invalid value: \"IPv6\": not configured on this cluster",
            ),
            (
                json!({"clusterIP": "fd00::7"}),
                "spec.clusterIPs[0]: Invalid value: [\"fd00::7\"]: may not use IPv6 on a cluster which is not configured for it",
            ),
            (
                json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "ipFamilyPolicy": "PreferDualStack"}),
                "spec.clusterIPs[1]: Invalid value: [\"10.96.0.7\",\"fd00::7\"]: may not use IPv6 on a cluster which is not configured for it",
            ),
        ] {
            assert_eq!(made(spec, SINGLE).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_second_address_that_is_not_free_is_refused() {
        let mut taken = Taken::default();
        note(
            &service(json!({"clusterIPs": ["10.96.0.9", "fd00::9"]})),
            &mut taken,
        );
        let mut new = service(
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::9"],
            "ipFamilyPolicy": "RequireDualStack"}),
        );
        assert_eq!(
            given(&mut new, None, &taken, DUAL).unwrap_err(),
            "spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"fd00::9\"]: failed to allocate IP fd00::9: provided IP is already allocated"
        );
        note(&service(json!({"clusterIP": "10.96.0.8"})), &mut taken);
        let mut new = service(json!({"clusterIP": "10.96.0.8"}));
        let whose = "it is another's from the time before lists";
        assert!(given(&mut new, None, &taken, DUAL).is_err(), "{whose}");
        let all: HashSet<IpAddr> = (1..=255u128)
            .map(|n| IpAddr::from(std::net::Ipv6Addr::from_bits((0xfd00 << 112) + n)))
            .collect();
        taken.addresses.extend(all);
        let mut new = service(json!({"clusterIP": "10.96.0.7", "ipFamilyPolicy": "RequireDualStack"}));
        assert_eq!(
            given(&mut new, None, &taken, DUAL).unwrap_err(),
            "spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"\"]: failed to allocate IP : range is full"
        );
    }

    #[test]
    fn a_service_gains_and_loses_its_second_address() {
        let none = Taken::default();
        let before = service(
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack"}),
        );
        let mut dual = before.clone();
        dual["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
        assert_eq!(given(&mut dual, Some(&before), &none, DUAL), Ok(true));
        assert_eq!(dual["spec"]["clusterIPs"], json!(["10.96.0.7", "fd00::11"]));
        assert_eq!(dual["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
        let mut again = dual.clone();
        assert_eq!(given(&mut again, Some(&dual), &none, DUAL), Ok(false));
        assert_eq!(again, dual);
        let mut single = before.clone();
        assert_eq!(given(&mut single, Some(&dual), &none, DUAL), Ok(false));
        assert_eq!(single, before);
    }

    #[test]
    fn what_a_cluster_gains_or_loses_changes_no_service_by_itself() {
        let none = Taken::default();
        let prefers = |ips: Value, families: Value| {
            service(
                json!({"clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": families,
                "ipFamilyPolicy": "PreferDualStack"}),
            )
        };
        let one = prefers(json!(["10.96.0.7"]), json!(["IPv4"]));
        let two = prefers(json!(["10.96.0.7", "fd00::7"]), json!(["IPv4", "IPv6"]));
        for (before, ranges) in [(&one, DUAL), (&two, SINGLE)] {
            let mut same = before.clone();
            assert_eq!(given(&mut same, Some(before), &none, ranges), Ok(false));
            assert_eq!(same, *before);
        }
        let mut asks = one.clone();
        asks["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
        assert_eq!(given(&mut asks, Some(&one), &none, DUAL), Ok(true));
        assert_eq!(asks["spec"]["clusterIPs"], json!(["10.96.0.7", "fd00::11"]));
    }
}
