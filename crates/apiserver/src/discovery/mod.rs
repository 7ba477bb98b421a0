//! What is served: version, groups and resources, one by one and all at once (contract §4.1 to §4.3).
mod aggregated;
mod legacy;
mod version;

pub use version::GIT_VERSION;

use crate::ApiServer;
use crate::authn::Accounts;
use crate::http::Answer;
use crate::request::{Format, Output, Query, negotiate_refusal};
use crate::resources::{self, Resource};
use crate::status::ApiError;
use http::{HeaderMap, StatusCode};
use serde_json::json;

/// Whether a GET on this path would be answered.
pub fn knows(server: &ApiServer, path: &str) -> bool {
    matches!(path.trim_end_matches('/'), "" | "/version" | "/api" | "/apis")
        || legacy::group_version(server, path).is_some()
        || legacy::group(server, path).is_some()
}

/// Answers a GET on a discovery path.
pub fn answer(server: &ApiServer, headers: &HeaderMap, path: &str) -> Result<Answer, ApiError> {
    let mut output = negotiate_refusal(headers, &Query::default());
    let mut value = match path.trim_end_matches('/') {
        "" => json!({"paths": paths(server)}),
        "/version" => version::version(),
        "/openid/v1/jwks" => {
            let keys = issuer(server)?.key_set();
            return Ok(Answer::document("application/jwk-set+json", &keys));
        }
        "/.well-known/openid-configuration" => {
            return Ok(Answer::document("application/json", &issuer(server)?.discovery()));
        }
        root @ ("/api" | "/apis") => {
            if aggregated::wanted(headers) {
                return Ok(aggregated::answer(server, headers, root == "/api"));
            }
            if root == "/api" {
                legacy::versions(server)
            } else {
                legacy::groups(server)
            }
        }
        path => {
            if let Some((group, version)) = legacy::group_version(server, path) {
                let list = legacy::resources_of(server, group, version);
                if output.is_compact_json() {
                    return Answer::ordered(&list).map_err(ApiError::internal);
                }
                json!(list)
            } else if let Some(group) = legacy::group(server, path) {
                group
            } else {
                return Err(ApiError::page_not_found());
            }
        }
    };
    if output.format == Format::Protobuf {
        match value["kind"].is_null() {
            // The version and the list of paths are no kinds.
            true => output = Output::JSON,
            false => value["apiVersion"] = json!("v1"),
        }
    }
    Ok(Answer::Raw(
        Answer::Value(StatusCode::OK, value).into_response(&output),
    ))
}

/// The served groups with their versions, the preferred one first: the built-in ones, then the custom ones.
fn groups(server: &ApiServer) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups = resources::groups(server.runtime.resources());
    groups.extend(server.cache.custom().groups());
    if !server.aggregation.remotes().is_empty() {
        for (group, versions) in &mut groups {
            versions.retain(|version| !is_remote(server, group, version));
        }
        groups.retain(|(_, versions)| !versions.is_empty());
    }
    groups
}

/// Whether another server serves a group-version instead.
fn is_remote(server: &ApiServer, group: &str, version: &str) -> bool {
    server.aggregation.remote(group, version).is_some()
}

/// The served resources of a group-version.
fn resources_of(server: &ApiServer, group: &str, version: &str) -> Vec<&'static Resource> {
    let own = |r: &&'static Resource| r.group == group && r.version == version;
    let mut found: Vec<&Resource> = server.runtime.resources().filter(own).collect();
    found.extend(server.cache.custom().all().into_iter().filter(own));
    found
}

/// Who issues service account tokens here, if anybody.
fn issuer(server: &ApiServer) -> Result<&Accounts, ApiError> {
    server.accounts.as_ref().ok_or_else(ApiError::page_not_found)
}

fn paths(server: &ApiServer) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for (group, versions) in groups(server) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.sort();
    paths
}
