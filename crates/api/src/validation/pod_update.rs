//! What may change in a pod once it exists (contract, API server §12.4 and §12.5).
use super::{FieldError, object_meta_update, scheduling};
use crate::annotations::CONFIG_MIRROR;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, NodeSelectorTerm, Pod, PodSpec, Toleration};
use serde_json::Value;

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks a change of the main resource.
pub fn pod_update(new: &Pod, old: &Pod) -> Vec<FieldError> {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let mirror = |pod: &Pod| {
        pod.metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(CONFIG_MIRROR).cloned())
    };
    if mirror(new) != mirror(old) {
        errors.push(FieldError::invalid(
            format!("metadata.annotations[{CONFIG_MIRROR}]"),
            mirror(new).unwrap_or_default(),
            "may not remove or update mirror pod annotation",
        ));
    }
    let (Some(spec), Some(before)) = (&new.spec, &old.spec) else {
        errors.push(FieldError::required("spec", ""));
        return errors;
    };
    let metadata_errors = errors.len();
    for (field, now, was) in [
        (
            "spec.containers",
            Some(&spec.containers),
            Some(&before.containers),
        ),
        (
            "spec.initContainers",
            spec.init_containers.as_ref(),
            before.init_containers.as_ref(),
        ),
    ] {
        if now.map_or(0, Vec::len) != was.map_or(0, Vec::len) {
            errors.push(FieldError::forbidden(
                field,
                "pod updates may not add or remove containers",
            ));
            return errors;
        }
        for (index, container) in now.into_iter().flatten().enumerate() {
            let field = format!("{field}[{index}].image");
            let image = container.image.as_deref().unwrap_or_default();
            if image.is_empty() {
                errors.push(FieldError::required(field, ""));
            } else if image.trim() != image {
                let hint = "must not have leading or trailing whitespace";
                errors.push(FieldError::invalid(field, image, hint));
            }
        }
    }
    errors.extend(deadline(spec, before));
    errors.extend(tolerations(spec, before));
    if errors.len() > metadata_errors {
        return errors;
    }
    let (now, was) = (json(&with_changes_undone(spec, before)), json(before));
    if now != was {
        let difference = difference(&now, &was);
        errors.push(FieldError::forbidden(
            "spec",
            &format!("{MAY_CHANGE}\n{difference}"),
        ));
    }
    errors
}

/// Checks a change of the status, which the node agent writes.
pub fn pod_status_update(new: &Pod, old: &Pod) -> Vec<FieldError> {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let (Some(status), Some(before)) = (&new.status, &old.status) else {
        return errors;
    };
    let (qos, was) = (status.qos_class.as_deref(), before.qos_class.as_deref());
    if qos != was && was.is_some_and(|class| !class.is_empty()) {
        errors.push(FieldError::invalid("status.qosClass", qos, "field is immutable"));
    }
    let policy = old.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    for (field, now, was, policy) in [
        (
            "status.containerStatuses",
            &status.container_statuses,
            &before.container_statuses,
            policy,
        ),
        // A sidecar restarts whatever the pod's policy: its statuses are not told apart here.
        (
            "status.initContainerStatuses",
            &status.init_container_statuses,
            &before.init_container_statuses,
            policy.filter(|_| !has_sidecars(old)),
        ),
    ] {
        errors.extend(resurrections(field, now.as_deref(), was.as_deref(), policy));
    }
    errors
}

fn has_sidecars(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| {
        crate::pod::init_containers(spec)
            .iter()
            .any(crate::pod::is_sidecar)
    })
}

/// Containers that ended for good and run again.
fn resurrections(
    field: &str,
    now: Option<&[ContainerStatus]>,
    was: Option<&[ContainerStatus]>,
    policy: Option<&str>,
) -> Vec<FieldError> {
    let ended = |status: &ContainerStatus| status.state.as_ref().and_then(|state| state.terminated.clone());
    let mut errors = Vec::new();
    for before in was.unwrap_or_default() {
        let Some(end) = ended(before) else { continue };
        let for_good = match policy {
            Some("Never") => true,
            Some("OnFailure") => end.exit_code == 0,
            _ => false,
        };
        let now = now.unwrap_or_default().iter().enumerate();
        let again = now.filter(|(_, status)| status.name == before.name && ended(status).is_none());
        for (index, _) in again.filter(|_| for_good) {
            let hint = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(format!("{field}[{index}].state"), hint));
        }
    }
    errors
}

fn deadline(spec: &PodSpec, before: &PodSpec) -> Option<FieldError> {
    let (now, was) = (spec.active_deadline_seconds, before.active_deadline_seconds);
    if now == was {
        return None;
    }
    let hint = match (now, was) {
        (Some(now), _) if !(1..=i64::from(i32::MAX)).contains(&now) => {
            "must be between 1 and 2147483647, inclusive"
        }
        (Some(now), Some(was)) if now > was => "must be less than or equal to previous value",
        (None, Some(_)) => "must not update from a positive integer to nil value",
        _ => return None,
    };
    Some(FieldError::invalid("spec.activeDeadlineSeconds", now, hint))
}

