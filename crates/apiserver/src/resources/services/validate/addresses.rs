//! Addresses of the cluster that a Service names, and the families they are of. What is free, and what the cluster has, is
//! seen when they are given.
use super::super::{
    SINGLE_STACK, cluster_address, cluster_ips, family_of, family_policy, has_cluster_ip, is_headless, text,
};
use crate::resources::validation::{address, list};
use crate::status::{Cause, cause};
use serde_json::{Value, json};

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const FAMILY_POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
/// One of each family.
const ADDRESSES_MAX: usize = 2;

/// `before`: what the Service was, if it isn't new.
pub(super) fn named(service: &Value, before: Option<&Value>) -> Vec<Cause> {
    if !has_cluster_ip(service) {
        return Vec::new();
    }
    let mut causes = families(service);
    let all = cluster_ips(service);
    let refused = |why: &str| cause::invalid("spec.clusterIPs", &json!(all), why);
    let (single, first) = (
        text(service, "clusterIP"),
        all.first().copied().unwrap_or_default(),
    );
    if single != first {
        causes.push(refused(match single {
            "" => "must be empty when `clusterIP` is not specified",
            _ => "first value must match `clusterIP`",
        }));
    }
    let mut unreadable = Vec::new();
    for (number, ip) in all.iter().enumerate() {
        if number == 0 && *ip == "None" {
            if all.len() > 1 {
                unreadable.push(refused("'None' must be the first and only value"));
            }
        } else if cluster_address(ip).is_none() {
            unreadable.extend(address::ip(ip, &format!("spec.clusterIPs[{number}]")));
        }
    }
    let is_readable = unreadable.is_empty();
    causes.extend(unreadable);
    if all.len() > ADDRESSES_MAX {
        causes.push(refused("may only hold up to 2 values"));
    }
    if is_readable {
        let of: Vec<&str> = all
            .iter()
            .filter_map(|ip| cluster_address(ip))
            .map(family_of)
            .collect();
        if of.len() > 1 && of.iter().all(|family| *family == of[0]) {
            causes.push(refused("may specify no more than one IP for each IP family"));
        }
        causes.extend(against_families(service, &all));
    }
    if causes.is_empty() {
        causes = against_policy(service, before);
    }
    causes
}

/// The families and the policy for them, each by itself.
fn families(service: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let families = list(&service["spec"], "ipFamilies");
    for (number, family) in families.iter().enumerate() {
        let field = format!("spec.ipFamilies[{number}]");
        let name = family.as_str().unwrap_or_default();
        if !FAMILIES.contains(&name) {
            causes.push(cause::unsupported(&field, name, FAMILIES));
        }
        if families[..number].contains(family) {
            causes.push(cause::duplicate(&field, family));
        }
    }
    let policy = text(service, "ipFamilyPolicy");
    if !policy.is_empty() && !FAMILY_POLICIES.contains(&policy) {
        causes.push(cause::unsupported("spec.ipFamilyPolicy", policy, FAMILY_POLICIES));
    }
    causes
}

