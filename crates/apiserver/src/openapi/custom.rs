//! The documents of custom resources: their schemas as their definitions give them.
use super::operations::{meta, reference, schema};
use super::{Document, SCHEMAS, Schemas};
use crate::ApiServer;
use crate::resources::Resource;
use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// What every object and every list has.
static META: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let packed = SCHEMAS.iter().find(|(group, ..)| *group == "meta.k8s.io");
    let read = packed.map(|(.., schemas)| serde_json::from_reader(GzDecoder::new(*schemas)));
    // What the build has written can be read.
    read.and_then(Result::ok).unwrap_or_default()
});

/// One document a group-version.
pub fn documents(server: &ApiServer) -> Vec<Document> {
    let custom = server.cache.custom();
    let mut documents = Vec::new();
    for (group, versions) in custom.groups() {
        for version in versions {
            let own = |r: &&'static Resource| r.group == group && r.version == version;
            let resources: Vec<&'static Resource> = custom.all().into_iter().filter(own).collect();
            let schemas = Schemas::Text(schemas(&resources).to_string());
            documents.push(Document::new(group, version, resources, schemas));
        }
    }
    documents
}

fn schemas(resources: &[&'static Resource]) -> Value {
    let mut schemas = META.clone();
    for resource in resources {
        let Some(custom) = resource.custom else { continue };
        let gvk =
            |kind: String| json!([{"group": resource.group, "version": resource.version, "kind": kind}]);
        let text = |description: &str| json!({"type": "string", "description": description});
        let mut own = custom.definition().schema_text.clone();
        own["properties"]["apiVersion"] = text("The version of the API that the object is in.");
        own["properties"]["kind"] = text("The kind of the object.");
        own["properties"]["metadata"] =
            json!({"description": "Metadata of the object.", "allOf": [reference(&meta("ObjectMeta"))]});
        own["x-kubernetes-group-version-kind"] = gvk(resource.kind.to_owned());
        let name = schema(resource);
        let list = json!({
            "type": "object",
            "description": format!("A list of {} objects.", resource.kind),
            "required": ["items"],
            "properties": {
                "apiVersion": text("The version of the API that the list is in."),
                "items": {"type": "array", "items": reference(&name)},
                "kind": text("The kind of the list."),
                "metadata": reference(&meta("ListMeta")),
            },
            "x-kubernetes-group-version-kind": gvk(format!("{}List", resource.kind)),
        });
        schemas.insert(format!("{name}List"), list);
        schemas.insert(name, own);
    }
    Value::Object(schemas)
}
