//! OpenAPI v2: all group-versions in one document, for clients from before v3 and for generators (contract §5).
//!
//! It is made from the documents of v3 when somebody asks, and kept compressed until something changes.
use super::Document;
use crate::resources;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::io::{self, Read, Write};
use tokio::sync::Mutex;

const V3: &str = "#/components/schemas/";
const V2: &str = "#/definitions/";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
/// Media types of patches.
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// The same for custom resources, whose lists have no merge strategies: kubectl patches as this says.
const CUSTOM_PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

/// The last document that was made: its version, and compressed text. Held while one is made: it takes many times its
/// size, and who waited for that finds it made.
static MADE: Mutex<Option<(String, Vec<u8>)>> = Mutex::const_new(None);

/// What the document's content depends on, as an entity tag.
pub fn etag(documents: &[Document]) -> String {
    let mut digest = Sha512::new();
    for document in documents {
        digest.update(&document.hash);
    }
    let hash: String = digest.finalize().iter().map(|b| format!("{b:02X}")).collect();
    format!("\"{hash}\"")
}

/// The text of the document that is made of these, whose tag is `etag`.
pub async fn text(documents: Vec<Document>, etag: &str) -> Vec<u8> {
    let mut made = MADE.lock().await;
    let mut text = Vec::new();
    if let Some((version, packed)) = made.as_ref()
        && version == etag
        && GzDecoder::new(packed.as_slice()).read_to_end(&mut text).is_ok()
    {
        return text;
    }
    // It takes long enough for others to notice.
    let making = tokio::task::spawn_blocking(move || {
        let text = whole(&documents).to_string().into_bytes();
        let packed = packed(&text).ok();
        (text, packed)
    });
    let (text, packed) = making.await.unwrap_or_default();
    if let Some(packed) = packed {
        *made = Some((etag.to_owned(), packed));
    }
    text
}

fn packed(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}

fn whole(documents: &[Document]) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for document in documents {
        // One after the other: parsed, a document takes many times its text.
        let Ok(mut v3) = serde_json::from_str::<Value>(&document.text()) else {
            tracing::error!(path = document.path, "a document is no JSON");
            continue;
        };
        if let Value::Object(schemas) = v3["components"]["schemas"].take() {
            for (name, schema) in schemas {
                if !definitions.contains_key(&name) {
                    let schema = definition(&name, schema);
                    definitions.insert(name, schema);
                }
            }
        }
        if let Value::Object(items) = v3["paths"].take() {
            paths.extend(items.into_iter().map(|(name, item)| (name, path(item))));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "definitions": definitions,
    })
}

fn definition(name: &str, mut schema: Value) -> Value {
    if let Some(anything) = anything(&schema) {
        return anything;
    }
    convert(&mut schema);
    if name == QUANTITY
        && let Some(members) = schema.as_object_mut()
    {
        members.remove("format");
    }
    schema
}

/// Of a kind that keeps whatever is in its objects: clients that validate by this document would refuse what it doesn't name
/// beside what it does.
fn anything(schema: &Value) -> Option<Value> {
    let kinds = schema.get("x-kubernetes-group-version-kind")?;
    if schema["x-kubernetes-preserve-unknown-fields"] != true {
        return None;
    }
    let mut anything = json!({"type": "object", "x-kubernetes-group-version-kind": kinds});
    if let Some(fields) = schema.get("x-kubernetes-selectable-fields") {
        anything["x-kubernetes-selectable-fields"] = fields.clone();
    }
    Some(anything)
}

fn is_nullable(members: &Map<String, Value>) -> bool {
    members.get("nullable") == Some(&Value::Bool(true))
}

/// What clients that validate by the older form may still insist on.
fn still_required(members: &Map<String, Value>, required: Vec<Value>) -> Vec<Value> {
    let any = members.get("additionalProperties").and_then(Value::as_object);
    if any.is_some_and(is_nullable) {
        return Vec::new();
    }
    let may_be_null = |name: &Value| {
        let properties = members.get("properties")?.as_object()?;
        let property = properties.get(name.as_str()?)?.as_object()?;
        Some(is_nullable(property))
    };
    required
        .into_iter()
        .filter(|name| may_be_null(name) != Some(true))
        .collect()
}

