//! "Discovery", "AggregatedDiscovery" and "CustomResourcePublishOpenAPI" of upstream's suite.
use crate::support::{Client, Cluster};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

async fn aggregated(admin: &Client, path: &str) -> Value {
    let reply = admin.send(Method::GET, path, &[("accept", AGGREGATED)], "").await;
    assert_eq!(reply.headers["content-type"], AGGREGATED);
    assert_eq!(reply.headers["vary"], "Accept");
    assert!(
        reply.headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("public")
    );
    let etag = reply.headers["etag"].to_str().unwrap();
    let digits = etag.trim_matches('"');
    assert!(
        etag.len() == digits.len() + 2
            && digits.len() == 128
            && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        "{etag}"
    );
    reply.ok()
}

/// "should validate PreferredVersion for each APIGroup", "should locate the groupVersion and a resource within each
/// APIGroup"
#[tokio::test]
async fn d03_each_group_names_its_versions_and_each_version_its_resources() {
    let admin = Cluster::start().await.admin();
    let groups = admin.get("/apis").await.ok();
    assert_eq!(groups["kind"], "APIGroupList");
    assert_eq!(groups["apiVersion"], "v1");
    for group in groups["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        let alone = admin.get(&format!("/apis/{name}")).await.ok();
        assert_eq!(
            (alone["kind"].as_str(), alone["apiVersion"].as_str()),
            (Some("APIGroup"), Some("v1"))
        );
        assert_eq!(alone["versions"], group["versions"], "{name}");
        let versions = group["versions"].as_array().unwrap();
        assert!(versions.contains(&group["preferredVersion"]), "{name}");
        for version in versions {
            let wanted = format!("{name}/{}", version["version"].as_str().unwrap());
            assert_eq!(version["groupVersion"], wanted);
            let list = admin.get(&format!("/apis/{wanted}")).await.ok();
            assert_eq!(list["kind"], "APIResourceList");
            assert_eq!(list["apiVersion"], "v1");
            assert_eq!(list["groupVersion"], wanted);
            let resources = list["resources"].as_array().unwrap();
            assert!(!resources.is_empty(), "{wanted}");
            for resource in resources {
                assert!(
                    resource["name"].is_string()
                        && resource["kind"].is_string()
                        && resource["namespaced"].is_boolean(),
                    "{resource}"
                );
                assert!(!resource["verbs"].as_array().unwrap().is_empty(), "{resource}");
            }
        }
    }
    let core = admin.get("/api").await.ok();
    assert_eq!(core["kind"], "APIVersions");
    assert_eq!(core["serverAddressByClientCIDRs"][0]["clientCIDR"], "0.0.0.0/0");
    let core = admin.get("/api/v1").await.ok();
    assert_eq!(core.get("apiVersion"), None);
}

/// Resource or subresource → scope, kind and verbs.
type Found = BTreeMap<String, (bool, String, Vec<String>)>;

fn verbs(value: &Value) -> Vec<String> {
    let verbs = value.as_array().unwrap().iter();
    verbs.map(|verb| verb.as_str().unwrap().to_owned()).collect()
}

fn from_legacy(list: &Value, prefix: &str, found: &mut Found) {
    for resource in list["resources"].as_array().unwrap() {
        let name = format!("{prefix}/{}", resource["name"].as_str().unwrap());
        let kind = resource["kind"].as_str().unwrap().to_owned();
        let entry = (resource["namespaced"] == true, kind, verbs(&resource["verbs"]));
        assert!(found.insert(name.clone(), entry).is_none(), "{name} twice");
    }
}

fn from_aggregated(list: &Value, found: &mut Found) {
    assert_eq!(list["kind"], "APIGroupDiscoveryList");
    assert_eq!(list["apiVersion"], "apidiscovery.k8s.io/v2");
    for group in list["items"].as_array().unwrap() {
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        for version in group["versions"].as_array().unwrap() {
            assert_eq!(version["freshness"], "Current");
            let prefix = match name {
                "" => format!("/api/{}", version["version"].as_str().unwrap()),
                _ => format!("/apis/{name}/{}", version["version"].as_str().unwrap()),
            };
            for resource in version["resources"].as_array().unwrap() {
                let plural = resource["resource"].as_str().unwrap();
                let namespaced = match resource["scope"].as_str() {
                    Some("Namespaced") => true,
                    Some("Cluster") => false,
                    other => panic!("{plural}: scope {other:?}"),
                };
                let kind = |value: &Value| value["responseKind"]["kind"].as_str().unwrap().to_owned();
                let entry = (namespaced, kind(resource), verbs(&resource["verbs"]));
                found.insert(format!("{prefix}/{plural}"), entry);
                for part in resource["subresources"].as_array().into_iter().flatten() {
                    let name = part["subresource"].as_str().unwrap();
                    let entry = (namespaced, kind(part), verbs(&part["verbs"]));
                    found.insert(format!("{prefix}/{plural}/{name}"), entry);
                }
            }
        }
    }
}

