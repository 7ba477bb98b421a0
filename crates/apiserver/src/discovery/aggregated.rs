//! All of discovery in two documents, as current clients ask first (contract §4.3).
use crate::ApiServer;
use crate::http::{Answer, Body, response};
use crate::request::accepted;
use crate::resources::{self, Resource};
use http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use std::sync::{Arc, LazyLock};

const CONTENT_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

struct Document {
    bytes: Vec<u8>,
    etag: String,
}

static CORE: LazyLock<Document> = LazyLock::new(|| core_of(resources::all().iter()));

/// The group that has no name.
fn core_of(served: impl Iterator<Item = &'static Resource>) -> Document {
    let own: Vec<&Resource> = served.filter(|r| r.group.is_empty()).collect();
    let mut list = group_list("", &[("v1", own)]);
    list["metadata"] = json!({});
    document(vec![list])
}

/// The groups of a server without custom resources.
static BUILT_IN: LazyLock<Document> = LazyLock::new(|| {
    document(
        resources::groups(resources::all().iter())
            .into_iter()
            .map(|(group, versions)| {
                let of = |version: &str| -> Vec<&'static Resource> {
                    let own = |r: &&'static Resource| r.group == group && r.version == version;
                    resources::all().iter().filter(own).collect()
                };
                let versions: Vec<_> = versions
                    .into_iter()
                    .map(|version| (version, of(version)))
                    .collect();
                group_list(group, &versions)
            })
            .collect(),
    )
});

fn with_custom(server: &ApiServer) -> Document {
    let groups = super::groups(server).into_iter();
    let remote = server.aggregation.groups();
    document(
        groups
            .map(|(group, versions)| {
                let versions: Vec<_> = versions
                    .into_iter()
                    .map(|version| (version, super::resources_of(server, group, version)))
                    .collect();
                group_list(group, &versions)
            })
            .chain(
                remote
                    .iter()
                    .map(|(group, versions)| remote_list(group, versions)),
            )
            .collect(),
    )
}

/// A group that other servers serve, as far as they have said what is in it.
fn remote_list(group: &str, versions: &[(String, Option<Arc<Value>>)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|(version, document)| {
            let freshness = if document.is_some() { "Current" } else { "Stale" };
            let listed = document
                .as_ref()
                .and_then(|document| document["resources"].as_array());
            let listed = listed.map_or(&[][..], Vec::as_slice);
            json!({"version": version, "freshness": freshness, "resources": remote_resources(listed)})
        })
        .collect();
    json!({"metadata": {"name": group}, "versions": versions})
}

/// The resources of an `APIResourceList`, with their subresources inside.
fn remote_resources(listed: &[Value]) -> Vec<Value> {
    let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
    let kind = |entry: &Value| {
        let text = |member: &str| entry[member].as_str().unwrap_or_default().to_owned();
        json!({"group": text("group"), "version": text("version"), "kind": text("kind")})
    };
    let mut resources = Vec::new();
    for entry in listed.iter().filter(|entry| !name(entry).contains('/')) {
        let mut resource = json!({
            "resource": entry["name"], "responseKind": kind(entry), "singularResource": entry["singularName"],
            "scope": if entry["namespaced"] == true { "Namespaced" } else { "Cluster" }, "verbs": entry["verbs"],
        });
        for member in ["shortNames", "categories"] {
            if entry[member].is_array() {
                resource[member] = entry[member].clone();
            }
        }
        let prefix = format!("{}/", name(entry));
        let parts = listed.iter().filter_map(|part| {
            let part_name = name(part);
            let subresource = part_name.strip_prefix(&prefix)?;
            Some(json!({"subresource": subresource, "responseKind": kind(part), "verbs": part["verbs"]}))
        });
        let parts: Vec<Value> = parts.collect();
        if !parts.is_empty() {
            resource["subresources"] = json!(parts);
        }
        resources.push(resource);
    }
    resources
}

/// Whether the client prefers this form over plain JSON.
pub fn wanted(headers: &HeaderMap) -> bool {
    accepted(headers)
        .iter()
        .find_map(|range| match range.parameter("as") {
            Some("APIGroupDiscoveryList") => (range.media == "application/json"
                && range.parameter("v") == Some("v2")
                && range.parameter("g") == Some("apidiscovery.k8s.io"))
            .then_some(true),
            Some(_) => None,
            None => matches!(range.media, "application/json" | "application/*" | "*/*").then_some(false),
        })
        .unwrap_or(false)
}

pub fn answer(server: &ApiServer, headers: &HeaderMap, core: bool) -> Answer {
    let fresh;
    let document = match core {
        true if server.runtime.serves_all() => &*CORE,
        true => {
            fresh = core_of(server.runtime.resources());
            &fresh
        }
        false if server.has_built_in_groups_only() => &*BUILT_IN,
        false => {
            fresh = with_custom(server);
            &fresh
        }
    };
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|tag| tag.trim() == document.etag);
    let mut answer = if known {
        response(StatusCode::NOT_MODIFIED, CONTENT_TYPE, Body::Empty)
    } else {
        response(StatusCode::OK, CONTENT_TYPE, Body::from(document.bytes.clone()))
    };
    let headers = answer.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        headers.insert(ETAG, etag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    Answer::Raw(answer)
}

fn document(items: Vec<Value>) -> Document {
    let list = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    let bytes = list.to_string().into_bytes();
    let hash: String = Sha512::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect();
    Document {
        bytes,
        etag: format!("\"{hash}\""),
    }
}

fn group_list(group: &str, versions: &[(&str, Vec<&Resource>)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|(version, resources)| {
            let resources: Vec<Value> = resources.iter().map(|r| resource(r)).collect();
            json!({"version": version, "freshness": "Current", "resources": resources})
        })
        .collect();
    json!({"metadata": {"name": group}, "versions": versions})
}

fn resource(resource: &Resource) -> Value {
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        value["subresources"] = resource
            .subresources
            .iter()
            .map(|sub| {
                let (group, version, kind) = sub.kind.unwrap_or(("", "", resource.kind));
                json!({
                    "subresource": sub.name,
                    "responseKind": {"group": group, "version": version, "kind": kind},
                    "verbs": sub.verbs,
                })
            })
            .collect();
    }
    value
}