/// Every toleration stays, except for its seconds; new ones must be right.
fn tolerations(spec: &PodSpec, before: &PodSpec) -> Vec<FieldError> {
    let now = spec.tolerations.as_deref().unwrap_or_default();
    let same = |a: &Toleration, b: &Toleration| {
        let timeless = |toleration: &Toleration| Toleration {
            toleration_seconds: None,
            ..toleration.clone()
        };
        timeless(a) == timeless(b)
    };
    let kept = before
        .tolerations
        .iter()
        .flatten()
        .all(|was| now.iter().any(|now| same(now, was)));
    if !kept {
        let hint = "existing toleration can not be modified except its tolerationSeconds";
        return vec![FieldError::forbidden("spec.tolerations", hint)];
    }
    scheduling::tolerations(now, "spec.tolerations")
}

/// The new spec with everything that may change put back.
fn with_changes_undone(spec: &PodSpec, before: &PodSpec) -> PodSpec {
    let mut spec = spec.clone();
    let images = |now: &mut [Container], was: &[Container]| {
        for (now, was) in now.iter_mut().zip(was) {
            now.image.clone_from(&was.image);
        }
    };
    images(&mut spec.containers, &before.containers);
    if let (Some(now), Some(was)) = (&mut spec.init_containers, &before.init_containers) {
        images(now, was);
    }
    spec.active_deadline_seconds = before.active_deadline_seconds;
    spec.tolerations.clone_from(&before.tolerations);
    let grace = before.termination_grace_period_seconds;
    if grace.is_some_and(|seconds| seconds < 0) && spec.termination_grace_period_seconds == Some(1) {
        spec.termination_grace_period_seconds = grace;
    }
    let gates = before.scheduling_gates.as_deref().unwrap_or_default();
    if spec
        .scheduling_gates
        .iter()
        .flatten()
        .all(|gate| gates.contains(gate))
    {
        spec.scheduling_gates.clone_from(&before.scheduling_gates);
    }
    if !gates.is_empty() {
        aim(&mut spec, before);
    }
    spec
}

/// A pod that still has gates may be aimed at fewer nodes.
fn aim(spec: &mut PodSpec, before: &PodSpec) {
    let now = spec.node_selector.clone().unwrap_or_default();
    if before
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| now.get(key) == Some(value))
    {
        spec.node_selector.clone_from(&before.node_selector);
    }
    let required = |spec: &PodSpec| {
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let selector = affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()?;
        Some(selector.node_selector_terms.clone())
    };
    let narrower = match (required(spec), required(before)) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(now), Some(was)) => {
            now.len() == was.len() && now.iter().zip(&was).all(|(now, was)| narrows(now, was))
        }
    };
    if narrower {
        let was = before.affinity.as_ref().and_then(|all| all.node_affinity.clone());
        match (&mut spec.affinity, &before.affinity) {
            (Some(now), Some(_)) => now.node_affinity = was,
            (Some(now), None) => {
                now.node_affinity = None;
                if *now == Default::default() {
                    spec.affinity = None;
                }
            }
            (None, _) => {}
        }
    }
}

/// Whether a term keeps all requirements it had.
fn narrows(now: &NodeSelectorTerm, was: &NodeSelectorTerm) -> bool {
    let list = |term: &NodeSelectorTerm| {
        let (labels, fields) = (term.match_expressions.clone(), term.match_fields.clone());
        (labels.unwrap_or_default(), fields.unwrap_or_default())
    };
    let ((labels, fields), (labels_before, fields_before)) = (list(now), list(was));
    labels_before.iter().all(|one| labels.contains(one))
        && fields_before.iter().all(|one| fields.contains(one))
}

fn json(spec: &PodSpec) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