/// Gives a schema the form it has in v2.
fn convert(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    // The older form has no null: a value that may be one is of no type, and need not be there.
    if let Some(Value::Array(required)) = members.remove("required") {
        let required = still_required(members, required);
        if !required.is_empty() {
            members.insert("required".to_owned(), Value::Array(required));
        }
    }
    let nullable = is_nullable(members);
    if nullable {
        for typed in ["type", "items", "properties"] {
            members.remove(typed);
        }
    }
    for foreign in ["default", "nullable", "anyOf", "oneOf", "not"] {
        members.remove(foreign);
    }
    // Nothing may stand beside a reference in v3; here it may.
    if let Some(Value::Array(all)) = members.get("allOf")
        && let [Value::Object(one)] = all.as_slice()
        && let Some(reference) = one.get("$ref").cloned()
    {
        members.remove("allOf");
        members.remove("type");
        members.insert("$ref".to_owned(), reference);
    }
    if let Some(Value::String(reference)) = members.get_mut("$ref")
        && let Some(name) = reference.strip_prefix(V3)
    {
        *reference = format!("{V2}{name}");
    }
    if !nullable && members.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        members.insert("type".to_owned(), json!("string"));
        members.insert("format".to_owned(), json!("int-or-string"));
        members.remove("x-kubernetes-int-or-string");
    }
    // Clients that validate by this document would refuse what it doesn't name.
    if members.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        for known in ["properties", "additionalProperties", "items", "required", "type"] {
            members.remove(known);
        }
    }
    if let Some(Value::Array(schemas)) = members.get_mut("allOf") {
        schemas.iter_mut().for_each(convert);
    }
    for one in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(one) {
            convert(inner);
        }
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(convert);
    }
}

fn path(item: Value) -> Value {
    let Value::Object(members) = item else {
        return item;
    };
    let converted = members
        .into_iter()
        .map(|(name, value)| match (name.as_str(), value) {
            ("parameters", Value::Array(list)) => (name, list.into_iter().map(parameter).collect()),
            (_, value) => {
                let operation = operation(&name, value);
                (name, operation)
            }
        });
    Value::Object(converted.collect())
}

fn parameter(mut parameter: Value) -> Value {
    let schema = parameter["schema"].take();
    if let Value::Object(members) = &mut parameter {
        members.remove("schema");
        for key in ["type", "uniqueItems"] {
            if let Some(value) = schema.get(key) {
                members.insert(key.to_owned(), value.clone());
            }
        }
    }
    parameter
}