/// Addresses are of the families that are named in their places.
fn against_families(service: &Value, all: &[&str]) -> Vec<Cause> {
    if is_headless(service) {
        return Vec::new();
    }
    let families = list(&service["spec"], "ipFamilies").iter();
    let pairs = all.iter().zip(families.filter_map(Value::as_str)).enumerate();
    let mut causes = Vec::new();
    for (number, (ip, family)) in pairs {
        let other = cluster_address(ip).is_some_and(|ip| family_of(ip) != family);
        if other && FAMILIES.contains(&family) {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{number}]`");
            causes.push(cause::invalid(
                &format!("spec.clusterIPs[{number}]"),
                &json!(ip),
                &why,
            ));
        }
    }
    causes
}

/// There is a policy for two addresses, and it is left before the second one is.
fn against_policy(service: &Value, before: Option<&Value>) -> Vec<Cause> {
    let policy = family_policy(service, before);
    let addresses = |service: &Value| cluster_ips(service).len();
    let families = |service: &Value| list(&service["spec"], "ipFamilies").len();
    let reduced = |count: &dyn Fn(&Value) -> usize| {
        let had = before.map_or(0, count);
        (1..had).contains(&count(service))
    };
    let whys = match policy == SINGLE_STACK {
        true => [
            (
                addresses(service) > 1,
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
            ),
            (
                families(service) > 1,
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
            ),
        ],
        false => [
            (
                reduced(&addresses),
                "must be 'SingleStack' to release the secondary cluster IP",
            ),
            (
                reduced(&families),
                "must be 'SingleStack' to release the secondary IP family",
            ),
        ],
    };
    let whys = whys.into_iter().filter(|(is_so, _)| *is_so);
    whys.map(|(_, why)| cause::invalid("spec.ipFamilyPolicy", &json!(policy), why))
        .collect()
}

/// Addresses stay once they are given: `(new, old)`. A second one may come, and go.
pub(super) fn changed(new: &Value, old: &Value) -> Vec<Cause> {
    let both = |of: fn(&Value) -> bool| of(new) && of(old);
    if !both(has_cluster_ip) || both(is_headless) {
        return Vec::new();
    }
    let (is, was) = (cluster_ips(new), cluster_ips(old));
    let alike = is.len() == was.len();
    let pairs = is.iter().zip(&was).enumerate();
    pairs
        .filter(|(number, (is, was))| is != was && (alike || *number == 0))
        .map(|(number, _)| {
            let field = format!("spec.clusterIPs[{number}]");
            cause::invalid(&field, &json!(is), "may not change once set")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    fn service(spec: Value) -> Value {
        let mut service = json!({"spec": {"type": "ClusterIP"}});
        for (key, value) in spec.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        service
    }

    #[test]
    fn what_is_named_fits_together() {
        let of = |spec: Value| shown(&named(&service(spec), None));
        let two = json!(["10.96.0.7", "fd00::7"]);
        for good in [
            json!({}),
            json!({"clusterIP": "10.96.0.7"}),
            json!({"clusterIP": "10.96.0.7", "clusterIPs": two, "ipFamilyPolicy": "PreferDualStack"}),
            json!({"clusterIP": "fd00::7", "clusterIPs": ["fd00::7", "10.96.0.7"], "ipFamilies": ["IPv6", "IPv4"],
                "ipFamilyPolicy": "RequireDualStack"}),
            json!({"clusterIP": "None", "ipFamilies": ["IPv6", "IPv4"]}),
        ] {
            assert_eq!(of(good.clone()), [""; 0], "{good}");
        }
        for (bad, expected) in [
            (
                json!({"clusterIP": "10.96.0.7", "clusterIPs": two}),
                "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
            ),
            (
                json!({"ipFamilies": ["IPv4", "IPv6"]}),
                "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
            ),
            (
                json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "10.96.0.8"], "ipFamilyPolicy": "PreferDualStack"}),
                "spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"10.96.0.8\"]: may specify no more than one IP for each IP family",
            ),
            (
                json!({"clusterIP": "10.96.0.7", "clusterIPs": two, "ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "PreferDualStack"}),
                "spec.ipFamilies[1]: Duplicate value: \"IPv4\"",
            ),
            (
                json!({"clusterIP": "fd00::7", "ipFamilies": ["IPv4"]}),
                "spec.clusterIPs[0]: Invalid value: \"fd00::7\": expected an IPv4 value as indicated by `ipFamilies[0]`",
            ),
            (
                json!({"clusterIP": "None", "clusterIPs": ["None", "10.96.0.7"]}),
                "spec.clusterIPs: Invalid value: [\"None\",\"10.96.0.7\"]: 'None' must be the first and only value",
            ),
            (
                json!({"clusterIPs": two, "ipFamilyPolicy": "PreferDualStack"}),
                "spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"fd00::7\"]: must be empty when `clusterIP` is not specified",
            ),
            (
                json!({"clusterIP": "10.96.0.8", "clusterIPs": two, "ipFamilyPolicy": "PreferDualStack"}),
                "spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"fd00::7\"]: first value must match `clusterIP`",
            ),
            (
                json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7", "fd00::8"], "ipFamilyPolicy": "PreferDualStack"}),
                "spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"fd00::7\",\"fd00::8\"]: may only hold up to 2 values",
            ),
            (
                json!({"ipFamilyPolicy": "Dual"}),
                "spec.ipFamilyPolicy: Unsupported value: \"Dual\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
            ),
        ] {
            assert_eq!(of(bad.clone()).first().unwrap(), expected, "{bad}");
        }
    }

    #[test]
    fn addresses_stay_and_the_second_goes_only_with_its_policy() {
        let of = |policy: &str, ips: Value| {
            service(json!({"clusterIP": ips[0], "clusterIPs": ips, "ipFamilyPolicy": policy}))
        };
        let update = |new: &Value, old: &Value| {
            let named = named(new, Some(old));
            shown(&if named.is_empty() {
                changed(new, old)
            } else {
                named
            })
        };
        let (one, two) = (json!(["10.96.0.7"]), json!(["10.96.0.7", "fd00::7"]));
        let (single, dual) = (
            of("SingleStack", one.clone()),
            of("RequireDualStack", two.clone()),
        );
        assert_eq!(update(&dual, &single), [""; 0]);
        assert_eq!(update(&single, &dual), [""; 0]);
        assert_eq!(
            update(&of("PreferDualStack", one), &dual),
            [
                "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary cluster IP"
            ]
        );
        let mut families = of("RequireDualStack", two);
        families["spec"]["ipFamilies"] = json!(["IPv4"]);
        let mut before = dual.clone();
        before["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
        assert_eq!(
            update(&families, &before),
            [
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary IP family"
            ]
        );
        assert_eq!(
            update(&of("RequireDualStack", json!(["10.96.0.7", "fd00::8"])), &dual),
            ["spec.clusterIPs[1]: Invalid value: [\"10.96.0.7\",\"fd00::8\"]: may not change once set"]
        );
        assert_eq!(
            update(&of("SingleStack", json!(["fd00::7"])), &dual),
            ["spec.clusterIPs[0]: Invalid value: [\"fd00::7\"]: may not change once set"]
        );
        assert_eq!(
            update(&of("RequireDualStack", json!(["10.96.0.8", "fd00::8"])), &single),
            ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\",\"fd00::8\"]: may not change once set"]
        );
        assert_eq!(
            update(&of("SingleStack", json!(["None"])), &single),
            ["spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set"]
        );
    }
}
