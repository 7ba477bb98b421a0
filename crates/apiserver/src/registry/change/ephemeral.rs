//! What may become of a pod's ephemeral containers.
use crate::status::cause;
use serde_json::Value;

/// What is wrong with a change of them.
pub fn ephemeral_causes(new: &Value, old: &Value) -> Vec<crate::status::Cause> {
    const PATH: &str = "spec.ephemeralContainers";
    if crate::resources::is_mirror(old) {
        return vec![cause::forbidden(
            PATH,
            "static pods do not support ephemeral containers",
        )];
    }
    let list = |value: &Value| {
        value["spec"]["ephemeralContainers"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let spec = &old["spec"];
    let lasting = [&spec["initContainers"], &spec["containers"]];
    let lasting = lasting.into_iter().filter_map(Value::as_array).flatten();
    let mut names: Vec<&str> = lasting.filter_map(|c| c["name"].as_str()).collect();
    let targets = names.clone();
    let (new, old) = (list(new), list(old));
    let mut causes = Vec::new();
    for container in &old {
        match new.iter().find(|c| c["name"] == container["name"]) {
            None => causes.push(cause::forbidden(
                PATH,
                &format!(
                    "existing ephemeral containers {} may not be removed\n",
                    container["name"]
                ),
            )),
            Some(same) if same != container => causes.push(cause::forbidden(
                PATH,
                &format!(
                    "existing ephemeral containers {} may not be changed\n",
                    container["name"]
                ),
            )),
            Some(_) => {}
        }
    }
    for (index, container) in new.iter().enumerate() {
        for field in [
            "ports",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            if !container[field].is_null() {
                causes.push(cause::forbidden(
                    &format!("{PATH}[{index}].{field}"),
                    "cannot be set for an Ephemeral Container",
                ));
            }
        }
        let name = container["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            causes.push(cause::required(&format!("{PATH}[{index}].name"), ""));
        } else if names.contains(&name) {
            causes.push(crate::status::Cause::new(
                "FieldValueDuplicate",
                format!("{PATH}[{index}].name"),
                format!("Duplicate value: {name:?}"),
            ));
        }
        names.push(name);
        let target = container["targetContainerName"].as_str().unwrap_or_default();
        if !target.is_empty() && !targets.contains(&target) {
            causes.push(crate::status::Cause::new(
                "FieldValueNotFound",
                format!("{PATH}[{index}].targetContainerName"),
                format!("Not found: {target:?}"),
            ));
        }
        if container["image"].as_str().unwrap_or_default().is_empty() {
            causes.push(cause::required(&format!("{PATH}[{index}].image"), ""));
        }
    }
    causes
}
