//! Discovery one document at a time.
use crate::ApiServer;
use crate::resources::{self, Resource, Subresource};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub fn versions(server: &ApiServer) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server.advertise().to_string()}],
    })
}

pub fn groups(server: &ApiServer) -> Value {
    let groups: Vec<Value> = super::groups(server)
        .iter()
        .map(|(group, versions)| group_value(group, versions))
        .chain(remote_groups(server))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// The groups that other servers serve.
fn remote_groups(server: &ApiServer) -> Vec<Value> {
    let groups = server.aggregation.groups();
    let shown = groups.iter().map(|(group, versions)| {
        let versions: Vec<&str> = versions.iter().map(|(version, _)| version.as_str()).collect();
        group_value(group, &versions)
    });
    shown.collect()
}

/// `/apis/{group}`.
pub fn group(server: &ApiServer, path: &str) -> Option<Value> {
    let name = path.trim_end_matches('/').strip_prefix("/apis/")?;
    let own = super::groups(server).into_iter().find(|(g, _)| *g == name);
    let own = own.map(|(group, versions)| group_value(group, &versions));
    let remote = || {
        remote_groups(server)
            .into_iter()
            .find(|group| group["name"] == name)
    };
    let mut value = own.or_else(remote)?;
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    Some(value)
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let version = |v: &&str| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

/// `/api/v1` or `/apis/{group}/{version}`, if served.
pub fn group_version(server: &ApiServer, path: &str) -> Option<(&'static str, &'static str)> {
    let path = path.trim_end_matches('/');
    if path == "/api/v1" && server.serves("", "v1") {
        return Some(("", "v1"));
    }
    let (group, version) = path.strip_prefix("/apis/")?.split_once('/')?;
    let (group, versions) = super::groups(server).into_iter().find(|(g, _)| *g == group)?;
    let version = versions.into_iter().find(|v| *v == version)?;
    Some((group, version))
}

/// `APIResourceList`. Its fields are written in this order: scripts cut one resource out of the text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceList {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    group_version: String,
    resources: Vec<Described>,
}

/// `APIResource`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: String,
    singular_name: &'static str,
    namespaced: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'static [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'static [&'static str],
    #[serde(skip_serializing_if = "String::is_empty")]
    storage_version_hash: String,
}

pub fn resources_of(server: &ApiServer, group: &str, version: &str) -> ResourceList {
    describe(group, version, super::resources_of(server, group, version))
}

fn describe(group: &str, version: &str, mut served: Vec<&Resource>) -> ResourceList {
    let mut list = Vec::new();
    served.sort_by_key(|r| r.plural);
    for resource in served {
        list.push(resource_described(resource));
        let subresources = resource.subresources.iter();
        list.extend(subresources.map(|s| subresource_described(resource, s)));
    }
    ResourceList {
        kind: "APIResourceList",
        api_version: (!group.is_empty()).then_some("v1"),
        group_version: resources::api_version(group, version),
        resources: list,
    }
}

fn resource_described(resource: &Resource) -> Described {
    Described {
        name: resource.plural.to_owned(),
        singular_name: resource.singular,
        namespaced: resource.namespaced,
        group: "",
        version: "",
        kind: resource.kind,
        verbs: resource.verbs,
        short_names: resource.short_names,
        categories: resource.categories,
        storage_version_hash: match resource.storage.is_empty() {
            true => String::new(),
            false => storage_version_hash(resource),
        },
    }
}

fn subresource_described(resource: &Resource, subresource: &Subresource) -> Described {
    // Named where it isn't the list's own.
    let other = subresource
        .kind
        .filter(|(group, version, _)| (*group, *version) != (resource.group, resource.version));
    let (group, version, _) = other.unwrap_or_default();
    Described {
        name: format!("{}/{}", resource.plural, subresource.name),
        singular_name: "",
        namespaced: resource.namespaced,
        group,
        version,
        kind: subresource.kind.map_or(resource.kind, |(_, _, kind)| kind),
        verbs: subresource.verbs,
        short_names: &[],
        categories: &[],
        storage_version_hash: String::new(),
    }
}

/// Base64 of the first eight bytes of SHA-256 of `group/version/Kind` as stored.
fn storage_version_hash(resource: &Resource) -> String {
    // What is stored as another resource has that one's.
    let stored = match resource.view {
        Some(_) => resources::all()
            .iter()
            .find(|other| other.owns_storage() && other.storage == resource.storage),
        None => None,
    };
    let stored = stored.unwrap_or(resource);
    let custom = stored.custom.map(|custom| custom.definition().stored.clone());
    let version = custom.as_deref().unwrap_or(stored.version);
    let text = format!("{}/{version}/{}", stored.group, stored.kind);
    STANDARD.encode(&Sha256::digest(text.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract §4.2: the two hashes it names.
    #[test]
    fn storage_version_hashes_are_upstreams() {
        let hash = |group, plural| storage_version_hash(resources::find(group, "v1", plural).unwrap());
        assert_eq!(hash("", "pods"), "xPOwRZ+Yhw8=");
        assert_eq!(hash("apps", "daemonsets"), "dd7pWHUlMKQ=");
        // Stored as the core group's, and as v2.
        assert_eq!(hash("events.k8s.io", "events"), "r2yiGXH7wu8=");
        assert_eq!(hash("autoscaling", "horizontalpodautoscalers"), "qwQve8ut294=");
    }

    /// D04
    #[test]
    fn daemonsets_are_described() {
        let served = resources::all().iter().filter(|r| r.group == "apps").collect();
        let apps = json!(describe("apps", "v1", served));
        let list = apps["resources"].as_array().unwrap();
        let named = |name: &str| list.iter().find(|r| r["name"] == name);
        let sets = named("daemonsets").unwrap();
        assert_eq!(sets["shortNames"], json!(["ds"]));
        assert_eq!(sets["categories"], json!(["all"]));
        assert_eq!(sets["verbs"].as_array().unwrap().len(), 8);
        assert!(named("daemonsets/status").is_some());
        assert!(named("daemonsets/scale").is_none());
    }

    #[test]
    fn resources_are_written_in_upstreams_order() {
        let pods = resources::find("", "v1", "pods").unwrap();
        let text = serde_json::to_string(&describe("", "v1", vec![pods])).unwrap();
        let start = r#"{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["create","#;
        assert!(text.starts_with(start), "{text}");
        let end = r#""shortNames":["po"],"categories":["all"],"storageVersionHash":"xPOwRZ+Yhw8="}"#;
        assert!(text.contains(end), "{text}");
        let eviction = r#"{"name":"pods/eviction","singularName":"","namespaced":true,"group":"policy","version":"v1","kind":"Eviction","verbs":["create"]}"#;
        assert!(text.contains(eviction), "{text}");
    }
}
