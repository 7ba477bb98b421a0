//! What may become of a pod's ephemeral containers (contract api-server §12.5).
use super::super::pods::is_mirror;
use super::list;
use crate::status::{Cause, cause};
use orlop_api::names::check_dns_label;
use serde_json::Value;

const PATH: &str = "spec.ephemeralContainers";
/// What a container has that comes late and goes early.
const FOREIGN: &[&str] = &[
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "resizePolicy",
];

/// What is wrong with a change of them.
pub fn pod_ephemeral(new: &Value, old: &Value) -> Vec<Cause> {
    if is_mirror(old) {
        let why = "static pods do not support ephemeral containers";
        return vec![cause::forbidden("[]", why)];
    }
    let spec = &old["spec"];
    let lasting = list(spec, "initContainers")
        .iter()
        .chain(list(spec, "containers"));
    let targets: Vec<&str> = lasting.filter_map(|c| c["name"].as_str()).collect();
    let (new, old) = (
        list(&new["spec"], "ephemeralContainers"),
        list(spec, "ephemeralContainers"),
    );
    let mut causes = Vec::new();
    let mut names = targets.clone();
    for (index, container) in new.iter().enumerate() {
        let path = format!("{PATH}[{index}]");
        let name = container["name"].as_str().unwrap_or_default();
        causes.extend(judge(container, &path, &targets));
        if !name.is_empty() && names.contains(&name) {
            causes.push(cause::duplicate(&format!("{path}.name"), name));
        }
        names.push(name);
    }
    for container in old {
        let name = &container["name"];
        let why = match new.iter().find(|c| c["name"] == *name) {
            None => format!("existing ephemeral containers {name} may not be removed\n"),
            Some(same) if same != container => {
                format!("existing ephemeral containers {name} may not be changed\n")
            }
            Some(_) => continue,
        };
        causes.push(cause::forbidden(PATH, &why));
    }
    causes
}

/// One by itself.
fn judge(container: &Value, path: &str, targets: &[&str]) -> Vec<Cause> {
    let text = |key: &str| container[key].as_str().unwrap_or_default();
    let at = |key: &str| format!("{path}.{key}");
    let mut causes = Vec::new();
    let (name, image, target) = (text("name"), text("image"), text("targetContainerName"));
    if name.is_empty() {
        causes.push(cause::required(&at("name"), ""));
    } else {
        let reasons = check_dns_label(name);
        let invalid = |why: &String| cause::invalid(&at("name"), &container["name"], why);
        causes.extend(reasons.iter().map(invalid));
    }
    if image.is_empty() {
        causes.push(cause::required(&at("image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        causes.push(cause::invalid(&at("image"), &container["image"], why));
    }
    if !target.is_empty() && !targets.contains(&target) {
        causes.push(cause::not_found(&at("targetContainerName"), target));
    }
    let is_set = |key: &&&str| match &container[**key] {
        Value::Null => false,
        // Upstream's type always writes some of them.
        Value::Object(fields) if **key == "resources" => !fields.is_empty(),
        _ => true,
    };
    let foreign = FOREIGN.iter().filter(is_set);
    causes.extend(foreign.map(|key| cause::forbidden(&at(key), "cannot be set for an Ephemeral Container")));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(ephemeral: Value) -> Value {
        json!({"metadata": {}, "spec": {"containers": [{"name": "c"}], "ephemeralContainers": ephemeral}})
    }

    #[test]
    fn containers_that_come_late_are_judged_as_such() {
        let old = pod(json!([{"name": "e", "image": "i", "resources": {}}]));
        let with = |added: Value| {
            let new = pod(json!([{"name": "e", "image": "i", "resources": {}}, added]));
            cause::shown(&pod_ephemeral(&new, &old))
        };
        let fine = json!({"name": "f", "image": "i", "resources": {}, "targetContainerName": "c"});
        assert_eq!(with(fine), [""; 0]);
        for (added, want) in [
            (json!({"image": "i"}), "name: Required value"),
            (json!({"name": "e", "image": "i"}), "name: Duplicate value: \"e\""),
            (
                json!({"name": "F", "image": "i"}),
                "name: Invalid value: \"F\": a lowercase RFC 1123 label",
            ),
            (json!({"name": "f"}), "image: Required value"),
            (
                json!({"name": "f", "image": "i "}),
                "image: Invalid value: \"i \": must not have leading or trailing whitespace",
            ),
            (
                json!({"name": "f", "image": "i", "targetContainerName": "e"}),
                "targetContainerName: Not found: \"e\"",
            ),
            (
                json!({"name": "f", "image": "i", "resources": {"limits": {"cpu": "1"}}}),
                "resources: Forbidden: cannot be set for an Ephemeral Container",
            ),
        ] {
            let found = with(added);
            let want = format!("spec.ephemeralContainers[1].{want}");
            assert!(
                found.len() == 1 && found[0].starts_with(&want),
                "{want}: {found:?}"
            );
        }
    }

    #[test]
    fn those_that_are_there_stay_and_mirrors_get_none() {
        let old = pod(json!([{"name": "e", "image": "i"}]));
        let changed = pod(json!([{"name": "e", "image": "j"}]));
        assert_eq!(
            cause::shown(&pod_ephemeral(&changed, &old)),
            ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be changed\n"]
        );
        assert_eq!(
            cause::shown(&pod_ephemeral(&pod(json!([])), &old)),
            ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"]
        );
        let mut mirror = pod(json!([]));
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "h"});
        assert_eq!(
            cause::shown(&pod_ephemeral(&old, &mirror)),
            ["[]: Forbidden: static pods do not support ephemeral containers"]
        );
    }
}
