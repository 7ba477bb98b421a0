//! What may change in a pod once it exists (contract api-server §12.4).
use super::{list, text};
use crate::status::{Cause, cause};
use orlop_api::annotations::CONFIG_MIRROR;
use serde_json::Value;

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks a change of the main resource.
pub fn pod_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mirror = |pod: &Value| pod["metadata"]["annotations"].get(CONFIG_MIRROR).cloned();
    if mirror(new) != mirror(old) {
        causes.push(cause::invalid(
            &format!("metadata.annotations[{CONFIG_MIRROR}]"),
            &mirror(new).unwrap_or_default(),
            "may not remove or update mirror pod annotation",
        ));
    }
    let (spec, before) = (&new["spec"], &old["spec"]);
    for kind in ["containers", "initContainers"] {
        if list(spec, kind).len() != list(before, kind).len() {
            causes.push(cause::forbidden(
                &format!("spec.{kind}"),
                "pod updates may not add or remove containers",
            ));
            return causes;
        }
        for (index, container) in list(spec, kind).iter().enumerate() {
            if text(container, "image").is_empty() {
                causes.push(cause::required(&format!("spec.{kind}[{index}].image"), ""));
            }
        }
    }
    causes.extend(deadline(spec, before));
    causes.extend(tolerations(spec, before));
    if causes.is_empty() && rest(spec, before) != *before {
        let diff = difference(spec, before);
        causes.push(cause::forbidden("spec", &format!("{MAY_CHANGE}\n{diff}")));
    }
    causes
}

fn deadline(spec: &Value, before: &Value) -> Option<Cause> {
    let key = "activeDeadlineSeconds";
    let (now, was) = (spec[key].as_i64(), before[key].as_i64());
    if now == was {
        return None;
    }
    let hint = match (now, was) {
        (Some(now), _) if now < 1 => "must be between 1 and 2147483647, inclusive",
        (Some(now), Some(was)) if now > was => "must be less than or equal to previous value",
        (None, Some(_)) => "must not update from a positive integer to nil value",
        _ => return None,
    };
    Some(cause::invalid("spec.activeDeadlineSeconds", &spec[key], hint))
}

/// Every toleration stays, except for its seconds.
fn tolerations(spec: &Value, before: &Value) -> Option<Cause> {
    let plain = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(fields) = toleration.as_object_mut() {
            fields.remove("tolerationSeconds");
        }
        toleration
    };
    let now: Vec<Value> = list(spec, "tolerations").iter().map(plain).collect();
    let kept = list(before, "tolerations")
        .iter()
        .all(|t| now.contains(&plain(t)));
    (!kept).then(|| {
        cause::forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        )
    })
}

/// The new spec with everything that may change put back.
fn rest(spec: &Value, before: &Value) -> Value {
    let mut spec = spec.clone();
    for kind in ["containers", "initContainers"] {
        let images: Vec<Value> = list(before, kind).iter().map(|c| c["image"].clone()).collect();
        let containers = spec.get_mut(kind).and_then(Value::as_array_mut);
        for (container, image) in containers.into_iter().flatten().zip(images) {
            container["image"] = image;
        }
    }
    let mut changeable = vec!["activeDeadlineSeconds", "tolerations"];
    let grace = "terminationGracePeriodSeconds";
    if before[grace].as_i64().is_some_and(|n| n < 0) && spec[grace] == 1 {
        changeable.push(grace);
    }
    if !list(before, "schedulingGates").is_empty() {
        // A gated pod may lose gates and be aimed more narrowly.
        let open = list(&spec, "schedulingGates")
            .iter()
            .all(|gate| list(before, "schedulingGates").contains(gate));
        let narrower = before["nodeSelector"]
            .as_object()
            .into_iter()
            .flatten()
            .all(|(key, value)| spec["nodeSelector"].get(key) == Some(value));
        if open {
            changeable.push("schedulingGates");
        }
        if narrower {
            changeable.push("nodeSelector");
        }
    }
    if let Some(fields) = spec.as_object_mut() {
        for key in changeable {
            match before.get(key) {
                Some(value) => fields.insert(key.to_owned(), value.clone()),
                None => fields.remove(key),
            };
        }
    }
    spec
}

/// The members that differ, for people.
fn difference(spec: &Value, before: &Value) -> String {
    let mut keys: Vec<&String> = [spec, before]
        .iter()
        .filter_map(|v| v.as_object())
        .flat_map(|o| o.keys())
        .collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| spec[key.as_str()] != before[key.as_str()])
        .map(|key| {
            format!(
                "- {key}: {}\n+ {key}: {}\n",
                before[key.as_str()],
                spec[key.as_str()]
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(change: impl Fn(&mut Value)) -> Value {
        let mut pod = json!({"metadata": {}, "spec": {
            "containers": [{"name": "c", "image": "i:1"}],
            "activeDeadlineSeconds": 100,
            "restartPolicy": "Always",
            "tolerations": [{"key": "a", "operator": "Exists"}],
        }});
        change(&mut pod);
        pod
    }

    /// O05, O06, O07
    #[test]
    fn little_may_change() {
        let old = pod(|_| {});
        let fields = |change: &dyn Fn(&mut Value)| -> Vec<String> {
            pod_update(&pod(change), &old)
                .into_iter()
                .map(|c| c.field)
                .collect()
        };
        let nothing: [String; 0] = [];
        assert_eq!(
            fields(&|p| p["spec"]["containers"][0]["image"] = json!("i:2")),
            nothing
        );
        assert_eq!(
            fields(&|p| p["spec"]["activeDeadlineSeconds"] = json!(50)),
            nothing
        );
        assert_eq!(
            fields(&|p| p["spec"]["activeDeadlineSeconds"] = json!(200)),
            ["spec.activeDeadlineSeconds"]
        );
        assert_eq!(
            fields(&|p| p["spec"]["tolerations"] =
                json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}])),
            nothing
        );
        assert_eq!(
            fields(&|p| p["spec"]["tolerations"] = json!([])),
            ["spec.tolerations"]
        );
        assert_eq!(fields(&|p| p["spec"]["restartPolicy"] = json!("Never")), ["spec"]);
        assert_eq!(
            fields(&|p| p["spec"]["containers"] = json!([])),
            ["spec.containers"]
        );
        assert_eq!(
            fields(&|p| p["metadata"]["annotations"] = json!({CONFIG_MIRROR: "h"})),
            ["metadata.annotations[kubernetes.io/config.mirror]"]
        );
    }
}
