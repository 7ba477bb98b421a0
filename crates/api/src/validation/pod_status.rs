//! What may become of a pod's status (contract, API server §12.5).
//!
//! Read from trees as `pod_update` reads them: node agents write statuses all the time, and no pod is decoded for it.
use super::pod_update::{list, mirror_annotation, text};
use super::{FieldError, ip};
use crate::names::{check_dns_subdomain, check_qualified_name};
use serde_json::Value;
use std::net::IpAddr;

/// Checks a change of the status, which the node agent writes, but for what every object's metadata may not do.
pub fn pod_status_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = mirror_annotation(new, old).into_iter().collect();
    let (status, before, spec) = (&new["status"], &old["status"], &old["spec"]);
    conditions(status, before, &mut errors);
    let (nominated, was) = (
        text(status, "nominatedNodeName"),
        text(before, "nominatedNodeName"),
    );
    if nominated != was && !nominated.is_empty() {
        let hints = check_dns_subdomain(nominated).into_iter();
        let field = "status.nominatedNodeName";
        errors.extend(hints.map(|hint| FieldError::invalid(field, nominated, &hint)));
    }
    let (qos, was) = (text(status, "qosClass"), text(before, "qosClass"));
    if qos != was && !was.is_empty() {
        errors.push(FieldError::invalid("status.qosClass", qos, "field is immutable"));
    }
    let all_restart = restarts_all(spec);
    for kind in ["containers", "initContainers"] {
        let statuses = match kind {
            "containers" => "containerStatuses",
            _ => "initContainerStatuses",
        };
        let may_restart = |name: &str, code: i64| all_restart || may_restart(spec, kind, name, code);
        ended(status, before, statuses, may_restart, &mut errors);
    }
    ended(
        status,
        before,
        "ephemeralContainerStatuses",
        |_, _| false,
        &mut errors,
    );
    addresses(status, before, "podIPs", &mut errors);
    addresses(status, before, "hostIPs", &mut errors);
    if let Some(first) = list(status, "hostIPs").first()
        && first["ip"] != status["hostIP"]
    {
        let hint = "must be equal to `hostIP`";
        errors.push(FieldError::invalid("status.hostIPs[0].ip", &first["ip"], hint));
    }
    errors
}

/// Those that are told for the first time, or otherwise than before. Upstream names them as part of the metadata.
fn conditions(status: &Value, before: &Value, errors: &mut Vec<FieldError>) {
    let known = list(before, "conditions");
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        if known.contains(condition) {
            continue;
        }
        let at = |name: &str| format!("metadata.conditions[{index}].{name}");
        let generation = &condition["observedGeneration"];
        if generation.as_i64().is_some_and(|generation| generation < 0) {
            let hint = "must be a non-negative integer";
            errors.push(FieldError::invalid(at("observedGeneration"), generation, hint));
        }
        let kind = text(condition, "type");
        for hint in check_qualified_name(kind) {
            errors.push(FieldError::invalid(at("Type"), kind, &hint));
        }
    }
}

/// Containers that ended for good don't run again.
fn ended(
    status: &Value,
    before: &Value,
    statuses: &str,
    may_restart: impl Fn(&str, i64) -> bool,
    errors: &mut Vec<FieldError>,
) {
    for (index, was) in list(before, statuses).iter().enumerate() {
        let end = &was["state"]["terminated"];
        if !end.is_object() {
            continue;
        }
        let lives = |now: &Value| now["name"] == was["name"] && !now["state"]["terminated"].is_object();
        let code = end["exitCode"].as_i64().unwrap_or_default();
        if list(status, statuses).iter().any(lives) && !may_restart(text(was, "name"), code) {
            let hint = "may not be transitioned to non-terminated state";
            let field = format!("status.{statuses}[{index}].state");
            errors.push(FieldError::forbidden(field, hint));
        }
    }
}

/// Whether some container's end may have all of them start anew.
fn restarts_all(spec: &Value) -> bool {
    let mut containers = list(spec, "containers")
        .iter()
        .chain(list(spec, "initContainers"));
    containers.any(|container| {
        let mut rules = list(container, "restartPolicyRules").iter();
        rules.any(|rule| rule["action"] == "RestartAllContainers")
    })
}

