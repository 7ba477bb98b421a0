//! Core kinds with few rules of their own.
use super::definition::{CREATE_ONLY, Field, Read, Resource, SCALE, STATUS, Subresource};
use super::meaning::fill;
use super::rules::Rules;
use super::validation;
use crate::status::{Cause, cause};
use orlop_api::defaults;
use serde_json::{Value, json};

const DELETE_ANSWERS_OBJECT: Rules = Rules {
    delete_answers_object: true,
    ..Rules::GENERIC
};

pub const BINDINGS: Resource = Resource {
    verbs: CREATE_ONLY,
    storage: "",
    ..Resource::new("", "bindings", "binding", "Binding")
};

pub const PODTEMPLATES: Resource = Resource::new("", "podtemplates", "podtemplate", "PodTemplate")
    .with_rules(Rules {
        default: |object| defaults::pod_template(&mut object["template"]),
        warnings: |object| validation::template_warnings(&object["template"], "template"),
        ..DELETE_ANSWERS_OBJECT
    });

pub const REPLICATIONCONTROLLERS: Resource = Resource::new(
    "",
    "replicationcontrollers",
    "replicationcontroller",
    "ReplicationController",
)
.short(&["rc"])
.in_all()
.stored_under("controllers")
.with_subresources(&[SCALE, STATUS])
.with_fields(&[Field {
    name: "status.replicas",
    read: Read::Number("/status/replicas"),
}])
.with_rules(Rules {
    default: default_controller,
    leaves_dependents: true,
    prepare_create: |controller| controller["status"] = json!({"replicas": 0}),
    validate_create: validate_controller,
    validate_update: |new, _| validate_controller(new),
    warnings: validation::workload_warnings,
    ..Rules::WITH_GENERATION
});

fn default_controller(controller: &mut Value) {
    let labels = controller["spec"]["template"]["metadata"]["labels"].clone();
    if labels.is_object() {
        fill(&mut controller["spec"], "selector", || labels.clone());
        fill(&mut controller["metadata"], "labels", || labels.clone());
    }
    fill(&mut controller["spec"], "replicas", || json!(1));
    defaults::pod_template(&mut controller["spec"]["template"]);
}

fn validate_controller(controller: &Value) -> Vec<Cause> {
    let spec = &controller["spec"];
    let mut causes = Vec::new();
    let wanted = spec["selector"].as_object();
    match wanted.filter(|selector| !selector.is_empty()) {
        None => causes.push(cause::required("spec.selector", "")),
        Some(selector) => {
            let labels = &spec["template"]["metadata"]["labels"];
            if selector.iter().any(|(key, value)| labels[key] != *value) {
                causes.push(cause::invalid(
                    "spec.template.metadata.labels",
                    labels,
                    "`selector` does not match template `labels`",
                ));
            }
        }
    }
    if spec["template"].is_object() {
        causes.extend(validation::template(&spec["template"], &["Always"]));
    } else {
        causes.push(cause::required("spec.template", ""));
    }
    causes.extend(validation::not_negative(spec, "replicas", "spec.replicas"));
    causes
}

pub const SERVICEACCOUNTS: Resource =
    Resource::new("", "serviceaccounts", "serviceaccount", "ServiceAccount")
        .short(&["sa"])
        .with_subresources(&[Subresource {
            name: "token",
            verbs: CREATE_ONLY,
            kind: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        }])
        .with_rules(Rules {
            warnings: account_warnings,
            ..DELETE_ANSWERS_OBJECT
        });

/// What the annotation does is done better by namespaces.
fn account_warnings(account: &Value) -> Vec<String> {
    const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
    let has = account["metadata"]["annotations"].get(ENFORCE).is_some();
    let warning = || {
        format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )
    };
    has.then(warning).into_iter().collect()
}
