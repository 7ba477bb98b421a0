//! What a resize may change in a pod: processor time and memory of its containers, and how these take a change
//! (contract api-server §12.5).
use super::super::pods::qos_class;
use super::pod::resources;
use super::{list, text};
use crate::status::{Cause, cause};
use orlop_api::annotations::CONFIG_MIRROR;
use serde_json::Value;

/// What can be resized.
const RESIZABLE: &[&str] = &["cpu", "memory"];
const KINDS: &[&str] = &["containers", "initContainers"];

/// Takes of a pod only what a resize is about; everything else is as it was.
pub fn keep_resized(new: &mut Value, old: &Value) {
    let mut kept = old.clone();
    for kind in KINDS {
        let wanted = new["spec"][*kind].as_array().cloned().unwrap_or_default();
        let containers = kept["spec"].get_mut(*kind).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let Some(wanted) = wanted.iter().find(|w| w["name"] == container["name"]) else {
                continue;
            };
            take(container, wanted, "resources");
            take(container, wanted, "resizePolicy");
        }
    }
    if old["spec"]["resources"].is_object() || new["spec"]["resources"].is_object() {
        take(&mut kept["spec"], &new["spec"], "resources");
    }
    *new = kept;
}

fn take(into: &mut Value, from: &Value, key: &str) {
    let Some(members) = into.as_object_mut() else {
        return;
    };
    match from.get(key) {
        Some(value) => members.insert(key.to_owned(), value.clone()),
        None => members.remove(key),
    };
}

