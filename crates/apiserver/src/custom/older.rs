//! CustomResourceDefinitions as upstream's servers store them: to this day in apiextensions.k8s.io/v1beta1, in JSON, where
//! what all versions have in common may stand once beside them.
use super::DEFINITIONS;
use crate::encode;
use crate::resources::Resource;
use bytes::Bytes;
use serde_json::{Map, Value, json};

const V1BETA1: &str = "apiextensions.k8s.io/v1beta1";
const V1: &str = "apiextensions.k8s.io/v1";
/// What may stand once, and where it stands in a version.
const COMMON: &[(&str, &str)] = &[
    ("validation", "schema"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// A stored definition, in v1.
///
/// # Errors
/// It is no JSON.
pub fn definition(stored: &[u8]) -> Result<Value, serde_json::Error> {
    let mut crd = serde_json::from_slice(stored)?;
    to_v1(&mut crd);
    Ok(crd)
}

/// What a stored value is in v1, if it is a definition of v1beta1.
///
/// # Errors
/// It is no JSON.
pub fn in_v1(resource: &Resource, stored: &[u8]) -> Result<Option<Bytes>, serde_json::Error> {
    if resource.storage != DEFINITIONS || encode::has_head(stored, resource) {
        return Ok(None);
    }
    let mut crd: Value = serde_json::from_slice(stored)?;
    if crd["apiVersion"] != V1BETA1 || crd.pointer("/metadata/name").is_none() {
        return Ok(None);
    }
    to_v1(&mut crd);
    Ok(Some(encode::stored(resource, &crd)))
}

fn to_v1(crd: &mut Value) {
    if crd["apiVersion"] != V1BETA1 {
        return;
    }
    crd["apiVersion"] = json!(V1);
    let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let only = spec.remove("version").filter(|name| *name != "");
    let mut versions = match spec.remove("versions") {
        Some(Value::Array(versions)) if !versions.is_empty() => versions,
        _ => {
            let only = only.filter(Value::is_string).into_iter();
            only.map(|name| json!({"name": name, "served": true, "storage": true}))
                .collect()
        }
    };
    for (before, now) in COMMON {
        if let Some(common) = spec.remove(*before).filter(|common| !common.is_null()) {
            for version in versions.iter_mut().filter_map(Value::as_object_mut) {
                version.insert((*now).to_owned(), common.clone());
            }
        }
    }
    versions.iter_mut().for_each(rename_paths);
    spec.insert("versions".to_owned(), Value::Array(versions));
    if spec
        .get("scope")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        spec.insert("scope".to_owned(), json!("Namespaced"));
    }
    // Whoever said nothing kept them.
    if spec.remove("preserveUnknownFields") != Some(Value::Bool(false)) {
        spec.insert("preserveUnknownFields".to_owned(), Value::Bool(true));
    }
    let conversion = conversion(spec.remove("conversion"));
    spec.insert("conversion".to_owned(), conversion);
}

/// Columns name their places with another key.
fn rename_paths(version: &mut Value) {
    let columns = version
        .get_mut("additionalPrinterColumns")
        .and_then(Value::as_array_mut);
    for column in columns.into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(path) = column.remove("JSONPath") {
            column.insert("jsonPath".to_owned(), path);
        }
    }
}

fn conversion(before: Option<Value>) -> Value {
    let mut before = match before {
        Some(Value::Object(before)) => before,
        _ => Map::new(),
    };
    if before
        .get("strategy")
        .is_none_or(|strategy| strategy != "Webhook")
    {
        return json!({"strategy": "None"});
    }
    let mut webhook = Map::new();
    if let Some(client) = before.remove("webhookClientConfig") {
        webhook.insert("clientConfig".to_owned(), client);
    }
    let reviews = before.remove("conversionReviewVersions");
    let reviews = reviews
        .filter(Value::is_array)
        .unwrap_or_else(|| json!(["v1beta1"]));
    webhook.insert("conversionReviewVersions".to_owned(), reviews);
    json!({"strategy": "Webhook", "webhook": webhook})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(crd: &Value) -> Value {
        definition(crd.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_stands_once_is_said_of_each_version() {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let crd = read(
            &json!({"kind": "CustomResourceDefinition", "apiVersion": V1BETA1, "metadata": {"name": "as.e.com"},
            "spec": {"group": "e.com", "version": "v1", "scope": "Cluster", "names": {"plural": "as", "kind": "A"},
                "validation": schema, "subresources": {"status": {}}, "preserveUnknownFields": false,
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "JSONPath": ".spec.size"}],
                "versions": [{"name": "v1", "served": true, "storage": true}, {"name": "v2", "served": false, "storage": false}],
                "conversion": {"strategy": "Webhook", "conversionReviewVersions": ["v1"],
                    "webhookClientConfig": {"url": "https://hook"}}},
            "status": {"storedVersions": ["v1"]}}),
        );
        let version = |name: &str, is_first: bool| {
            json!({"name": name, "served": is_first, "storage": is_first, "schema": schema,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]})
        };
        assert_eq!(
            crd,
            json!({"kind": "CustomResourceDefinition", "apiVersion": V1, "metadata": {"name": "as.e.com"},
            "spec": {"group": "e.com", "scope": "Cluster", "names": {"plural": "as", "kind": "A"},
                "versions": [version("v1", true), version("v2", false)],
                "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://hook"},
                    "conversionReviewVersions": ["v1"]}}},
            "status": {"storedVersions": ["v1"]}})
        );
    }

    #[test]
    fn what_is_not_said_is_what_it_was_then() {
        let crd = read(&json!({"apiVersion": V1BETA1, "spec": {"group": "e.com", "version": "v1"}}));
        assert_eq!(
            crd["spec"],
            json!({"group": "e.com", "scope": "Namespaced", "preserveUnknownFields": true,
                "versions": [{"name": "v1", "served": true, "storage": true}], "conversion": {"strategy": "None"}})
        );
        let asking = read(&json!({"apiVersion": V1BETA1, "spec": {"conversion": {"strategy": "Webhook"}}}));
        assert_eq!(
            asking["spec"]["conversion"]["webhook"]["conversionReviewVersions"],
            json!(["v1beta1"])
        );
    }

    #[test]
    fn versions_may_differ_and_those_of_v1_stay_as_they_are() {
        let columns = |key: &str| json!([{"name": "Size", "type": "integer", key: ".spec.size"}]);
        let crd = |api_version: &str, key: &str| {
            json!({"apiVersion": api_version, "spec": {"scope": "Cluster", "conversion": {"strategy": "None"}, "versions": [
                {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}, "additionalPrinterColumns": columns(key)},
                {"name": "v2", "schema": {"openAPIV3Schema": {"type": "object", "properties": {}}}}]}})
        };
        let mut before = crd(V1BETA1, "JSONPath");
        before["spec"]["preserveUnknownFields"] = json!(false);
        assert_eq!(read(&before), crd(V1, "jsonPath"));
        assert_eq!(read(&crd(V1, "JSONPath")), crd(V1, "JSONPath"));
    }
}