/// The members that differ, for people.
fn difference(now: &Value, was: &Value) -> String {
    let mut keys: Vec<&String> = [now, was]
        .iter()
        .filter_map(|v| v.as_object())
        .flat_map(|o| o.keys())
        .collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(String::as_str)
        .filter(|key| now[*key] != was[*key])
        .map(|key| format!("- {key}: {}\n+ {key}: {}\n", was[key], now[key]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(change: impl Fn(&mut Value)) -> Pod {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {
            "containers": [{"name": "c", "image": "i:1"}],
            "activeDeadlineSeconds": 100,
            "restartPolicy": "Never",
            "tolerations": [{"key": "a", "operator": "Exists"}],
        }});
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    /// O05, O06, O07
    #[test]
    fn little_may_change() {
        let cases: &[(&str, Value, Option<&str>)] = &[
            ("/spec/containers/0/image", json!("i:2"), None),
            (
                "/spec/containers/0/image",
                json!(""),
                Some("spec.containers[0].image: Required value"),
            ),
            (
                "/spec/containers/0/name",
                json!("x"),
                Some(
                    "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,",
                ),
            ),
            ("/spec/activeDeadlineSeconds", json!(50), None),
            (
                "/spec/activeDeadlineSeconds",
                json!(200),
                Some(
                    "spec.activeDeadlineSeconds: Invalid value: 200: must be less than or equal to previous value",
                ),
            ),
            (
                "/spec/tolerations",
                json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]),
                None,
            ),
            (
                "/spec/tolerations",
                json!([]),
                Some(
                    "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
                ),
            ),
            (
                "/spec/tolerations",
                json!([{"key": "a", "operator": "Exists"}, {"key": "b", "effect": "No"}]),
                Some("spec.tolerations[1].effect: Unsupported value: \"No\""),
            ),
            ("/spec/restartPolicy", json!("Always"), Some("spec: Forbidden")),
            (
                "/spec/containers",
                json!([]),
                Some("spec.containers: Forbidden: pod updates may not add or remove containers"),
            ),
        ];
        for (pointer, value, want) in cases {
            let new = pod(|p| *p.pointer_mut(pointer).unwrap() = value.clone());
            let found: Vec<String> = pod_update(&new, &pod(|_| {}))
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found.len(), usize::from(want.is_some()), "{pointer}: {found:?}");
            assert!(
                found
                    .iter()
                    .all(|text| text.starts_with(want.unwrap_or_default())),
                "{found:?}"
            );
        }
        let mirror = pod(|p| p["metadata"]["annotations"] = json!({CONFIG_MIRROR: "h"}));
        for (new, old) in [(&mirror, &pod(|_| {})), (&pod(|_| {}), &mirror)] {
            assert!(
                pod_update(new, old)[0]
                    .detail
                    .ends_with("may not remove or update mirror pod annotation")
            );
        }
    }

    #[test]
    fn gated_pods_may_be_aimed_and_a_negative_grace_mended() {
        let term = |values: Value| {
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": values}]}}})
        };
        let a = json!({"key": "a", "operator": "Exists"});
        let gated = pod(|p| {
            p["spec"]["schedulingGates"] = json!([{"name": "x.y/z"}]);
            p["spec"]["affinity"] = term(json!([a]));
        });
        let changed = |gates: Value, affinity: Value| {
            pod(|p| {
                p["spec"]["schedulingGates"] = gates.clone();
                p["spec"]["nodeSelector"] = json!({"k": "v"});
                p["spec"]["affinity"] = affinity.clone();
            })
        };
        let b = json!({"key": "b", "operator": "Exists"});
        assert_eq!(pod_update(&changed(json!([]), term(json!([a, b]))), &gated), []);
        assert_eq!(pod_update(&changed(json!([]), term(json!([b]))), &gated).len(), 1);
        assert_eq!(pod_update(&changed(json!([]), Value::Null), &gated).len(), 1);
        let ungated = pod(|p| p["spec"]["affinity"] = term(json!([a])));
        assert_eq!(
            pod_update(&changed(json!([]), term(json!([a]))), &ungated).len(),
            1
        );
        let more = json!([{"name": "x.y/z"}, {"name": "x.y/a"}]);
        assert_eq!(pod_update(&changed(more, term(json!([a]))), &gated).len(), 1);
        let grace = |seconds: i64| pod(|p| p["spec"]["terminationGracePeriodSeconds"] = json!(seconds));
        assert_eq!(pod_update(&grace(1), &grace(-1)), []);
        assert_eq!(pod_update(&grace(2), &grace(-1)).len(), 1);
        assert_eq!(pod_update(&grace(1), &grace(30)).len(), 1);
    }

    #[test]
    fn what_ended_for_good_stays_ended() {
        let with = |policy: &str, state: Value| {
            pod(|p| {
                p["spec"]["restartPolicy"] = json!(policy);
                p["status"] = json!({"qosClass": "BestEffort", "containerStatuses": [
                    {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]});
            })
        };
        let (running, ended) = (
            json!({"running": {}}),
            |code: i32| json!({"terminated": {"exitCode": code}}),
        );
        for (policy, code, refused) in [
            ("Never", 1, 1),
            ("OnFailure", 1, 0),
            ("OnFailure", 0, 1),
            ("Always", 0, 0),
        ] {
            let found = pod_status_update(&with(policy, running.clone()), &with(policy, ended(code)));
            assert_eq!(found.len(), refused, "{policy} {code}: {found:?}");
        }
        let mut other = with("Never", ended(0));
        other.status.as_mut().unwrap().qos_class = Some("Burstable".into());
        assert_eq!(
            pod_status_update(&other, &with("Never", ended(0)))[0].to_string(),
            "status.qosClass: Invalid value: \"Burstable\": field is immutable"
        );
    }
}