/// Checks a resize: the new pod differs from the old one in nothing but what [`keep_resized`] takes.
pub fn pod_resize(new: &Value, old: &Value) -> Vec<Cause> {
    if !old["metadata"]["annotations"][CONFIG_MIRROR].is_null() {
        return vec![cause::forbidden("[]", "static pods cannot be resized")];
    }
    if old["spec"]["os"]["name"] == "windows" {
        return vec![cause::forbidden("[]", "windows pods cannot be resized")];
    }
    let mut causes = Vec::new();
    if qos_class(&new["spec"]) != qos_class(&old["spec"]) {
        causes.push(cause::invalid(
            "spec",
            &new["status"]["qosClass"],
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    if !is_supported(old) {
        causes.push(cause::forbidden(
            "spec",
            "Pod running on node without support for resize",
        ));
    }
    let mut others_change = false;
    for kind in KINDS {
        let pairs = list(&new["spec"], kind).iter().zip(list(&old["spec"], kind));
        for (index, (container, before)) in pairs.enumerate() {
            let path = format!("spec.{kind}[{index}]");
            let changed = container["resources"] != before["resources"];
            if changed && *kind == "initContainers" && text(container, "restartPolicy") != "Always" {
                causes.push(cause::forbidden(
                    &path,
                    "resources for non-sidecar init containers are immutable",
                ));
                continue;
            }
            resources(container, &path, &mut causes);
            removed(container, before, &path, &mut causes);
            others_change |= rest(&container["resources"]) != rest(&before["resources"]);
        }
    }
    resources(&new["spec"], "spec", &mut causes);
    removed(&new["spec"], &old["spec"], "spec", &mut causes);
    others_change |= rest(&new["spec"]["resources"]) != rest(&old["spec"]["resources"]);
    if others_change {
        causes.push(cause::forbidden(
            "spec",
            "only cpu and memory resources are mutable",
        ));
    }
    causes
}

/// Whether the pod's node has shown that it resizes: it tells what running containers have.
fn is_supported(pod: &Value) -> bool {
    let mut statuses = list(&pod["status"], "containerStatuses").iter();
    statuses
        .find(|status| status["state"]["running"].is_object())
        .is_none_or(|running| running["resources"].is_object())
}

/// What was limited or requested stays so, with other numbers.
fn removed(new: &Value, old: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (kind, why) in [
        ("limits", "resource limits cannot be removed"),
        ("requests", "resource requests cannot be removed"),
    ] {
        let before = old["resources"][kind].as_object();
        let gone = |name: &&String| new["resources"][kind].get(name.as_str()).is_none();
        if before.is_some_and(|before| before.keys().any(|name| gone(&name))) {
            causes.push(cause::forbidden(&format!("{path}.resources.{kind}"), why));
        }
    }
}

/// Resources without what can be resized.
fn rest(resources: &Value) -> Value {
    let mut rest = resources.clone();
    let Some(members) = rest.as_object_mut() else {
        return Value::Null;
    };
    for kind in ["limits", "requests"] {
        if let Some(amounts) = members.get_mut(kind).and_then(Value::as_object_mut) {
            amounts.retain(|name, _| !RESIZABLE.contains(&name.as_str()));
        }
    }
    members.retain(|_, value| value.as_object().is_none_or(|object| !object.is_empty()) && !value.is_null());
    rest_or_null(rest)
}

fn rest_or_null(rest: Value) -> Value {
    match rest.as_object().is_some_and(serde_json::Map::is_empty) {
        true => Value::Null,
        false => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(change: impl Fn(&mut Value)) -> Value {
        let amounts = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "2Gi"}});
        let mut pod = json!({
            "metadata": {"name": "p", "annotations": {}},
            "spec": {
                "initContainers": [{"name": "i", "resources": amounts("1")},
                    {"name": "s", "restartPolicy": "Always", "resources": amounts("1")}],
                "containers": [{"name": "c", "image": "x", "resources": amounts("1")}]},
            "status": {"qosClass": "Burstable",
                "containerStatuses": [{"name": "c", "state": {"running": {}}, "resources": {}}]}});
        change(&mut pod);
        pod
    }

    #[test]
    fn a_resize_is_about_resources_and_their_policy_only() {
        let old = pod(|_| {});
        let mut new = pod(|p| {
            let c = &mut p["spec"]["containers"][0];
            c["resources"]["requests"]["cpu"] = json!("2");
            c["resizePolicy"] = json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
            c["image"] = json!("other");
            p["metadata"]["labels"] = json!({"a": "b"});
            p["spec"]["hostNetwork"] = json!(true);
        });
        keep_resized(&mut new, &old);
        let mut expected = old.clone();
        expected["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
        expected["spec"]["containers"][0]["resizePolicy"] =
            json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        assert_eq!(new, expected);
    }

    #[test]
    fn what_cannot_be_resized_is_refused_in_upstreams_words() {
        type Change = fn(&mut Value);
        let nothing: Change = |_| {};
        let cases: &[(Change, Change, &[&str])] = &[
            (
                nothing,
                |p| p["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2"),
                &[],
            ),
            (
                nothing,
                |p| p["spec"]["initContainers"][1]["resources"]["requests"]["cpu"] = json!("2"),
                &[],
            ),
            (
                nothing,
                |p| p["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] = json!("2"),
                &[
                    "spec.initContainers[0]: Forbidden: resources for non-sidecar init containers are immutable",
                ],
            ),
            (
                nothing,
                |p| p["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("5"),
                &[
                    "spec.containers[0].resources.requests: Invalid value: \"5\": must be less than or equal to cpu limit of 4",
                ],
            ),
            (
                nothing,
                |p| {
                    for kind in ["containers", "initContainers"] {
                        for c in p["spec"][kind].as_array_mut().unwrap() {
                            c["resources"]["requests"] = c["resources"]["limits"].clone();
                        }
                    }
                },
                &[
                    "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
                    "spec.initContainers[0]: Forbidden: resources for non-sidecar init containers are immutable",
                ],
            ),
            (
                nothing,
                |p| p["spec"]["containers"][0]["resources"]["limits"] = json!({"memory": "2Gi"}),
                &["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"],
            ),
            (
                nothing,
                |p| p["spec"]["containers"][0]["resources"]["limits"]["ephemeral-storage"] = json!("1Gi"),
                &["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (
                |p| p["status"]["containerStatuses"][0]["resources"] = Value::Null,
                |p| p["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2"),
                &["spec: Forbidden: Pod running on node without support for resize"],
            ),
            (
                |p| p["metadata"]["annotations"][CONFIG_MIRROR] = json!("h"),
                nothing,
                &["[]: Forbidden: static pods cannot be resized"],
            ),
        ];
        for (before, change, expected) in cases {
            let old = pod(before);
            let mut new = old.clone();
            change(&mut new);
            let causes: Vec<String> = pod_resize(&new, &old)
                .into_iter()
                .map(|c| format!("{}: {}", c.field, c.message))
                .collect();
            assert_eq!(causes, *expected);
        }
    }
}
