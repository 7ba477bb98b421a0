//! The addresses of one Service, the families they are of, and what of both an update keeps.
use super::{cluster_address, has_cluster_ip, remove, text};
use crate::resources::meaning::fill;
use crate::resources::validation::list;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The policy of Services with addresses of one family.
pub const SINGLE_STACK: &str = "SingleStack";
/// The policy of Services that are nothing without addresses of both families.
pub const REQUIRE_DUAL_STACK: &str = "RequireDualStack";

const OF_ADDRESSES: [&str; 4] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];

/// The family of an address, in the API's word for it.
pub fn family_of(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

/// The addresses that a Service names. Clients from the time before there were two know only the first.
pub fn cluster_ips(service: &Value) -> Vec<&str> {
    let all = list(&service["spec"], "clusterIPs");
    let named: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
    match text(service, "clusterIP") {
        first if named.is_empty() && !first.is_empty() => vec![first],
        _ => named,
    }
}

/// Whether it has no address of its own.
pub fn is_headless(service: &Value) -> bool {
    text(service, "clusterIP") == "None"
}

/// Whether it neither has an address nor chooses pods: who writes its endpoints may write those of any family.
pub fn is_open(service: &Value) -> bool {
    let selector = service["spec"]["selector"].as_object();
    is_headless(service) && selector.is_none_or(|selector| selector.is_empty())
}

/// The policy that counts: its own, the one that it had before, or what follows from the rest of it.
pub fn family_policy<'v>(service: &'v Value, before: Option<&'v Value>) -> &'v str {
    let own = text(service, "ipFamilyPolicy");
    if !own.is_empty() {
        return own;
    }
    match before.filter(|before| has_cluster_ip(before)) {
        Some(before) => family_policy(before, None),
        None if is_open(service) => REQUIRE_DUAL_STACK,
        None => SINGLE_STACK,
    }
}

/// Fills in what servers from before there were two families left out. Of which family a Service without an address is,
/// is seen when it is changed.
pub fn fill_families(service: &mut Value) {
    let has_none = list(&service["spec"], "ipFamilies").is_empty();
    if !has_none || !has_cluster_ip(service) || is_headless(service) {
        return;
    }
    let ips: Vec<String> = cluster_ips(service).into_iter().map(str::to_owned).collect();
    let families: Vec<&str> = ips
        .iter()
        .filter_map(|ip| cluster_address(ip))
        .map(family_of)
        .collect();
    if families.is_empty() || families.len() != ips.len() {
        return;
    }
    let policy = match families.len() {
        1 => SINGLE_STACK,
        _ => REQUIRE_DUAL_STACK,
    };
    let spec = &mut service["spec"];
    fill(spec, "ipFamilyPolicy", || json!(policy));
    spec["ipFamilies"] = json!(families);
    spec["clusterIPs"] = json!(ips);
}

/// An update that doesn't name the addresses keeps them, unless its type has none. A Service that goes back to one family
/// keeps the first of both, where the update names both as they were.
pub(super) fn keep_addresses(new: &mut Value, old: &Value) {
    if !has_cluster_ip(old) {
        return;
    }
    restore_spelling(new, old);
    let (had, has) = (
        text(old, "clusterIP").to_owned(),
        text(new, "clusterIP").to_owned(),
    );
    // Clients that know only the one address say nothing of the list, or leave it as it was.
    let unnamed = list(&new["spec"], "clusterIPs").is_empty();
    let same_list = !unnamed && new["spec"]["clusterIPs"] == old["spec"]["clusterIPs"];
    if !has_cluster_ip(new) {
        let same = had == has && (unnamed || same_list);
        for key in OF_ADDRESSES {
            if same || (!key.starts_with("cluster") && new["spec"][key] == old["spec"][key]) {
                remove(&mut new["spec"], key);
            }
        }
        if has.is_empty() && same_list {
            remove(&mut new["spec"], "clusterIP");
            remove(&mut new["spec"], "clusterIPs");
        }
        return;
    }
    if has.is_empty() && !had.is_empty() {
        new["spec"]["clusterIP"] = json!(had);
    } else if had != has && same_list {
        new["spec"]["clusterIPs"] = json!([has]);
    }
    let named_before = &old["spec"]["clusterIPs"];
    if unnamed && text(new, "clusterIP") == had && !named_before.is_null() {
        new["spec"]["clusterIPs"] = named_before.clone();
    }
    if family_policy(new, Some(old)) != SINGLE_STACK {
        return;
    }
    for key in ["clusterIPs", "ipFamilies"] {
        let same = new["spec"][key] == old["spec"][key];
        let all = new["spec"].get_mut(key).and_then(Value::as_array_mut);
        if let Some(all) = all.filter(|_| same) {
            all.truncate(1);
        }
    }
}

/// An address that is only written otherwise than it is stored has not changed.
fn restore_spelling(new: &mut Value, old: &Value) {
    let restore = |is: &mut Value, was: &Value| {
        let meant = is.as_str().and_then(cluster_address);
        if meant.is_some() && meant == was.as_str().and_then(cluster_address) {
            *is = was.clone();
        }
    };
    let (spec, before) = (&mut new["spec"], &old["spec"]);
    if let Some(first) = spec.get_mut("clusterIP") {
        restore(first, &before["clusterIP"]);
    }
    let all = spec.get_mut("clusterIPs").and_then(Value::as_array_mut);
    for (is, was) in all.into_iter().flatten().zip(list(before, "clusterIPs")) {
        restore(is, was);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dual(policy: &str) -> Value {
        json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"],
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": policy}})
    }

    #[test]
    fn who_names_no_addresses_keeps_both() {
        let old = dual("PreferDualStack");
        for mut new in [
            json!({"spec": {"type": "ClusterIP"}}),
            json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7"}}),
            json!({"spec": {"type": "ClusterIP", "clusterIP": "", "clusterIPs": []}}),
        ] {
            keep_addresses(&mut new, &old);
            assert_eq!(new["spec"]["clusterIP"], "10.96.0.7");
            assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.7", "fd00::7"]));
            assert_eq!(family_policy(&new, Some(&old)), "PreferDualStack");
        }
    }

    #[test]
    fn the_second_address_goes_with_the_policy_for_it() {
        let old = dual("RequireDualStack");
        let mut new = dual(SINGLE_STACK);
        keep_addresses(&mut new, &old);
        assert_eq!(
            (&new["spec"]["clusterIPs"], &new["spec"]["ipFamilies"]),
            (&json!(["10.96.0.7"]), &json!(["IPv4"]))
        );
        let mut new = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": SINGLE_STACK}});
        keep_addresses(&mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.7"]));
        assert_eq!(
            new["spec"].get("ipFamilies"),
            None,
            "they follow from the addresses"
        );
        let mut other = dual(SINGLE_STACK);
        other["spec"]["clusterIPs"][1] = json!("fd00::8");
        keep_addresses(&mut other, &old);
        assert_eq!(
            other["spec"]["clusterIPs"],
            json!(["10.96.0.7", "fd00::8"]),
            "who asks for another is told why that is refused"
        );
    }

    #[test]
    fn older_services_have_the_families_of_their_addresses() {
        let filled = |spec: Value| {
            let mut service = json!({ "spec": spec });
            fill_families(&mut service);
            service["spec"].clone()
        };
        assert_eq!(
            filled(json!({"clusterIP": "10.96.0.7"})),
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack"})
        );
        assert_eq!(
            filled(json!({"clusterIP": "fd00::7", "clusterIPs": ["fd00::7", "10.96.0.7"]})),
            json!({"clusterIP": "fd00::7", "clusterIPs": ["fd00::7", "10.96.0.7"], "ipFamilies": ["IPv6", "IPv4"],
                "ipFamilyPolicy": "RequireDualStack"})
        );
        for whole in [
            json!({"clusterIP": "None"}),
            json!({"type": "ExternalName", "externalName": "a"}),
            json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "PreferDualStack"}),
        ] {
            assert_eq!(filled(whole.clone()), whole);
        }
    }

    #[test]
    fn clients_that_know_one_address_take_back_both_by_it() {
        let old = dual("RequireDualStack");
        let mut new = dual("RequireDualStack");
        new["spec"]["type"] = json!("ExternalName");
        remove(&mut new["spec"], "clusterIP");
        keep_addresses(&mut new, &old);
        assert_eq!(new, json!({"spec": {"type": "ExternalName"}}));
    }

    #[test]
    fn a_second_address_in_another_spelling_is_the_same() {
        let old = dual("RequireDualStack");
        let mut new = dual("RequireDualStack");
        new["spec"]["clusterIPs"] = json!(["10.96.0.07", "FD00:0::7"]);
        keep_addresses(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn what_says_no_policy_has_the_one_from_before() {
        let policy = |new: Value, old: Value| {
            let (new, old) = (json!({ "spec": new }), json!({ "spec": old }));
            family_policy(&new, Some(&old)).to_owned()
        };
        let open = json!({"type": "ClusterIP", "clusterIP": "None"});
        let external = json!({"type": "ExternalName", "externalName": "a"});
        let headful = json!({"type": "ClusterIP"});
        assert_eq!(policy(headful.clone(), external.clone()), SINGLE_STACK);
        assert_eq!(policy(open.clone(), external), REQUIRE_DUAL_STACK);
        assert_eq!(
            policy(open.clone(), headful),
            SINGLE_STACK,
            "of an object that is older than policies"
        );
        let chosen = json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}});
        assert_eq!(policy(chosen, open), REQUIRE_DUAL_STACK);
    }
}