/// Whether a container runs again after an end with that code: by its rules, by its own policy, by its pod's.
fn may_restart(spec: &Value, kind: &str, name: &str, code: i64) -> bool {
    let container = list(spec, kind).iter().find(|one| text(one, "name") == name);
    let fits = |rule: &Value| {
        let codes = &rule["exitCodes"];
        let is_listed = list(codes, "values")
            .iter()
            .any(|value| value.as_i64() == Some(code));
        codes.is_object() && is_listed != (codes["operator"] == "NotIn")
    };
    let rules = container.map(|one| list(one, "restartPolicyRules"));
    if rules.unwrap_or_default().iter().any(fits) {
        return true;
    }
    let own = container.map(|one| text(one, "restartPolicy"));
    let policy = own.filter(|policy| !policy.is_empty());
    match policy.unwrap_or_else(|| text(spec, "restartPolicy")) {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// One of each family at most; those that were there already may be what they are.
fn addresses(status: &Value, before: &Value, key: &str, errors: &mut Vec<FieldError>) {
    let (now, was) = (list(status, key), list(before, key));
    if now == was {
        return;
    }
    let field = format!("status.{key}");
    for (index, address) in now.iter().enumerate() {
        if !was.contains(address) {
            errors.extend(ip(text(address, "ip"), &format!("{field}[{index}]")));
        }
    }
    let parsed = |address: &Value| text(address, "ip").parse::<IpAddr>().ok();
    let is_pair = match now {
        [] | [_] => true,
        [one, other] => match (parsed(one), parsed(other)) {
            (Some(one), Some(other)) => one.is_ipv4() != other.is_ipv4(),
            _ => false,
        },
        _ => false,
    };
    if !is_pair {
        let hint = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(field, now, hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: Value, status: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": spec, "status": status})
    }

    fn refused(spec: &Value, status: Value, before: Value) -> Vec<String> {
        let errors = pod_status_update(&pod(spec.clone(), status), &pod(spec.clone(), before));
        errors.iter().map(ToString::to_string).collect()
    }

    /// The states of a container `c` in such a list.
    fn told(kind: &str, state: &Value) -> Value {
        json!({kind: [{"name": "other", "state": {"running": {}}}, {"name": "c", "state": state}]})
    }

    #[test]
    fn what_ended_for_good_stays_ended() {
        let running = json!({"running": {}});
        let ended = |code: i64| json!({"terminated": {"exitCode": code}});
        let rule =
            |action: &str| json!([{"action": action, "exitCodes": {"operator": "In", "values": [42]}}]);
        let own = |policy: &str| json!({"restartPolicy": policy});
        let none = json!({});
        for (policy, container, code, may) in [
            ("Never", none.clone(), 0, false),
            ("Never", none.clone(), 1, false),
            ("OnFailure", none.clone(), 0, false),
            ("OnFailure", none.clone(), 1, true),
            ("Always", none.clone(), 0, true),
            ("Never", own("Always"), 0, true),
            ("Never", own("OnFailure"), 1, true),
            ("Never", own("OnFailure"), 0, false),
            ("Always", own("Never"), 1, false),
            (
                "Never",
                json!({"restartPolicy": "Never", "restartPolicyRules": rule("Restart")}),
                42,
                true,
            ),
            (
                "Never",
                json!({"restartPolicy": "Never", "restartPolicyRules": rule("Restart")}),
                1,
                false,
            ),
            (
                "Never",
                json!({"restartPolicy": "Never", "restartPolicyRules": rule("RestartAllContainers")}),
                1,
                true,
            ),
        ] {
            for (kind, list) in [
                ("containers", "containerStatuses"),
                ("initContainers", "initContainerStatuses"),
            ] {
                let mut container = container.clone();
                container["name"] = json!("c");
                let spec = json!({"restartPolicy": policy, kind: [container]});
                let found = refused(&spec, told(list, &running), told(list, &ended(code)));
                let want = format!(
                    "status.{list}[1].state: Forbidden: may not be transitioned to non-terminated state"
                );
                let want: Vec<String> = Some(want).filter(|_| !may).into_iter().collect();
                assert_eq!(found, want, "{policy} {spec} {code}");
                let still = refused(&spec, told(list, &ended(1)), told(list, &ended(code)));
                assert_eq!(still, [""; 0]);
            }
        }
        let list = "ephemeralContainerStatuses";
        let spec = json!({"restartPolicy": "Always"});
        assert_eq!(
            refused(&spec, told(list, &running), told(list, &ended(1))).len(),
            1
        );
    }

    #[test]
    fn what_a_status_tells_has_its_form() {
        let of = |status: Value| refused(&json!({}), status, json!({"qosClass": "BestEffort"}));
        let with = |key: &str, value: Value| of(json!({"qosClass": "BestEffort", key: value}));
        for (found, want) in [
            (
                of(json!({"qosClass": "Burstable"})),
                "status.qosClass: Invalid value: \"Burstable\": field is immutable",
            ),
            (
                with("nominatedNodeName", json!("A_b")),
                "status.nominatedNodeName: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain",
            ),
            (
                with("conditions", json!([{"type": "Ready"}, {"type": "a b"}])),
                "metadata.conditions[1].Type: Invalid value: \"a b\": name part must consist of",
            ),
            (
                with("conditions", json!([{"type": "Ready", "observedGeneration": -1}])),
                "metadata.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer",
            ),
            (
                with("podIPs", json!([{"ip": "10.0.0.256"}])),
                "status.podIPs[0]: Invalid value: \"10.0.0.256\": must be a valid IP address",
            ),
            (
                with("podIPs", json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}])),
                "status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family",
            ),
            (
                with("hostIPs", json!([{"ip": "10.0.0.1"}])),
                "status.hostIPs[0].ip: Invalid value: \"10.0.0.1\": must be equal to `hostIP`",
            ),
        ] {
            assert_eq!(found.len(), 1, "{want}: {found:?}");
            assert!(found[0].starts_with(want), "{found:?}");
        }
        assert_eq!(
            with("podIPs", json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}])),
            [""; 0]
        );
        // What is stored already stays where nobody changes it.
        let bad = json!({"conditions": [{"type": "a b"}], "podIPs": [{"ip": "x"}]});
        assert_eq!(refused(&json!({}), bad.clone(), bad), [""; 0]);
    }
}