/// D01: both forms of discovery say the same about every resource and subresource.
#[tokio::test]
async fn d01_aggregated_discovery_has_every_served_resource_with_verbs_and_scope() {
    let admin = Cluster::start().await.admin();
    let mut legacy = Found::new();
    from_legacy(&admin.get("/api/v1").await.ok(), "/api/v1", &mut legacy);
    for group in admin.get("/apis").await.ok()["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let path = format!("/apis/{}", version["groupVersion"].as_str().unwrap());
            from_legacy(&admin.get(&path).await.ok(), &path, &mut legacy);
        }
    }
    let mut whole = Found::new();
    let core = aggregated(&admin, "/api").await;
    assert_eq!(core["items"].as_array().unwrap().len(), 1);
    from_aggregated(&core, &mut whole);
    from_aggregated(&aggregated(&admin, "/apis").await, &mut whole);
    assert_eq!(whole, legacy);
    for (name, verbs) in [
        ("/api/v1/pods/eviction", &["create"][..]),
        ("/api/v1/pods/log", &["get"]),
        ("/api/v1/pods/exec", &["create", "get"]),
        ("/api/v1/pods/ephemeralcontainers", &["get", "patch", "update"]),
        ("/api/v1/namespaces/finalize", &["update"]),
        ("/api/v1/serviceaccounts/token", &["create"]),
        ("/apis/apps/v1/deployments/scale", &["get", "patch", "update"]),
        (
            "/apis/certificates.k8s.io/v1/certificatesigningrequests/approval",
            &["get", "patch", "update"],
        ),
    ] {
        assert_eq!(
            whole.get(name).map(|entry| entry.2.clone()).unwrap_or_default(),
            verbs,
            "{name}"
        );
    }
    assert!(!whole.contains_key("/apis/apps/v1/daemonsets/scale"));
}

/// kubectl asks for v2, then v2beta1, then plain JSON; what is not served is passed over.
#[tokio::test]
async fn clients_that_know_older_forms_of_discovery_get_the_best_they_know() {
    let admin = Cluster::start().await.admin();
    let v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    for (accept, kind) in [
        (
            format!("{AGGREGATED},{v2beta1},application/json"),
            "APIGroupDiscoveryList",
        ),
        (format!("{v2beta1},application/json"), "APIGroupList"),
        ("application/json".to_owned(), "APIGroupList"),
        ("*/*".to_owned(), "APIGroupList"),
    ] {
        let reply = admin.send(Method::GET, "/apis", &[("accept", &accept)], "").await;
        assert_eq!(reply.ok()["kind"], kind, "{accept}");
    }
}

/// What documents of OpenAPI say of a resource: kubectl finds a kind by its PATCH with `fieldValidation`.
#[tokio::test]
async fn d07_every_kind_that_can_be_patched_has_a_patch_with_field_validation() {
    let admin = Cluster::start().await.admin();
    let index = admin.get("/openapi/v3").await.ok();
    let mut described: Vec<(String, String, String)> = Vec::new();
    for document in index["paths"].as_object().unwrap().values() {
        let document = admin
            .get(document["serverRelativeURL"].as_str().unwrap())
            .await
            .ok();
        for item in document["paths"].as_object().unwrap().values() {
            let patch = &item["patch"];
            let kind = &patch["x-kubernetes-group-version-kind"];
            let mut parameters = patch["parameters"].as_array().into_iter().flatten();
            if parameters.any(|p| p["name"] == "fieldValidation" && p["in"] == "query") {
                let text = |field: &str| kind[field].as_str().unwrap().to_owned();
                described.push((text("group"), text("version"), text("kind")));
            }
        }
    }
    for sample in super::objects::samples() {
        let (group, version) = sample.api.rsplit_once('/').unwrap_or(("", sample.api));
        let kind = (group.to_owned(), version.to_owned(), sample.kind.to_owned());
        assert!(described.contains(&kind), "{kind:?}");
    }
}

