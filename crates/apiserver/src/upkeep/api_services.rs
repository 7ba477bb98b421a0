//! Every group-version that this server serves has an APIService that says so. One that names another server is
//! somebody's wish and left alone; when it is gone, the server's own is back.
use super::own_call;
use crate::ApiServer;
use crate::aggregation::GROUP;
use crate::resources;
use crate::runtime_config::RuntimeConfig;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

pub const KINDS: &[(&str, &str)] = &[
    (GROUP, "apiservices"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
];
/// Which of them this server keeps.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Priorities of custom groups.
const CUSTOM: (i64, i64) = (1000, 100);

/// The group-versions that are always served, with the priorities of upstream's.
const LOCAL: &[(&str, &str, i64, i64)] = &[
    ("", "v1", 18000, 1),
    ("apps", "v1", 17800, 15),
    ("events.k8s.io", "v1", 17750, 5),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v2", 17500, 30),
    ("autoscaling", "v1", 17500, 15),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("networking.k8s.io", "v1", 17200, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("storage.k8s.io", "v1", 16800, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
    ("resource.k8s.io", "v1", 16100, 20),
    ("metrics.k8s.io", "v1beta1", 100, 100),
];

/// `v1.apps`; `v1.` for the core group.
fn name(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

/// The APIService of a group-version that is served here. `managed`: `onstart` for what is always served.
fn object(group: &str, version: &str, priorities: (i64, i64), managed: &str) -> Value {
    json!({
        "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": name(group, version), "labels": {MANAGED: managed}},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": priorities.0, "versionPriority": priorities.1},
        "status": {"conditions": [{"type": "Available", "status": "True", "lastTransitionTime": crate::registry::now(),
            "reason": "Local", "message": "Local APIServices are always available"}]},
    })
}

/// Those of what is always served.
pub fn built_in(runtime: &RuntimeConfig) -> impl Iterator<Item = Value> {
    let served = LOCAL
        .iter()
        .filter(|(group, version, ..)| runtime.serves_version(group, version));
    served.map(|(group, version, high, low)| object(group, version, (*high, *low), "onstart"))
}

/// Takes back what earlier starts have said of what is turned off now. Once: another server may serve it.
pub async fn forget_turned_off(server: Weak<ApiServer>) {
    let Some(server) = server.upgrade().filter(|server| !server.runtime.serves_all()) else {
        return;
    };
    for (group, version, ..) in LOCAL {
        if server.runtime.serves_version(group, version) {
            continue;
        }
        let name = name(group, version);
        let stored = resources::find(GROUP, "v1", "apiservices")
            .and_then(|kind| server.cache.object(kind, "", &name))
            .map(|stored| stored.value());
        let is_own = |object: &Value| {
            object["metadata"]["labels"][MANAGED] == "onstart" && object["spec"]["service"].is_null()
        };
        if stored.as_ref().is_some_and(is_own) {
            let path = format!("/apis/{GROUP}/v1/apiservices/{name}");
            own_call(&server, Method::DELETE, &path, Value::Null).await;
        }
    }
}

pub async fn register(server: Arc<ApiServer>) -> bool {
    let Some(storage) =
        resources::find(GROUP, "v1", "apiservices").and_then(|kind| server.cache.storage(kind))
    else {
        return true;
    };
    let stored: Vec<Value> = server
        .cache
        .snapshot(storage, "")
        .objects
        .iter()
        .map(|o| o.value())
        .collect();
    let mut wanted: BTreeMap<String, Value> = built_in(&server.runtime)
        .map(|object| {
            (
                object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                object,
            )
        })
        .collect();
    for (group, versions) in server.cache.custom().groups() {
        for version in versions {
            wanted.insert(name(group, version), object(group, version, CUSTOM, "true"));
        }
    }
    let (missing, gone) = differences(&wanted, &stored);
    let path = format!("/apis/{GROUP}/v1/apiservices");
    let mut done = true;
    for object in missing {
        let code = own_call(&server, Method::POST, &path, object.clone()).await;
        done &= code.is_success() || code == StatusCode::CONFLICT;
    }
    for name in gone {
        let code = own_call(&server, Method::DELETE, &format!("{path}/{name}"), Value::Null).await;
        done &= code.is_success() || code == StatusCode::NOT_FOUND;
    }
    done
}

/// What has to be created, and the names of what has to go.
fn differences<'v>(
    wanted: &'v BTreeMap<String, Value>,
    stored: &'v [Value],
) -> (Vec<&'v Value>, Vec<&'v str>) {
    let named = |object: &'v Value| object["metadata"]["name"].as_str().unwrap_or_default();
    let missing = wanted
        .iter()
        .filter(|(name, _)| !stored.iter().any(|object| named(object) == name.as_str()))
        .map(|(_, object)| object);
    let gone = stored
        .iter()
        .filter(|object| {
            object["metadata"]["labels"][MANAGED] == "true" && object["spec"]["service"].is_null()
        })
        .map(named)
        .filter(|name| !wanted.contains_key(*name));
    (missing.collect(), gone.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_registered_and_what_is_no_more_is_not() {
        let wanted: BTreeMap<String, Value> = [("g", "v1"), ("h", "v1")]
            .map(|(group, version)| (name(group, version), object(group, version, CUSTOM, "true")))
            .into();
        let mut anothers = object("h", "v1", CUSTOM, "true");
        anothers["spec"]["service"] = json!({"name": "s", "namespace": "n"});
        let by_hand = json!({"metadata": {"name": "v1.x"}, "spec": {}});
        let stored = [anothers, object("old", "v1", CUSTOM, "true"), by_hand];
        let (missing, gone) = differences(&wanted, &stored);
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0]["metadata"]["name"], "v1.g");
        assert_eq!(gone, ["v1.old"]);
    }

    #[test]
    fn every_built_in_group_version_has_an_api_service() {
        let named: Vec<(&str, &str)> = LOCAL
            .iter()
            .map(|(group, version, ..)| (*group, *version))
            .collect();
        for resource in resources::all() {
            let own = (resource.group, resource.version);
            assert!(named.contains(&own) || resource.group == GROUP, "{own:?}");
        }
    }
}
