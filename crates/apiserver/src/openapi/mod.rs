//! OpenAPI v3, and v2 made from it: one document a group-version, with schemas for `kubectl explain` and the merge keys of patches, and
//! with the operations by which clients find kinds and see that the server validates (contract §5).
//!
//! The schemas are made by the build and lie in the program compressed; a document is put together when it is asked
//! for, which is rare: clients keep it under its hash.
use crate::ApiServer;
use crate::aggregation;
use crate::http::{Answer, Body, response};
use crate::request::{Query, accepted};
use crate::resources::{self, Resource, api_version};
use crate::runtime_config::RuntimeConfig;
use crate::status::ApiError;
use flate2::read::GzDecoder;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::io::Read;
use std::sync::LazyLock;

mod custom;
mod gnostic;
mod operations;
mod swagger;

/// Group, version and compressed schemas.
static SCHEMAS: &[(&str, &str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/schemas.rs"));

#[derive(Clone)]
struct Document {
    group: &'static str,
    version: &'static str,
    /// `api/v1` or `apis/{group}/{version}`.
    path: String,
    resources: Vec<&'static Resource>,
    schemas: Schemas,
    hash: String,
}

#[derive(Clone)]
enum Schemas {
    /// From the build.
    Packed(&'static [u8]),
    /// Of custom resources.
    Text(String),
}

/// The documents of the built-in resources.
static BUILT_IN: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let mut versions = vec![("", "v1")];
    let named = resources::groups(resources::all().iter()).into_iter();
    versions.extend(named.flat_map(|(group, versions)| versions.into_iter().map(move |v| (group, v))));
    versions
        .into_iter()
        .filter_map(|(group, version)| {
            let own = |r: &&'static Resource| r.group == group && r.version == version;
            // What is only numbers of the moment (metrics.k8s.io) publishes no schemas.
            let (_, _, schemas) = SCHEMAS.iter().find(|(g, v, _)| *g == group && *v == version)?;
            Some(Document::new(
                group,
                version,
                resources::all().iter().filter(own).collect(),
                Schemas::Packed(schemas),
            ))
        })
        .collect()
});

fn documents(server: &ApiServer) -> Vec<Document> {
    let served = |document: &Document| document.served(&server.runtime);
    let mut documents: Vec<Document> = BUILT_IN.iter().filter_map(served).collect();
    documents.extend(custom::documents(server));
    documents
}

/// The document of a path. The others are not put together for it: definitions can have large schemas.
fn document(server: &ApiServer, path: &str) -> Option<Document> {
    let built_in = BUILT_IN.iter().find(|document| document.path == path);
    let built_in = built_in.and_then(|document| document.served(&server.runtime));
    built_in.or_else(|| custom::at(server, path))
}

/// Answers if the path is one of OpenAPI.
pub async fn answer(
    server: &ApiServer,
    headers: &HeaderMap,
    path: &str,
    query: &Query,
) -> Option<Result<Answer, ApiError>> {
    if path.trim_end_matches('/') == "/openapi/v2" {
        return Some(Ok(Answer::Raw(older(server, headers).await)));
    }
    let rest = path.strip_prefix("/openapi/v3")?;
    let name = rest.trim_matches('/');
    if name.is_empty() {
        let mut index = index(&documents(server));
        for (remote, hash) in server.aggregation.schemas() {
            let path = remote.schema_path();
            index["paths"][&path] = json!({"serverRelativeURL": url(&path, &hash)});
        }
        return Some(Ok(Answer::Value(StatusCode::OK, index)));
    }
    if let Some(answer) = of_another(server, name, query).await {
        return Some(Ok(Answer::Raw(answer)));
    }
    let Some(document) = document(server, name) else {
        return Some(Ok(Answer::Raw(response(
            StatusCode::NOT_FOUND,
            "text/plain",
            Body::Empty,
        ))));
    };
    let asked = query.get("hash");
    if asked.is_some_and(|hash| hash != document.hash) {
        return Some(Ok(Answer::Raw(moved(&document.path, &document.hash))));
    }
    let Some(content_type) = wanted(headers, GNOSTIC_V3) else {
        return Some(Ok(Answer::Raw(nothing_acceptable())));
    };
    let mut bytes = document.text().into_bytes();
    if content_type != JSON {
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        bytes = gnostic::v3::document(&document);
    }
    Some(Ok(Answer::Raw(under_hash(
        bytes,
        content_type,
        &document.hash,
        asked.is_some(),
    ))))
}

/// The document of a group-version that another server serves.
async fn of_another(server: &ApiServer, name: &str, query: &Query) -> Option<Response<Body>> {
    let mut others = server.aggregation.schemas().into_iter();
    let (remote, hash) = others.find(|(remote, _)| remote.schema_path() == name)?;
    let asked = query.get("hash");
    if asked.is_some_and(|asked| asked != hash) {
        return Some(moved(name, &hash));
    }
    let document = aggregation::schema_document(&server.aggregation, &remote).await;
    Some(match document {
        Some(document) => under_hash(document.into(), JSON, &hash, asked.is_some()),
        None => response(StatusCode::SERVICE_UNAVAILABLE, "text/plain", Body::Empty),
    })
}

/// Leads to a document under its present hash.
fn moved(path: &str, hash: &str) -> Response<Body> {
    let mut moved = response(StatusCode::MOVED_PERMANENTLY, "text/plain", Body::Empty);
    if let Ok(location) = HeaderValue::from_str(&url(path, hash)) {
        moved.headers_mut().insert(LOCATION, location);
    }
    moved
}

/// A document, which may be kept for ever by who `asked` for this very hash.
fn under_hash(document: Vec<u8>, content_type: &'static str, hash: &str, asked: bool) -> Response<Body> {
    let mut answer = response(StatusCode::OK, content_type, Body::from(document));
    let headers = answer.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        headers.insert(ETAG, etag);
    }
    if asked {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let year = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365);
        if let Ok(date) = HeaderValue::from_str(&year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
            headers.insert(EXPIRES, date);
        }
    } else {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    answer
}

