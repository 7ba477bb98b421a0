//! What the server decides about an object's metadata: names, versions, ages (contract §6).
use crate::resources::{NameRule, Resource};
use crate::status::{ApiError, Cause, cause};
use jiff::Timestamp;
use orlop_api::names::{self, GENERATE_NAME_ALPHABET};
use orlop_api::validation;
use rand::Rng;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const NAME_SUFFIX_LENGTH: usize = 5;

/// The present, as metadata writes it.
pub fn now() -> String {
    whole_seconds(Timestamp::now())
}

/// RFC 3339 in UTC, whole seconds.
pub fn whole_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The same with microseconds.
pub fn microseconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    match object["metadata"].as_object_mut() {
        Some(metadata) => metadata,
        None => unreachable!("metadata was just made an object"),
    }
}

/// A metadata string, empty when absent.
pub fn text<'o>(object: &'o Value, key: &str) -> &'o str {
    object["metadata"][key].as_str().unwrap_or_default()
}

pub fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The body's namespace must be the URL's, and becomes it. Where objects have none, what was given is forgotten: charts
/// give one to everything.
pub fn settle_namespace(resource: &Resource, object: &mut Value, namespace: &str) -> Result<(), ApiError> {
    let given = text(object, "namespace");
    if !resource.namespaced {
        metadata(object).remove("namespace");
        return Ok(());
    }
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    metadata(object).insert("namespace".into(), json!(namespace));
    Ok(())
}

/// Drops what only the server sets, before admission of a create.
pub fn forget_server_fields(object: &mut Value) -> Result<(), ApiError> {
    if !text(object, "resourceVersion").is_empty() {
        return Err(ApiError::untyped(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let metadata = metadata(object);
    for key in [
        "uid",
        "creationTimestamp",
        "generation",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "resourceVersion",
    ] {
        metadata.remove(key);
    }
    Ok(())
}

/// Gives a new object its identity, after mutating admission.
pub fn assign(resource: &Resource, object: &mut Value) {
    let generate = text(object, "name").is_empty() && !text(object, "generateName").is_empty();
    let generated = generate.then(|| generated_name(text(object, "generateName")));
    let metadata = metadata(object);
    if let Some(name) = generated {
        metadata.insert("name".into(), json!(name));
    }
    metadata.insert("uid".into(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".into(), json!(now()));
    if resource.rules.generation {
        metadata.insert("generation".into(), json!(1));
    }
}

pub fn generated_name(prefix: &str) -> String {
    let mut rng = rand::rng();
    let mut name = names::generate_name_base(prefix).to_owned();
    for _ in 0..NAME_SUFFIX_LENGTH {
        name.push(char::from(
            GENERATE_NAME_ALPHABET[rng.random_range(0..GENERATE_NAME_ALPHABET.len())],
        ));
    }
    name
}

/// Who repeated an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The client.
    Given,
    /// The client by a patch, or others afterwards.
    Admitted,
}

/// Removes repeated owners (by uid); answers the warning to give.
pub fn single_owners(object: &mut Value, repeated: Repeated) -> Option<String> {
    let owners = object.pointer_mut("/metadata/ownerReferences")?.as_array_mut()?;
    let mut seen = Vec::new();
    let mut again = BTreeSet::new();
    owners.retain(|owner| {
        let uid = owner["uid"].clone();
        let new = !seen.contains(&uid);
        if !new {
            again.insert(uid.as_str().unwrap_or_default().to_owned());
        }
        seen.push(uid);
        new
    });
    let when = match repeated {
        Repeated::Given => "",
        Repeated::Admitted => " after mutating admission happens",
    };
    (!again.is_empty()).then(|| {
        let uids: Vec<String> = again.into_iter().collect();
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            uids.join(", ")
        )
    })
}

/// Checks metadata of a new object.
pub fn validate(resource: &Resource, object: &Value) -> Vec<Cause> {
    let name = text(object, "name");
    let mut causes = Vec::new();
    if name.is_empty() {
        causes.push(cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        causes.extend(
            check_name(resource.rules.name, name)
                .into_iter()
                .map(|why| cause::invalid("metadata.name", &json!(name), &why)),
        );
    }
    causes.extend(validate_common(resource, object));
    causes
}

fn check_name(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => names::check_dns_subdomain(name),
        NameRule::Label => names::check_dns_label(name),
        NameRule::PathSegment => names::check_path_segment(name),
    }
}

/// Groups whose kinds are checked like custom ones.
const GENERIC_GROUPS: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
];

fn validate_common(resource: &Resource, object: &Value) -> Vec<Cause> {
    // Names were checked by the kind's own rule.
    let mut errors = validation::metadata(&object["metadata"]);
    if resource.custom.is_none() && !GENERIC_GROUPS.contains(&resource.group) {
        errors.extend(validation::finalizer_domains(&object["metadata"]));
    }
    errors.into_iter().map(Cause::from).collect()
}

/// What is said about metadata of a custom object that is valid.
pub fn warnings(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    if resource.custom.is_none() {
        return Vec::new();
    }
    let old = old.map_or(&Value::Null, |old| &old["metadata"]);
    validation::finalizer_warnings(&object["metadata"], old)
}

/// Checks metadata of a change.
pub fn validate_change(resource: &Resource, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate_common(resource, new);
    if !old["metadata"]["deletionTimestamp"].is_null() {
        let before = finalizers(old);
        let added: Vec<String> = finalizers(new)
            .into_iter()
            .filter(|f| !before.contains(f))
            .map(|f| format!("{f:?}"))
            .collect();
        if !added.is_empty() {
            causes.push(cause::forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.join(", ")
                ),
            ));
        }
    }
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if new["metadata"][key] != old["metadata"][key] {
            causes.push(cause::invalid(
                &format!("metadata.{key}"),
                &new["metadata"][key],
                "field is immutable",
            ));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C02
    #[test]
    fn generated_names_have_five_safe_letters() {
        let name = generated_name("full-");
        let suffix = name.strip_prefix("full-").unwrap();
        assert_eq!(suffix.len(), 5);
        assert!(suffix.bytes().all(|b| GENERATE_NAME_ALPHABET.contains(&b)));
        assert_eq!(generated_name(&"x".repeat(80)).len(), 63);
    }

    /// C13
    #[test]
    fn an_owner_counts_once() {
        let mut object = json!({"metadata": {"ownerReferences": [{"uid": "a"}, {"uid": "a"}, {"uid": "b"}]}});
        let warning = single_owners(&mut object.clone(), Repeated::Admitted).unwrap();
        assert!(warning.starts_with(
            ".metadata.ownerReferences contains duplicate entries after mutating admission happens; "
        ));
        let warning = single_owners(&mut object, Repeated::Given).unwrap();
        assert!(warning.starts_with(".metadata.ownerReferences contains duplicate entries; "));
        assert!(warning.ends_with("; please fix your requests; duplicate UID(s) observed: a"));
        assert_eq!(object["metadata"]["ownerReferences"].as_array().unwrap().len(), 2);
        assert_eq!(single_owners(&mut object, Repeated::Given), None);
    }
}
