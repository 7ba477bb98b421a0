//! Pod: defaults, phases of its end, subresources (contract §7.5, §12).
use super::definition::{
    CONNECT_VERBS, CREATE_ONLY, Field, PART_VERBS, PROXY_VERBS, Read, Resource, STATUS, Subresource,
};
use super::meaning::{fill, items};
use super::rules::{Rules, StatusMetadata};
use super::validation;
use k8s_openapi::api::core::v1::ResourceRequirements;
use orlop_api::defaults;
use orlop_api::pod::QosClass;
use serde::Deserialize;
use serde_json::{Value, json};

const fn text(name: &'static str, pointer: &'static str) -> Field {
    Field {
        name,
        read: Read::Text(pointer),
    }
}

pub const PODS: Resource = Resource::new("", "pods", "pod", "Pod")
    .short(&["po"])
    .in_all()
    .with_subresources(&[
        Subresource {
            name: "attach",
            verbs: CONNECT_VERBS,
            kind: Some(("", "v1", "PodAttachOptions")),
        },
        Subresource {
            name: "binding",
            verbs: CREATE_ONLY,
            kind: Some(("", "v1", "Binding")),
        },
        Subresource {
            name: "ephemeralcontainers",
            verbs: PART_VERBS,
            kind: None,
        },
        Subresource {
            name: "eviction",
            verbs: CREATE_ONLY,
            kind: Some(("policy", "v1", "Eviction")),
        },
        Subresource {
            name: "exec",
            verbs: CONNECT_VERBS,
            kind: Some(("", "v1", "PodExecOptions")),
        },
        Subresource {
            name: "log",
            verbs: &["get"],
            kind: None,
        },
        Subresource {
            name: "portforward",
            verbs: CONNECT_VERBS,
            kind: Some(("", "v1", "PodPortForwardOptions")),
        },
        Subresource {
            name: "proxy",
            verbs: PROXY_VERBS,
            kind: Some(("", "v1", "PodProxyOptions")),
        },
        Subresource {
            name: "resize",
            verbs: PART_VERBS,
            kind: None,
        },
        STATUS,
    ])
    .with_fields(&[
        text("spec.nodeName", "/spec/nodeName"),
        text("status.phase", "/status/phase"),
        text("spec.restartPolicy", "/spec/restartPolicy"),
        text("spec.schedulerName", "/spec/schedulerName"),
        text("spec.serviceAccountName", "/spec/serviceAccountName"),
        Field {
            name: "spec.hostNetwork",
            read: Read::Bool("/spec/hostNetwork"),
        },
        text("status.podIP", "/status/podIPs/0/ip"),
        text("status.nominatedNodeName", "/status/nominatedNodeName"),
    ])
    .with_rules(Rules {
        delete_answers_object: true,
        default: defaults::pod,
        prepare_create,
        prepare_status,
        status_metadata: StatusMetadata::OwnersKept,
        validate_create: validation::pod_create,
        validate_update: validation::pod_update,
        validate_status: validation::pod_status_update,
        warnings: validation::pod_warnings,
        grace_period: Some(grace_period),
        ..Rules::WITH_GENERATION
    });

/// Copies of static pods carry this annotation.
pub(crate) fn is_mirror(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations")
        .is_some_and(|a| a.get(orlop_api::annotations::CONFIG_MIRROR).is_some())
}

fn prepare_create(pod: &mut Value) {
    select_by_keys(pod);
    let mut status = json!({"phase": "Pending", "qosClass": qos_class(&pod["spec"]).as_str()});
    if pod["spec"]["schedulingGates"]
        .as_array()
        .is_some_and(|gates| !gates.is_empty())
    {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null,
            "lastTransitionTime": null,
        }]);
    }
    pod["status"] = status;
}