/// Media types of documents as protobuf, by the name that clients ask for and the one they are called now.
const GNOSTIC_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
const GNOSTIC_V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
];
const JSON: &str = "application/json";

/// The form in which a client wants a document, if it can have it.
fn wanted(headers: &HeaderMap, gnostic: [&'static str; 2]) -> Option<&'static str> {
    let wanted = accepted(headers);
    if wanted.is_empty() {
        return Some(JSON);
    }
    wanted.iter().find_map(|range| match range.media {
        JSON | "application/*" | "*/*" => Some(JSON),
        media => gnostic.contains(&media).then_some(gnostic[1]),
    })
}

fn nothing_acceptable() -> Response<Body> {
    response(StatusCode::NOT_ACCEPTABLE, "text/plain", Body::Empty)
}

/// The document of OpenAPI v2, in the form the client wants.
async fn older(server: &ApiServer, headers: &HeaderMap) -> Response<Body> {
    let Some(content_type) = wanted(headers, GNOSTIC_V2) else {
        return nothing_acceptable();
    };
    let documents = documents(server);
    let etag = swagger::etag(&documents);
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == etag);
    let mut answer = if known {
        response(StatusCode::NOT_MODIFIED, content_type, Body::Empty)
    } else {
        let mut bytes = swagger::text(documents, &etag).await;
        if content_type != JSON {
            let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            bytes = gnostic::v2::document(&document);
        }
        response(StatusCode::OK, content_type, bytes.into())
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        answer.headers_mut().insert(ETAG, etag);
    }
    answer
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

fn url(path: &str, hash: &str) -> String {
    format!("/openapi/v3/{path}?hash={hash}")
}

fn index(documents: &[Document]) -> Value {
    let paths: Map<String, Value> = documents
        .iter()
        .map(|d| {
            (
                d.path.clone(),
                json!({"serverRelativeURL": url(&d.path, &d.hash)}),
            )
        })
        .collect();
    json!({"paths": paths})
}

impl Document {
    fn new(
        group: &'static str,
        version: &'static str,
        resources: Vec<&'static Resource>,
        schemas: Schemas,
    ) -> Self {
        let path = if group.is_empty() {
            format!("api/{version}")
        } else {
            format!("apis/{group}/{version}")
        };
        let mut document = Self {
            group,
            version,
            path,
            resources,
            schemas,
            hash: String::new(),
        };
        let mut digest = Sha512::new();
        digest.update(document.paths().to_string());
        digest.update(match &document.schemas {
            Schemas::Packed(bytes) => bytes,
            Schemas::Text(text) => text.as_bytes(),
        });
        document.hash = digest.finalize().iter().map(|b| format!("{b:02X}")).collect();
        document
    }

    /// Without the paths of what is turned off; `None` if that is everything.
    fn served(&self, runtime: &RuntimeConfig) -> Option<Self> {
        let served = self.resources.iter().copied();
        let served: Vec<&Resource> = served.filter(|resource| runtime.serves(resource)).collect();
        match served.len() {
            0 => None,
            count if count == self.resources.len() => Some(self.clone()),
            _ => Some(Self::new(self.group, self.version, served, self.schemas.clone())),
        }
    }

    fn paths(&self) -> Value {
        let mut paths = Map::new();
        for resource in &self.resources {
            operations::add(&mut paths, &self.path, resource);
        }
        Value::Object(paths)
    }

    fn text(&self) -> String {
        let mut text = json!({
            "info": {"title": "Kubernetes", "version": api_version(self.group, self.version)},
            "openapi": "3.0.0",
            "paths": self.paths(),
        })
        .to_string();
        text.pop();
        text.push_str(",\"components\":{\"schemas\":");
        match &self.schemas {
            Schemas::Text(schemas) => text.push_str(schemas),
            // What the build has written can be read; a document without schemas still serves.
            Schemas::Packed(packed) => {
                if let Err(error) = GzDecoder::new(*packed).read_to_string(&mut text) {
                    tracing::error!(%error, path = self.path, "the schemas cannot be read");
                    text.push_str("{}");
                }
            }
        }
        text.push_str("}}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D07: what kubectl looks for before it lets the server validate.
    #[test]
    fn every_kind_has_a_patch_with_field_validation() {
        let core = BUILT_IN.iter().find(|d| d.path == "api/v1").unwrap();
        let document: Value = serde_json::from_str(&core.text()).unwrap();
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Pod");
        let named = |p: &Value| p["name"] == "fieldValidation" && p["in"] == "query";
        assert!(patch["parameters"].as_array().unwrap().iter().any(named));
        assert!(document["paths"].get("/api/v1/namespaces/{name}").is_some());
    }

    /// "should round trip OpenAPI V3 for all built-in group versions": lists without items don't come back.
    #[test]
    fn documents_have_no_empty_lists() {
        fn empty(value: &Value, path: &str, found: &mut Vec<String>) {
            match value {
                Value::Array(items) if items.is_empty() => found.push(path.to_owned()),
                Value::Array(items) => items.iter().for_each(|item| empty(item, path, found)),
                Value::Object(members) => {
                    // Defaults come back whatever they are.
                    let parts = members.iter().filter(|(name, _)| *name != "default");
                    parts.for_each(|(name, value)| empty(value, &format!("{path}/{name}"), found));
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        for document in BUILT_IN.iter() {
            let text: Value = serde_json::from_str(&document.text()).unwrap();
            empty(&text, &document.path, &mut found);
        }
        assert_eq!(found, Vec::<String>::new());
    }

    /// D08
    #[test]
    fn the_index_names_each_document_with_its_hash() {
        let index = index(&BUILT_IN);
        let apps = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
            .as_str()
            .unwrap();
        assert!(apps.starts_with("/openapi/v3/apis/apps/v1?hash="));
    }

    /// Every reference leads somewhere, and the schemas carry what patches and applies need.
    #[test]
    fn documents_are_whole() {
        fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
            match value {
                Value::Array(items) => items.iter().for_each(|v| references(v, found)),
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|v| references(v, found));
                }
                _ => {}
            }
        }
        for document in BUILT_IN.iter() {
            let text: Value = serde_json::from_str(&document.text()).unwrap();
            let mut found = Vec::new();
            references(&text, &mut found);
            assert!(!found.is_empty(), "{}", document.path);
            for (name, schema) in text["components"]["schemas"].as_object().unwrap() {
                let mut properties = schema["properties"].as_object().into_iter().flatten();
                assert!(properties.all(|(_, property)| property.is_object()), "{name}");
            }
            for reference in found {
                let name = reference.strip_prefix("#/components/schemas/").unwrap();
                assert!(
                    text["components"]["schemas"].get(name).is_some(),
                    "{}: {name}",
                    document.path
                );
            }
        }
        let core = BUILT_IN.iter().find(|d| d.path == "api/v1").unwrap();
        let core: Value = serde_json::from_str(&core.text()).unwrap();
        let schemas = &core["components"]["schemas"];
        let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
        assert_eq!(
            ports["x-kubernetes-list-map-keys"],
            json!(["containerPort", "protocol"])
        );
        let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
        assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
        assert_eq!(
            schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"],
            "atomic"
        );
        assert_eq!(schemas["io.k8s.api.core.v1.Pod"].get("required"), None);
        assert_eq!(
            schemas["io.k8s.api.core.v1.Event"]["required"],
            json!(["involvedObject", "metadata"])
        );
        let gvk = &schemas["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"];
        assert_eq!(*gvk, json!([{"group": "", "version": "v1", "kind": "Pod"}]));
    }
}
