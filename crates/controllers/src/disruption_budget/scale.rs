//! How many pods there should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{ApiCapabilities, Scope, pinned_kind};
use kube::{Api, Client};
use orlop_api::wire::group_and_version;
use orlop_client::informer::ObjectKey;

use crate::api_error;
use crate::cache::{Cache, ControllerRef, Pod};
use crate::owned::status::metadata_api;

/// Why it can't be told how many pods there should be.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// An owner that has no number of pods.
    #[error("{resource} does not implement the scale subresource")]
    NoScale {
        /// Plural and group of its kind.
        resource: String,
    },
    /// An owner that isn't there, yet or any more.
    #[error("found no controller ref for pod {pod:?}")]
    NoOwner {
        /// The pod.
        pod: String,
    },
    /// The server didn't say.
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
}

/// How many pods there should be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// The pods that the owners of those that are there want in all.
    pub pods: i32,
    /// Pods without an owner, which don't count.
    pub unowned: usize,
}

/// What the owners of `pods` want; `None` if the server has a pod no more, or of another owner, which is yet to be seen.
pub async fn expected(client: &Client, cache: &Cache, pods: &[Pod]) -> Result<Option<Expected>, ScaleError> {
    let mut scales: BTreeMap<Arc<str>, i32> = BTreeMap::new();
    let mut unowned = 0;
    // Those that go may be gone when somebody asks for them.
    let (going, staying): (Vec<&Pod>, Vec<&Pod>) = pods.iter().partition(|pod| pod.terminating);
    for pod in staying.into_iter().chain(going) {
        let Some(controller) = &pod.controller else {
            unowned += 1;
            continue;
        };
        if scales.contains_key(&controller.uid) {
            continue;
        }
        let scale = match known(cache, &pod.key.namespace, controller) {
            Known::Scale(uid, scale) => Some((uid, scale)),
            Known::Gone => of_any_kind(client, pod, controller, true).await?,
            Known::Other => of_any_kind(client, pod, controller, false).await?,
        };
        let Some((uid, scale)) = scale else {
            return Ok(None);
        };
        scales.insert(uid, scale);
    }
    Ok(Some(Expected {
        pods: scales.values().copied().fold(0, i32::saturating_add),
        unowned,
    }))
}

/// What the cache knows of an owner.
enum Known {
    /// uid and scale of it, or of its own owner.
    Scale(Arc<str>, i32),
    /// The kind of that name that is remembered has it not.
    Gone,
    /// It is of a kind that isn't remembered.
    Other,
}

fn known(cache: &Cache, namespace: &Arc<str>, controller: &ControllerRef) -> Known {
    let key = ObjectKey {
        namespace: namespace.clone(),
        name: controller.name.clone(),
    };
    // One of that name that came later is another one.
    let is_it = |uid: &Arc<str>| *uid == controller.uid;
    let found = match &*controller.kind {
        "ReplicaSet" => {
            let set = cache.replica_sets.store().get(&key);
            let Some(set) = set.filter(|set| is_it(&set.uid)) else {
                return Known::Gone;
            };
            match &set.controller {
                Some(owner) if *owner.kind == *"Deployment" => return known(cache, namespace, owner),
                _ => Some((set.uid.clone(), set.replicas)),
            }
        }
        "Deployment" => {
            let deployment = cache.deployments.store().get(&key);
            deployment.map(|deployment| (deployment.uid.clone(), deployment.replicas()))
        }
        "ReplicationController" => {
            let found = cache.replication_controllers.store().get(&key);
            found.map(|found| (found.uid.clone(), found.replicas))
        }
        "StatefulSet" => {
            let set = cache.stateful_sets.store().get(&key);
            set.map(|set| (set.uid.clone(), set.spec.replicas.unwrap_or(1)))
        }
        _ => return Known::Other,
    };
    let found = found.filter(|(uid, _)| is_it(uid));
    found.map_or(Known::Gone, |(uid, scale)| Known::Scale(uid, scale))
}

/// The group of a kind of that name that is remembered.
fn remembered_group(kind: &str) -> &'static str {
    match kind {
        "ReplicationController" => "",
        _ => "apps",
    }
}

