//! The paths of a document: which verbs a resource answers, for which kind.
use crate::resources::Resource;
use serde_json::{Map, Value, json};

/// Adds the paths of one resource; `prefix` is the document's path.
pub fn add(paths: &mut Map<String, Value>, prefix: &str, resource: &Resource) {
    let namespace = if resource.namespaced {
        "namespaces/{namespace}/"
    } else {
        ""
    };
    let collection = format!("/{prefix}/{namespace}{}", resource.plural);
    let item = format!("{collection}/{{name}}");
    let mut put = |path: String, verbs: &[(&str, &str)]| {
        let mut operations: Map<String, Value> = verbs
            .iter()
            .filter(|(_, verb)| resource.verbs.contains(verb))
            .map(|(method, verb)| ((*method).to_owned(), operation(resource, verb)))
            .collect();
        if !operations.is_empty() {
            insert_some(&mut operations, path_parameters(&path));
            paths.insert(path, Value::Object(operations));
        }
    };
    put(
        collection,
        &[
            ("get", "list"),
            ("post", "create"),
            ("delete", "deletecollection"),
        ],
    );
    put(
        item,
        &[
            ("get", "get"),
            ("put", "update"),
            ("patch", "patch"),
            ("delete", "delete"),
        ],
    );
    if resource.namespaced {
        put(format!("/{prefix}/{}", resource.plural), &[("get", "list")]);
    }
}

/// An empty list is left out: clients in Go write what they have read without it, and it is not the same to them.
fn insert_some(members: &mut Map<String, Value>, parameters: Vec<Value>) {
    if !parameters.is_empty() {
        members.insert("parameters".to_owned(), Value::Array(parameters));
    }
}

fn path_parameters(path: &str) -> Vec<Value> {
    let named = |name: &&&str| path.contains(&format!("{{{name}}}"));
    ["name", "namespace"]
        .iter()
        .filter(named)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}}))
        .collect()
}

fn operation(resource: &Resource, verb: &str) -> Value {
    let kind = schema(resource);
    let (action, parameters, answer): (&str, &[&str], String) = match verb {
        "create" => (
            "post",
            &["dryRun", "fieldManager", "fieldValidation"],
            kind.clone(),
        ),
        "update" => (
            "put",
            &["dryRun", "fieldManager", "fieldValidation"],
            kind.clone(),
        ),
        "patch" => (
            "patch",
            &["dryRun", "fieldManager", "fieldValidation", "force"],
            kind.clone(),
        ),
        "list" => (
            "list",
            &[
                "allowWatchBookmarks",
                "continue",
                "fieldSelector",
                "labelSelector",
                "limit",
                "resourceVersion",
                "resourceVersionMatch",
                "sendInitialEvents",
                "timeoutSeconds",
                "watch",
            ],
            format!("{kind}List"),
        ),
        "get" => ("get", &[], kind.clone()),
        other => (other, &["dryRun", "propagationPolicy"], meta("Status")),
    };
    let mut operation = json!({
        "responses": {"200": {
            "description": "OK",
            "content": {"application/json": {"schema": reference(&answer)}},
        }},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    });
    if let Some(members) = operation.as_object_mut() {
        insert_some(members, parameters.iter().map(|name| query(name)).collect());
    }
    if matches!(verb, "create" | "update") {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": reference(&kind)}},
        });
    }
    operation
}

fn query(name: &str) -> Value {
    let (kind, description) = match name {
        "allowWatchBookmarks" => (
            "boolean",
            "Lets a watch send BOOKMARK events, which carry the version it has reached.",
        ),
        "continue" => (
            "string",
            "Goes on with a list after the part that was answered with this token. A token that has become too old is \
             answered with 410.",
        ),
        "dryRun" => (
            "string",
            "With \"All\", everything is done but keeping what comes of it.",
        ),
        "fieldManager" => (
            "string",
            "Whose the fields are that this request sets: up to 128 printable characters. An apply needs one.",
        ),
        "fieldSelector" => (
            "string",
            "Restricts the list of returned objects by their fields. Everything by default.",
        ),
        "fieldValidation" => (
            "string",
            "What becomes of unknown and repeated fields: \"Ignore\" drops them, \"Warn\" (the default) says so, \"Strict\" \
             refuses the request.",
        ),
        "force" => (
            "boolean",
            "Of an apply: takes over fields that belong to others. Other patches must not have it.",
        ),
        "labelSelector" => (
            "string",
            "Restricts the list of returned objects by their labels. Everything by default.",
        ),
        "limit" => (
            "integer",
            "How many objects are answered at most; `metadata.continue` of the answer leads to the rest.",
        ),
        "propagationPolicy" => (
            "string",
            "What becomes of objects that this one owns: \"Orphan\", \"Background\" or \"Foreground\".",
        ),
        "resourceVersion" => (
            "string",
            "How fresh the answer must be, or where a watch begins. \"0\" is anything.",
        ),
        "resourceVersionMatch" => (
            "string",
            "How `resourceVersion` is meant in a list: \"Exact\" or \"NotOlderThan\".",
        ),
        "sendInitialEvents" => (
            "boolean",
            "Begins a watch with an event for each object there is, and a bookmark after them.",
        ),
        "timeoutSeconds" => (
            "integer",
            "How long a list may take or a watch goes on, in seconds.",
        ),
        "watch" => (
            "boolean",
            "Watch for changes to the described resources: events of what is added, changed and deleted, from \
             `resourceVersion` on.",
        ),
        _ => ("string", ""),
    };
    json!({
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": kind, "uniqueItems": true},
    })
}

pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub fn meta(kind: &str) -> String {
    format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")
}

/// The definition of the resource's kind.
pub fn schema(resource: &Resource) -> String {
    if resource.custom.is_some() {
        let reversed: Vec<&str> = resource.group.rsplit('.').collect();
        return format!("{}.{}.{}", reversed.join("."), resource.version, resource.kind);
    }
    let package = match resource.group {
        "apiextensions.k8s.io" => Some("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions"),
        "apiregistration.k8s.io" => Some("io.k8s.kube-aggregator.pkg.apis.apiregistration"),
        _ => None,
    };
    if let Some(package) = package {
        return format!("{package}.{}.{}", resource.version, resource.kind);
    }
    let group = match resource.group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("io.k8s.api.{group}.{}.{}", resource.version, resource.kind)
}