fn versioned(name: &str, served: bool, storage: bool) -> Value {
    json!({"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object",
        "description": format!("Gadgets of {name}."), "properties": {
            "spec": {"type": "object", "description": "What is wanted.", "properties": {
                "bars": {"type": "array", "description": "List of bars.", "items": {"type": "object", "required": ["name"],
                    "properties": {"name": {"type": "string", "description": "Name of the bar."}, "age": {"type": "string"}}}}}},
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}}}})
}

async fn definition_of(admin: &Client, version: &str) -> Value {
    let document = admin.get("/openapi/v2").await.ok();
    document["definitions"][format!("com.example.{version}.Gadget")].clone()
}

/// "works for multiple CRDs of same group but different versions", "updates the published spec when one version gets
/// renamed", "removes definition from spec when one version gets changed to not be served"
#[tokio::test]
async fn published_documents_follow_the_versions_of_a_definition() {
    let admin = Cluster::start().await.admin();
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let crd = json!({"metadata": {"name": "gadgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "gadgets", "kind": "Gadget"}, "versions": [versioned("v1", true, true), versioned("v2", true, false)]}});
    admin.post(crds, crd).await.ok();
    for version in ["v1", "v2"] {
        let definition = definition_of(&admin, version).await;
        assert_eq!(
            definition["x-kubernetes-group-version-kind"],
            json!([{"group": "example.com", "kind": "Gadget", "version": version}])
        );
        assert_eq!(definition["description"], format!("Gadgets of {version}."));
        let bars = &definition["properties"]["spec"]["properties"]["bars"];
        assert_eq!(bars["items"]["required"], json!(["name"]));
        assert_eq!(
            bars["items"]["properties"]["name"]["description"],
            "Name of the bar."
        );
        assert!(definition["properties"]["kind"]["description"].is_string());
    }
    let untouched = definition_of(&admin, "v1").await;
    let path = format!("{crds}/gadgets.example.com");
    let renamed = json!([{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]);
    admin.patch(&path, "json", renamed).await.ok();
    assert_eq!(definition_of(&admin, "v2").await, Value::Null);
    assert_ne!(definition_of(&admin, "v4").await, Value::Null);
    assert_eq!(
        definition_of(&admin, "v1").await,
        untouched,
        "the other version is as it was"
    );
    let unserved = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    admin.patch(&path, "json", unserved).await.ok();
    assert_eq!(definition_of(&admin, "v4").await, Value::Null);
    assert_eq!(admin.get("/apis/example.com/v4").await.code, 404);
    assert_eq!(admin.get("/openapi/v3/apis/example.com/v4").await.code, 404);
    let group = admin.get("/apis/example.com").await.ok();
    assert_eq!(group["versions"].as_array().unwrap().len(), 1);
}

/// "Custom resource should have storage version hash": that of the version it is stored in, whichever is asked for.
#[tokio::test]
async fn d04_resources_have_the_hash_of_the_version_they_are_stored_in() {
    let admin = Cluster::start().await.admin();
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object"}}});
    let crd = json!({"metadata": {"name": "foos.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"}, "versions": [version("v1", false), version("v2", true)]}});
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    admin.post(crds, crd).await.ok();
    let hash = async |path: &str, name: &str| {
        let list = admin.get(path).await.ok();
        let resources = list["resources"].as_array().unwrap();
        let found = resources.iter().find(|resource| resource["name"] == name);
        found.unwrap()["storageVersionHash"].as_str().unwrap().to_owned()
    };
    // base64 of the first eight bytes of SHA-256 of example.com/v2/Foo
    for path in ["/apis/example.com/v1", "/apis/example.com/v2"] {
        assert_eq!(hash(path, "foos").await, "Uc7ar2efsQ4=", "{path}");
    }
    // Upstream's own.
    for (path, name, expected) in [
        ("/api/v1", "configmaps", "qFsyl6wFWjQ="),
        ("/api/v1", "endpoints", "fWeeMqaN/OA="),
        ("/api/v1", "namespaces", "Q3oi5N2YM8M="),
        ("/api/v1", "services", "0/CO1lhkEBI="),
        ("/apis/events.k8s.io/v1", "events", "r2yiGXH7wu8="),
        ("/apis/autoscaling/v1", "horizontalpodautoscalers", "qwQve8ut294="),
        ("/apis/autoscaling/v2", "horizontalpodautoscalers", "qwQve8ut294="),
        ("/apis/networking.k8s.io/v1", "ingresses", "39NQlfNR+bo="),
    ] {
        assert_eq!(hash(path, name).await, expected, "{path} {name}");
    }
}
