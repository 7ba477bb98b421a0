//! The least OpenAPI that kubectl needs to leave validation to the server (contract §5): per
//! group-version, the PATCH operations with their kind and `fieldValidation`. No schemas.
use crate::http::{Answer, Body, response};
use crate::request::Query;
use crate::resources::{self, Resource, api_version};
use crate::status::ApiError;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::sync::LazyLock;

struct Document {
    /// `api/v1` or `apis/{group}/{version}`.
    path: String,
    bytes: Vec<u8>,
    hash: String,
}

static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let mut versions = vec![("", "v1")];
    versions.extend(resources::groups());
    versions
        .into_iter()
        .map(|(group, version)| document(group, version))
        .collect()
});

/// Answers if the path is one of OpenAPI.
pub fn answer(_headers: &HeaderMap, path: &str, query: &Query) -> Option<Result<Answer, ApiError>> {
    let rest = path.strip_prefix("/openapi/v3")?;
    let name = rest.trim_matches('/');
    if name.is_empty() {
        return Some(Ok(Answer::Value(StatusCode::OK, index())));
    }
    let Some(document) = DOCUMENTS.iter().find(|d| d.path == name) else {
        return Some(Ok(Answer::Raw(response(
            StatusCode::NOT_FOUND,
            "text/plain",
            Body::Empty,
        ))));
    };
    let asked = query.get("hash");
    if asked.is_some_and(|hash| hash != document.hash) {
        let mut moved = response(StatusCode::MOVED_PERMANENTLY, "text/plain", Body::Empty);
        if let Ok(location) = HeaderValue::from_str(&url(document)) {
            moved.headers_mut().insert(LOCATION, location);
        }
        return Some(Ok(Answer::Raw(moved)));
    }
    let mut answer = response(
        StatusCode::OK,
        "application/json",
        Body::from(document.bytes.clone()),
    );
    let headers = answer.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", document.hash)) {
        headers.insert(ETAG, etag);
    }
    if asked.is_some() {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let year = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365);
        if let Ok(date) = HeaderValue::from_str(&year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
            headers.insert(EXPIRES, date);
        }
    } else {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    Some(Ok(Answer::Raw(answer)))
}

fn url(document: &Document) -> String {
    format!("/openapi/v3/{}?hash={}", document.path, document.hash)
}

fn index() -> Value {
    let paths: Map<String, Value> = DOCUMENTS
        .iter()
        .map(|d| (d.path.clone(), json!({"serverRelativeURL": url(d)})))
        .collect();
    json!({"paths": paths})
}

fn document(group: &str, version: &str) -> Document {
    let path = if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    };
    let mut paths = Map::new();
    for resource in resources::all()
        .iter()
        .filter(|r| r.group == group && r.version == version)
    {
        if resource.verbs.contains(&"patch") {
            paths.insert(item_path(&path, resource), operations(resource));
        }
    }
    let bytes = json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": api_version(group, version)},
        "paths": paths,
        "components": {},
    })
    .to_string()
    .into_bytes();
    let hash = Sha512::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect();
    Document { path, bytes, hash }
}

fn item_path(prefix: &str, resource: &Resource) -> String {
    let namespace = if resource.namespaced {
        "namespaces/{namespace}/"
    } else {
        ""
    };
    format!("/{prefix}/{namespace}{}/{{name}}", resource.plural)
}

fn operations(resource: &Resource) -> Value {
    let text =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    json!({
        "patch": {
            "parameters": [text("dryRun"), text("fieldManager"), text("fieldValidation")],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {
                "group": resource.group,
                "version": resource.version,
                "kind": resource.kind,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D07: what kubectl looks for before it lets the server validate.
    #[test]
    fn every_kind_has_a_patch_with_field_validation() {
        let core = DOCUMENTS.iter().find(|d| d.path == "api/v1").unwrap();
        let document: Value = serde_json::from_slice(&core.bytes).unwrap();
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Pod");
        let named = |p: &Value| p["name"] == "fieldValidation" && p["in"] == "query";
        assert!(patch["parameters"].as_array().unwrap().iter().any(named));
        assert!(document["paths"].get("/api/v1/namespaces/{name}").is_some());
    }

    /// D08
    #[test]
    fn the_index_names_each_document_with_its_hash() {
        let index = index();
        let apps = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
            .as_str()
            .unwrap();
        assert!(apps.starts_with("/openapi/v3/apis/apps/v1?hash="));
    }
}
