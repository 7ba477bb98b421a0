//! Namespace: Active until asked to go, gone when its finalizers are (contract §13).
use super::definition::{Field, PART_VERBS, Read, Resource, Subresource};
use super::rules::{NameRule, Rules};
use orlop_api::annotations::NAMESPACE_NAME_LABEL;
use serde_json::{Value, json};

pub const NAMESPACES: Resource = Resource {
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    ..Resource::new("", "namespaces", "namespace", "Namespace")
        .cluster_scoped()
        .short(&["ns"])
        .with_subresources(&[
            Subresource {
                name: "finalize",
                verbs: &["update"],
                kind: None,
            },
            Subresource {
                name: "status",
                verbs: PART_VERBS,
                kind: None,
            },
        ])
        .with_fields(&[Field {
            name: "status.phase",
            read: Read::Text("/status/phase"),
        }])
        .with_rules(Rules {
            name: NameRule::Label,
            delete_answers_object: true,
            default: name_label,
            prepare_create: |namespace| {
                namespace["status"] = json!({"phase": "Active"});
                let finalizers = namespace["spec"]["finalizers"].as_array_mut();
                match finalizers {
                    Some(list) if list.iter().any(|f| f == "kubernetes") => {}
                    Some(list) => list.push(json!("kubernetes")),
                    None => namespace["spec"]["finalizers"] = json!(["kubernetes"]),
                }
            },
            // Only the finalize subresource changes the spec.
            prepare_update: |new, old| new["spec"] = old["spec"].clone(),
            ..Rules::GENERIC
        })
};

fn name_label(namespace: &mut Value) {
    let name = namespace.pointer("/metadata/name").cloned();
    if let Some(name) = name.filter(Value::is_string) {
        namespace["metadata"]["labels"][NAMESPACE_NAME_LABEL] = name;
    }
}