/// Keys of labels that rules about other pods name become part of their selectors, with the values that the pod has now:
/// its labels may change later, and whom the rules mean does not.
fn select_by_keys(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let extend = |rule: &mut Value| {
        for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
            let keys: Vec<Value> = rule[keys].as_array().cloned().unwrap_or_default();
            // Without a selector a rule is about nobody.
            let Some(selector) = rule
                .get_mut("labelSelector")
                .filter(|selector| selector.is_object())
            else {
                return;
            };
            let mut more = keys.iter().filter_map(|key| {
                let value = labels.get(key.as_str()?).filter(|value| value.is_string())?;
                Some(json!({"key": key, "operator": operator, "values": [value]}))
            });
            if let Some(first) = more.next() {
                fill(selector, "matchExpressions", || json!([]));
                if let Some(all) = selector["matchExpressions"].as_array_mut() {
                    all.push(first);
                    all.extend(more);
                }
            }
        }
    };
    let spec = &mut pod["spec"];
    let constraints = spec.get_mut("topologySpreadConstraints");
    constraints.into_iter().flat_map(items).for_each(extend);
    for kind in ["podAffinity", "podAntiAffinity"] {
        let terms =
            |strength: &str| format!("/affinity/{kind}/{strength}DuringSchedulingIgnoredDuringExecution");
        let required = spec.pointer_mut(&terms("required"));
        required.into_iter().flat_map(items).for_each(extend);
        let preferred = spec.pointer_mut(&terms("preferred")).into_iter().flat_map(items);
        preferred
            .filter_map(|term| term.get_mut("podAffinityTerm"))
            .for_each(extend);
    }
}

/// Of the spec as a tree: only what containers ask for needs a type.
pub(crate) fn qos_class(spec: &Value) -> QosClass {
    // What doesn't have its type was refused when it was decoded.
    let resources = |of: &Value| ResourceRequirements::deserialize(&of["resources"]).unwrap_or_default();
    let containers = ["containers", "initContainers"]
        .into_iter()
        .filter_map(|kind| spec[kind].as_array())
        .flatten()
        .map(resources);
    QosClass::of(&resources(spec), containers)
}

fn prepare_status(new: &mut Value, old: &Value) {
    if new["status"]["qosClass"].as_str().unwrap_or_default().is_empty()
        && !old["status"]["qosClass"].is_null()
    {
        new["status"]["qosClass"] = old["status"]["qosClass"].clone();
    }
}

/// Contract §7.5: what was asked, else the spec's; at once for a pod that nobody runs.
fn grace_period(pod: &Value, asked: Option<i64>) -> i64 {
    let bound = !pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !bound || ended {
        return 0;
    }
    let period = asked
        .or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30);
    if period < 0 { 1 } else { period }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_labels_become_part_of_the_selectors_that_they_narrow() {
        let rule = || {
            json!({"labelSelector": {"matchLabels": {"app": "web"}}, "matchLabelKeys": ["v", "none"],
            "mismatchLabelKeys": ["team"]})
        };
        let narrowed = json!([{"key": "v", "operator": "In", "values": ["2"]},
            {"key": "team", "operator": "NotIn", "values": ["red"]}]);
        let mut pod = json!({"metadata": {"labels": {"v": "2", "team": "red"}}, "spec": {
        "topologySpreadConstraints": [rule(), {"matchLabelKeys": ["v"]}],
        "affinity": {
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [rule()]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": rule()}]},
        }}});
        prepare_create(&mut pod);
        for rule in [
            "/topologySpreadConstraints/0",
            "/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/0",
            "/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm",
        ] {
            let rule = pod["spec"].pointer(rule).unwrap();
            assert_eq!(rule["labelSelector"]["matchExpressions"], narrowed, "{rule}");
        }
        let bare = &pod["spec"]["topologySpreadConstraints"][1];
        assert_eq!(bare, &json!({"matchLabelKeys": ["v"]}), "it is about nobody");
    }

    /// X01, X04: the table of §7.5.
    #[test]
    fn grace_is_asked_or_specified_or_nothing() {
        let bound = json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 7}, "status": {"phase": "Running"}});
        assert_eq!(grace_period(&bound, None), 7);
        assert_eq!(grace_period(&bound, Some(3)), 3);
        assert_eq!(grace_period(&bound, Some(0)), 0);
        assert_eq!(grace_period(&bound, Some(-4)), 1);
        let unbound = json!({"spec": {}, "status": {"phase": "Pending"}});
        assert_eq!(grace_period(&unbound, Some(30)), 0);
        let failed = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}});
        assert_eq!(grace_period(&failed, Some(30)), 0);
    }
}
