//! CustomResourceDefinitions (contract §18). What they declare is served by `custom`.
use super::definition::{Resource, STATUS};
use super::rules::Rules;
use super::webhooks::client as validate_client;
use crate::custom::DEFINITIONS;
use crate::custom::schema_path;
use crate::registry::now;
use crate::status::{Cause, cause};
use orlop_api::{names, structural};
use serde_json::{Value, json};

/// Keeps a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

const APPROVED: &str = "api-approved.kubernetes.io";

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
        // Admission writes it, beside the other definitions.
        keeps_status_on_create: true,
        default,
        prepare_update,
        prepare_delete,
        validate_create: |crd| {
            let mut causes = validate(crd);
            causes.extend(too_expensive(crd, None));
            causes
        },
        validate_update: |new, old| {
            let mut causes = validate(new);
            causes.extend(validate_change(new, old));
            causes.extend(too_expensive(new, Some(old)));
            causes
        },
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

/// Names that were accepted stay; a new storage version is remembered beside those that objects may still have.
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
    if crate::custom::is_established(new) {
        let names = new["spec"]["names"].clone();
        new["status"]["acceptedNames"] = names;
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

fn validate(crd: &Value) -> Vec<Cause> {
    let (spec, mut causes) = (&crd["spec"], Vec::new());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    let name = text(&crd["metadata"]["name"]);
    if name != format!("{plural}.{group}") {
        causes.push(cause::invalid(
            "metadata.name",
            &json!(name),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    let reserved = group == "k8s.io"
        || group == "kubernetes.io"
        || group.ends_with(".k8s.io")
        || group.ends_with(".kubernetes.io");
    if reserved && text(&crd["metadata"]["annotations"][APPROVED]).is_empty() {
        causes.push(cause::required(
            &format!("metadata.annotations[{APPROVED}]"),
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        ));
    }
    if group.is_empty() {
        causes.push(cause::required("spec.group", ""));
    } else if !group.contains('.') {
        causes.push(cause::invalid(
            "spec.group",
            &json!(group),
            "should be a domain with at least one dot",
        ));
    } else {
        let wrong = names::check_dns_subdomain(&group);
        causes.extend(
            wrong
                .iter()
                .map(|why| cause::invalid("spec.group", &json!(group), why)),
        );
    }
    match spec["scope"].as_str() {
        Some("Namespaced" | "Cluster") => {}
        None | Some("") => causes.push(cause::required("spec.scope", "")),
        Some(other) => causes.push(cause::unsupported(
            "spec.scope",
            other,
            &["Cluster", "Namespaced"],
        )),
    }
    for key in ["plural", "kind"] {
        if text(&spec["names"][key]).is_empty() {
            causes.push(cause::required(&format!("spec.names.{key}"), ""));
        }
    }
    for key in ["plural", "singular", "kind", "listKind"] {
        let name = text(&spec["names"][key]).to_lowercase();
        let wrong = if name.is_empty() {
            Vec::new()
        } else {
            names::check_dns_label(&name)
        };
        let field = format!("spec.names.{key}");
        causes.extend(wrong.iter().map(|why| cause::invalid(&field, &json!(name), why)));
    }
    causes.extend(validate_versions(crd));
    causes
}

fn validate_versions(crd: &Value) -> Vec<Cause> {
    let (versions, mut causes) = (versions(crd), Vec::new());
    let stored = versions.iter().filter(|v| v["storage"] == true).count();
    if stored != 1 {
        causes.push(cause::invalid(
            "spec.versions",
            &crd["spec"]["versions"],
            "must have exactly one version marked as storage version",
        ));
    }
    for (number, version) in versions.iter().enumerate() {
        let name = version["name"].as_str().unwrap_or_default();
        let field = format!("spec.versions[{number}].name");
        let wrong = names::check_dns_label(name);
        causes.extend(wrong.iter().map(|why| cause::invalid(&field, &json!(name), why)));
        if versions[..number].iter().any(|v| v["name"] == name) {
            causes.push(cause::invalid(&field, &json!(name), "must be unique"));
        }
        let schema = &version["schema"]["openAPIV3Schema"];
        if !schema.is_object() {
            causes.push(cause::required(
                &format!("spec.versions[{number}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
            continue;
        }
        for error in structural::compile(schema, &schema_path(number))
            .err()
            .into_iter()
            .flatten()
        {
            causes.push(if error.missing {
                cause::required(&error.path, &error.message)
            } else {
                Cause::new(
                    "FieldValueInvalid",
                    error.path,
                    format!("Invalid value: {}", error.message),
                )
            });
        }
    }
    causes.extend(validate_conversion(&crd["spec"]));
    causes
}

/// Fields are named as upstream does, which is by another version of the kind.
fn validate_conversion(spec: &Value) -> Vec<Cause> {
    const CLIENT: &str = "spec.conversion.webhookClientConfig";
    const REVIEWS: &str = "spec.conversion.conversionReviewVersions";
    let (conversion, webhook) = (&spec["conversion"], &spec["conversion"]["webhook"]);
    let reviews = &webhook["conversionReviewVersions"];
    let mut causes = Vec::new();
    match conversion["strategy"].as_str() {
        None | Some("None") => {
            for (given, field) in [(&webhook["clientConfig"], CLIENT), (reviews, REVIEWS)] {
                if !given.is_null() {
                    causes.push(cause::forbidden(
                        field,
                        "should not be set when strategy is not set to Webhook",
                    ));
                }
            }
        }
        Some("Webhook") => {
            if spec["preserveUnknownFields"] == true {
                causes.push(cause::invalid(
                    "spec.conversion.strategy",
                    &conversion["strategy"],
                    "must be None if spec.preserveUnknownFields is true",
                ));
            }
            if webhook["clientConfig"].is_object() {
                causes.extend(validate_client(CLIENT, &webhook["clientConfig"]));
            } else {
                causes.push(cause::required(
                    CLIENT,
                    "required when strategy is set to Webhook",
                ));
            }
            let named = reviews.as_array().map_or(&[][..], Vec::as_slice);
            if named.is_empty() {
                causes.push(cause::required(REVIEWS, ""));
            } else if !named.iter().any(|v| v == "v1" || v == "v1beta1") {
                causes.push(cause::invalid(
                    REVIEWS,
                    reviews,
                    "must include at least one of v1, v1beta1",
                ));
            }
        }
        Some(other) => causes.push(cause::unsupported(
            "spec.conversion.strategy",
            other,
            &["None", "Webhook"],
        )),
    }
    causes
}

/// Rules that may take too long. What was accepted before, maybe by another server, stays.
fn too_expensive(crd: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (number, version) in versions(crd).iter().enumerate() {
        let schema = &version["schema"];
        if old.is_some_and(|old| versions(old).iter().any(|before| before["schema"] == *schema)) {
            continue;
        }
        let path = schema_path(number);
        if let Ok(node) = structural::compile(&schema["openAPIV3Schema"], &path) {
            let found = structural::too_expensive(&node, &path);
            causes.extend(
                found
                    .iter()
                    .map(|found| cause::forbidden(&found.path, &found.message)),
            );
        }
    }
    causes
}

fn validate_change(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in ["group", "scope"] {
        if new["spec"][key] != old["spec"][key] {
            causes.push(cause::invalid(
                &format!("spec.{key}"),
                &new["spec"][key],
                "field is immutable",
            ));
        }
    }
    for key in ["plural", "kind"] {
        if crate::custom::is_established(old) && new["spec"]["names"][key] != old["spec"]["names"][key] {
            let field = format!("spec.names.{key}");
            causes.push(cause::invalid(
                &field,
                &new["spec"]["names"][key],
                "field is immutable",
            ));
        }
    }
    let names: Vec<&Value> = versions(new).iter().map(|v| &v["name"]).collect();
    for (number, stored) in old["status"]["storedVersions"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if !names.contains(&stored) {
            causes.push(cause::invalid(
                &format!("status.storedVersions[{number}]"),
                stored,
                &format!("missing from spec.versions; {} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {} and removes {} from status.storedVersions",
                    stored.as_str().unwrap_or_default(), stored.as_str().unwrap_or_default(), stored.as_str().unwrap_or_default()),
            ));
        }
    }
    causes
}