fn operation(method: &str, v3: Value) -> Value {
    let Value::Object(mut members) = v3 else {
        return v3;
    };
    let mut parameters: Vec<Value> = match members.remove("parameters") {
        Some(Value::Array(list)) => list.into_iter().map(parameter).collect(),
        _ => Vec::new(),
    };
    let content = |mut place: Value| -> Value {
        let mut schema = place["content"]["application/json"]["schema"].take();
        convert(&mut schema);
        schema
    };
    let body = match (members.remove("requestBody"), method) {
        (Some(body), _) => Some(content(body)),
        // A patch may have any form.
        (None, "patch") => Some(json!({"type": "object"})),
        (None, _) => None,
    };
    if let Some(schema) = body {
        parameters.push(json!({"in": "body", "name": "body", "required": true, "schema": schema}));
    }
    if let Some(Value::Object(responses)) = members.get_mut("responses") {
        for response in responses.values_mut() {
            let schema = content(response.clone());
            *response = json!({"description": response["description"], "schema": schema});
        }
    }
    let kind = members
        .get("x-kubernetes-group-version-kind")
        .cloned()
        .unwrap_or_default();
    let of = |key: &str| kind[key].as_str().unwrap_or_default();
    let consumes: &[&str] = match method {
        "patch" if resources::serves(of("group"), of("version")) => PATCHES,
        "patch" => CUSTOM_PATCHES,
        _ => &["*/*"],
    };
    members.insert("consumes".to_owned(), json!(consumes));
    members.insert(
        "produces".to_owned(),
        json!([
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf"
        ]),
    );
    members.insert("schemes".to_owned(), json!(["https"]));
    if !parameters.is_empty() {
        members.insert("parameters".to_owned(), Value::Array(parameters));
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::super::BUILT_IN;
    use super::*;

    /// P16: `kubectl apply` of a changed custom resource sends what the document says it may.
    #[test]
    fn custom_resources_take_no_strategic_patches() {
        for (group, takes) in [("apps", true), ("example.com", false)] {
            let kind = json!({"group": group, "version": "v1", "kind": "K"});
            let made = operation("patch", json!({"x-kubernetes-group-version-kind": kind}));
            let consumes = made["consumes"].as_array().cloned().unwrap_or_default();
            let strategic = json!("application/strategic-merge-patch+json");
            assert_eq!(consumes.contains(&strategic), takes, "{group}");
        }
    }

    /// kubectl 1.24 and before, which validates by this document, refuses null where there is a type.
    #[test]
    fn what_may_be_null_has_no_type_and_is_not_required() {
        let mut schema = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "object", "nullable": true, "properties": {"x": {"type": "string"}}, "description": "A"},
            "b": {"type": "string"},
            "c": {"type": "object", "required": ["x"], "additionalProperties": {"type": "string", "nullable": true}}}});
        convert(&mut schema);
        let expected = json!({"type": "object", "required": ["b"], "properties": {
            "a": {"description": "A"}, "b": {"type": "string"},
            "c": {"type": "object", "additionalProperties": {}}}});
        assert_eq!(schema, expected);
    }

    /// "works for CRD without validation schema": exactly this is looked for.
    #[test]
    fn a_kind_that_keeps_everything_says_nothing_of_what_is_in_it() {
        let kinds = json!([{"group": "example.com", "version": "v1", "kind": "K"}]);
        let properties = json!({"kind": {"type": "string"}});
        let mut schema = json!({"type": "object", "description": "K", "properties": properties,
            "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-group-version-kind": kinds});
        let expected = json!({"type": "object", "x-kubernetes-group-version-kind": kinds});
        assert_eq!(definition("com.example.v1.K", schema.clone()), expected);
        schema["x-kubernetes-preserve-unknown-fields"] = json!(false);
        assert_eq!(definition("com.example.v1.K", schema)["properties"], properties);
    }

    #[test]
    fn every_reference_leads_to_a_definition() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Array(items) => items.iter().for_each(|v| references(v, found)),
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|v| references(v, found));
                }
                _ => {}
            }
        }
        let document = whole(&BUILT_IN);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 1000, "{}", found.len());
        for reference in found {
            let name = reference
                .strip_prefix(V2)
                .unwrap_or_else(|| panic!("{reference}"));
            assert!(document["definitions"].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn schemas_and_operations_have_the_older_form() {
        let document = whole(&BUILT_IN);
        let definitions = &document["definitions"];
        let spec = &definitions["io.k8s.api.core.v1.Pod"]["properties"]["spec"];
        assert_eq!(spec["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
        assert!(spec["description"].is_string());
        let ports = &definitions["io.k8s.api.core.v1.Container"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
        let either = &definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
        assert_eq!(
            (&either["type"], &either["format"]),
            (&json!("string"), &json!("int-or-string"))
        );
        assert_eq!(definitions[QUANTITY]["type"], "string");
        assert_eq!(definitions[QUANTITY].get("format"), None);
        let pods = &document["paths"]["/api/v1/namespaces/{namespace}/pods"];
        let body = pods["post"]["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .find(|p| p["in"] == "body");
        assert_eq!(
            body.unwrap()["schema"]["$ref"],
            "#/definitions/io.k8s.api.core.v1.Pod"
        );
        assert_eq!(
            pods["get"]["responses"]["200"]["schema"]["$ref"],
            "#/definitions/io.k8s.api.core.v1.PodList"
        );
        assert_eq!(pods["post"]["x-kubernetes-group-version-kind"]["kind"], "Pod");
        assert_eq!(pods["parameters"][0]["type"], "string");
        // What scripts look for in the text.
        for told in [
            "list of returned",
            "List of services",
            "Watch for changes to the described resources",
        ] {
            assert!(document.to_string().contains(told), "{told}");
        }
    }
}
