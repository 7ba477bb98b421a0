//! The documents of custom resources: their schemas as their definitions give them.
use super::operations::{meta, reference, schema};
use super::{Document, SCHEMAS, Schemas};
use crate::ApiServer;
use crate::resources::Resource;
use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// What upstream says of the fields that every kind has: clients look for the words.
const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const EMBEDDED_API_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// What every object and every list has.
static META: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let packed = SCHEMAS.iter().find(|(group, ..)| *group == "meta.k8s.io");
    let read = packed.map(|(.., schemas)| serde_json::from_reader(GzDecoder::new(*schemas)));
    // What the build has written can be read.
    read.and_then(Result::ok).unwrap_or_default()
});

/// One document a group-version.
pub fn documents(server: &ApiServer) -> Vec<Document> {
    let groups = server.cache.custom().groups().into_iter();
    let versions =
        groups.flat_map(|(group, versions)| versions.into_iter().map(move |version| (group, version)));
    versions
        .map(|(group, version)| document(server, group, version))
        .collect()
}

/// That of one path, if it is one of these.
pub fn at(server: &ApiServer, path: &str) -> Option<Document> {
    let (group, version) = path.strip_prefix("apis/")?.split_once('/')?;
    let mut groups = server.cache.custom().groups().into_iter();
    let (group, versions) = groups.find(|(known, _)| *known == group)?;
    let version = versions.into_iter().find(|known| *known == version)?;
    Some(document(server, group, version))
}

fn document(server: &ApiServer, group: &'static str, version: &'static str) -> Document {
    let own = |r: &&'static Resource| r.group == group && r.version == version;
    let resources: Vec<&'static Resource> = server.cache.custom().all().into_iter().filter(own).collect();
    let schemas = Schemas::Text(schemas(&resources).to_string());
    Document::new(group, version, resources, schemas)
}

fn schemas(resources: &[&'static Resource]) -> Value {
    let mut schemas = META.clone();
    for resource in resources {
        let Some(custom) = resource.custom else { continue };
        let gvk =
            |kind: String| json!([{"group": resource.group, "version": resource.version, "kind": kind}]);
        let mut own = whole(&custom.definition().schema_text);
        own["x-kubernetes-group-version-kind"] = gvk(resource.kind.to_owned());
        if let Some(fields) = selectable(resource) {
            own["x-kubernetes-selectable-fields"] = fields;
        }
        let name = schema(resource);
        let list = json!({
            "type": "object",
            "description": format!("{0}List is a list of {0}", resource.kind),
            "required": ["items"],
            "properties": {
                "apiVersion": text(API_VERSION),
                "items": {
                    "type": "array",
                    "description": format!("List of {}. More info: {CONVENTIONS}", resource.plural),
                    "items": reference(&name),
                },
                "kind": text(KIND),
                "metadata": {"description": LIST_METADATA, "allOf": [reference(&meta("ListMeta"))]},
            },
            "x-kubernetes-group-version-kind": gvk(resource.list_kind()),
        });
        schemas.insert(format!("{name}List"), list);
        schemas.insert(name, own);
    }
    Value::Object(schemas)
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// The schema of a version with what every object has, this one and those within.
fn whole(schema: &Value) -> Value {
    // Without a schema, everything may be in an object.
    if !schema.is_object() {
        return json!({"type": "object"});
    }
    let mut whole = schema.clone();
    complete(&mut whole, API_VERSION, KIND);
    complete_embedded(&mut whole);
    whole
}

fn complete(schema: &mut Value, api_version: &str, kind: &str) {
    schema["properties"]["apiVersion"] = text(api_version);
    schema["properties"]["kind"] = text(kind);
    schema["properties"]["metadata"] =
        json!({"description": METADATA, "allOf": [reference(&meta("ObjectMeta"))]});
}

/// The same for objects within, which have to say what they are.
fn complete_embedded(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(complete_embedded);
    }
    for one in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(one) {
            complete_embedded(inner);
        }
    }
    if schema.get("x-kubernetes-embedded-resource") != Some(&Value::Bool(true)) {
        return;
    }
    complete(schema, EMBEDDED_API_VERSION, EMBEDDED_KIND);
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    for name in ["kind", "apiVersion"] {
        if !required.iter().any(|known| known == name) {
            required.push(json!(name));
        }
    }
    schema["required"] = Value::Array(required);
}

/// By which of its own fields a resource may be selected.
fn selectable(resource: &Resource) -> Option<Value> {
    let fields = resource
        .fields
        .iter()
        .map(|field| json!({"fieldPath": field.name}));
    (!resource.fields.is_empty()).then(|| fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_within_an_object_say_what_they_are() {
        let inner = json!({"type": "object", "x-kubernetes-embedded-resource": true, "required": ["kind"],
            "properties": {"spec": {"type": "object"}}});
        let schema =
            json!({"type": "object", "properties": {"templates": {"type": "array", "items": inner}}});
        let whole = whole(&schema);
        assert_eq!(whole["properties"]["kind"]["description"], KIND);
        assert_eq!(whole.get("required"), None);
        let inner = &whole["properties"]["templates"]["items"];
        assert_eq!(inner["required"], json!(["kind", "apiVersion"]));
        let names: Vec<&String> = inner["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["apiVersion", "kind", "metadata", "spec"]);
        assert_eq!(inner["properties"]["kind"]["description"], EMBEDDED_KIND);
    }

    #[test]
    fn without_a_schema_there_is_nothing_to_say() {
        assert_eq!(whole(&Value::Null), json!({"type": "object"}));
    }
}
