//! CustomResourceDefinitions (contract §18). What they declare is served by `custom`.
mod validation;

pub use validation::approval_condition;

use super::definition::{Resource, STATUS};
use super::rules::Rules;
use crate::custom::DEFINITIONS;
use crate::registry::now;
use serde_json::{Value, json};

/// Keeps a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

pub const CUSTOMRESOURCEDEFINITIONS: Resource = Resource {
    categories: &["api-extensions"],
    ..Resource::new(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "customresourcedefinition",
        "CustomResourceDefinition",
    )
    .cluster_scoped()
    .short(&["crd", "crds"])
    .stored_under(DEFINITIONS)
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        unconditional_update: false,
        default,
        prepare_update,
        prepare_delete,
        validate_create: validation::create,
        validate_update: validation::update,
        ..Rules::WITH_GENERATION
    })
};

fn default(crd: &mut Value) {
    let spec = &mut crd["spec"];
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    for (key, value) in [
        ("singular", kind.to_lowercase()),
        ("listKind", format!("{kind}List")),
    ] {
        if spec["names"][key].as_str().is_none_or(str::is_empty) && !kind.is_empty() {
            spec["names"][key] = json!(value);
        }
    }
    if !spec["conversion"].is_object() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service")
        && service.is_object()
        && service["port"].is_null()
    {
        service["port"] = json!(443);
    }
}

/// A new storage version is remembered beside those that objects may still have. The names are seen to where it is stored.
fn prepare_update(new: &mut Value, _: &Value) {
    let stored: Vec<Value> = versions(new)
        .iter()
        .filter(|v| v["storage"] == true)
        .map(|v| v["name"].clone())
        .collect();
    if let Some(known) = new["status"]["storedVersions"].as_array_mut() {
        known.extend(
            stored
                .into_iter()
                .filter(|v| !known.contains(v))
                .collect::<Vec<_>>(),
        );
    }
}

fn prepare_delete(crd: &mut Value) {
    if !crd["metadata"]["finalizers"].is_array() {
        crd["metadata"]["finalizers"] = json!([]);
    }
    if let Some(finalizers) = crd["metadata"]["finalizers"].as_array_mut()
        && !finalizers.iter().any(|f| f == FINALIZER)
    {
        finalizers.push(json!(FINALIZER));
    }
    let terminating = json!({
        "type": "Terminating", "status": "True", "lastTransitionTime": now(), "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    });
    if let Some(conditions) = crd["status"]["conditions"].as_array_mut() {
        conditions.retain(|c| c["type"] != "Terminating");
        conditions.push(terminating);
    }
}

fn versions(crd: &Value) -> &[Value] {
    crd["spec"]["versions"].as_array().map_or(&[], Vec::as_slice)
}