/// Asks for the owner's scale, whatever its kind; `None` if the pod isn't there, or isn't the owner's. `is_gone`: the kind
/// of that name that is remembered has no such owner, which may be of another group's.
async fn of_any_kind(
    client: &Client,
    pod: &Pod,
    controller: &ControllerRef,
    is_gone: bool,
) -> Result<Option<(Arc<str>, i32)>, ScaleError> {
    let namespace = &pod.key.namespace;
    let live = metadata_api::<core::Pod>(client, namespace);
    let Some(live) = live.get_opt(&pod.key.name).await? else {
        return Ok(None);
    };
    let mut owners = live.metadata.owner_references.into_iter().flatten();
    let Some(owner) = owners.find(|owner| *owner.uid == *controller.uid) else {
        return Ok(None);
    };
    let (group, version) = group_and_version(&owner.api_version);
    let no_owner = || ScaleError::NoOwner {
        pod: pod.key.name.to_string(),
    };
    if is_gone && group == remembered_group(&owner.kind) {
        return Err(no_owner());
    }
    let kind = GroupVersionKind::gvk(group, version, &owner.kind);
    let (resource, capabilities) = pinned_kind(client, &kind).await?;
    match scale(client, namespace, &resource, &capabilities, &owner.name).await {
        // One of that name that came later is another one.
        Ok((Some(uid), _)) if *uid != *controller.uid => Err(no_owner()),
        Ok((_, scale)) => Ok(Some((controller.uid.clone(), scale))),
        Err(error) if api_error::is_not_found(&error) => {
            if capabilities
                .subresources
                .iter()
                .any(|(subresource, _)| subresource.plural == "scale")
            {
                return Err(no_owner());
            }
            let plural = resource.plural;
            let resource = if group.is_empty() {
                plural
            } else {
                format!("{plural}.{group}")
            };
            Err(ScaleError::NoScale { resource })
        }
        Err(error) => Err(error.into()),
    }
}

/// The uid of an object, if that is told, and its scale.
async fn scale(
    client: &Client,
    namespace: &str,
    resource: &ApiResource,
    capabilities: &ApiCapabilities,
    name: &str,
) -> Result<(Option<String>, i32), kube::Error> {
    let objects: Api<DynamicObject> = if capabilities.scope == Scope::Namespaced {
        Api::namespaced_with(client.clone(), namespace, resource)
    } else {
        Api::all_with(client.clone(), resource)
    };
    let scale = objects.get_subresource("scale", name).await?;
    let replicas = scale.data["spec"]["replicas"].as_i64().unwrap_or(0);
    Ok((scale.metadata.uid, i32::try_from(replicas).unwrap_or(i32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::server;
    use serde_json::{Value, json};

    /// What the owner of two pods of the cache wants, of which the first is `terminating` there, by a server that has the
    /// second one alone, and owners of kind `kind` in group example.com.
    async fn asked(kind: &'static str, terminating: bool) -> Result<Option<i32>, ScaleError> {
        let owners = json!([{"apiVersion": "example.com/v1", "kind": kind, "name": "o", "uid": "o", "controller": true}]);
        let there = owners.clone();
        let (client, _) = server(move |method, path, _| match path {
            "/api/v1/namespaces/ns/pods/p-0" => (
                404,
                json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "gone"}),
            ),
            "/api/v1/namespaces/ns/pods/p-1" => (
                200,
                json!({"metadata": {"name": "p-1", "namespace": "ns", "ownerReferences": there}}),
            ),
            "/apis/example.com/v1" => {
                let resource = |name: &str, kind: &str| json!({"name": name, "kind": kind, "singularName": "", "namespaced": true, "verbs": ["get"]});
                let resources = [resource("owners", kind), resource("owners/scale", "Scale")];
                (
                    200,
                    json!({"groupVersion": "example.com/v1", "resources": resources}),
                )
            }
            "/apis/example.com/v1/namespaces/ns/owners/o/scale" => (
                200,
                json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "o", "uid": "o"},
                    "spec": {"replicas": 4}}),
            ),
            path => panic!("{method} {path}"),
        });
        let cache = Cache::default();
        let mut pods = Vec::new();
        for (name, deleted) in [
            ("p-0", terminating.then_some("2026-01-01T00:00:00Z")),
            ("p-1", None),
        ] {
            let pod: Value = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "4",
                "deletionTimestamp": deleted, "ownerReferences": owners}});
            cache.pods.store().apply(serde_json::from_value(pod).unwrap());
            pods.push(cache.pods.store().get(&ObjectKey::new("ns", name)).unwrap());
        }
        let expected = expected(&client, &cache, &pods).await?;
        Ok(expected.map(|expected| expected.pods))
    }

    #[tokio::test]
    async fn a_pod_that_is_gone_before_the_cache_knows_says_nothing_of_its_owner() {
        assert_eq!(asked("Owner", false).await.unwrap(), None);
        assert_eq!(
            asked("Owner", true).await.unwrap(),
            Some(4),
            "another one is asked for"
        );
    }

    #[tokio::test]
    async fn an_owner_of_another_group_is_none_of_the_kind_of_that_name() {
        assert_eq!(asked("StatefulSet", true).await.unwrap(), Some(4));
    }
}
