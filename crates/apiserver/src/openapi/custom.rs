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
        let text = |description: &str| json!({"type": "string", "description": description});
        let mut own = custom.definition().schema_text.clone();
        own["properties"]["apiVersion"] = text(API_VERSION);
        own["properties"]["kind"] = text(KIND);
        own["properties"]["metadata"] =
            json!({"description": METADATA, "allOf": [reference(&meta("ObjectMeta"))]});
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

/// By which of its own fields a resource may be selected.
fn selectable(resource: &Resource) -> Option<Value> {
    let fields = resource
        .fields
        .iter()
        .map(|field| json!({"fieldPath": field.name}));
    (!resource.fields.is_empty()).then(|| fields.collect())
}
