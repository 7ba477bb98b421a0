//! How many pods there should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{ApiCapabilities, Scope, pinned_kind};
use kube::{Api, Client};
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

/// What the owners of `pods` want.
pub async fn expected(client: &Client, cache: &Cache, pods: &[Pod]) -> Result<Expected, ScaleError> {
    let mut scales: BTreeMap<Arc<str>, i32> = BTreeMap::new();
    let mut unowned = 0;
    for pod in pods {
        let Some(controller) = &pod.controller else {
            unowned += 1;
            continue;
        };
        if scales.contains_key(&controller.uid) {
            continue;
        }
        let (uid, scale) = match known(cache, &pod.key.namespace, controller) {
            Known::Scale(uid, scale) => (uid, scale),
            Known::Gone => return Err(no_owner(pod)),
            Known::Other => match owner(client, pod, controller).await? {
                Live::Owner(owner) => {
                    let scale = of_any_kind(client, pod, &owner).await?;
                    (controller.uid.clone(), scale)
                }
                // That it is gone is about to be told; the others are asked of the owner.
                Live::PodGone => continue,
                Live::NoOwner => return Err(no_owner(pod)),
            },
        };
        scales.insert(uid, scale);
    }
    Ok(Expected {
        pods: scales.values().copied().fold(0, i32::saturating_add),
        unowned,
    })
}

/// What the cache knows of an owner.
enum Known {
    /// uid and scale of it, or of its own owner.
    Scale(Arc<str>, i32),
    /// It isn't there.
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

fn no_owner(pod: &Pod) -> ScaleError {
    ScaleError::NoOwner {
        pod: pod.key.name.to_string(),
    }
}

/// What the server knows of a pod's owner: its version isn't remembered.
enum Live {
    Owner(OwnerReference),
    /// The pod has another owner by now, or none.
    NoOwner,
    /// The pod has gone since it was remembered.
    PodGone,
}

async fn owner(client: &Client, pod: &Pod, controller: &ControllerRef) -> Result<Live, kube::Error> {
    let live = metadata_api::<core::Pod>(client, &pod.key.namespace);
    let Some(live) = live.get_opt(&pod.key.name).await? else {
        return Ok(Live::PodGone);
    };
    if live.metadata.uid.as_deref() != Some(&*pod.uid) {
        return Ok(Live::PodGone);
    }
    let mut owners = live.metadata.owner_references.into_iter().flatten();
    let owner = owners.find(|owner| *owner.uid == *controller.uid);
    Ok(owner.map_or(Live::NoOwner, Live::Owner))
}

/// Asks for the owner's scale, whatever its kind.
async fn of_any_kind(client: &Client, pod: &Pod, owner: &OwnerReference) -> Result<i32, ScaleError> {
    let namespace = &pod.key.namespace;
    let (group, version) = owner
        .api_version
        .split_once('/')
        .unwrap_or(("", &owner.api_version));
    let kind = GroupVersionKind::gvk(group, version, &owner.kind);
    let (resource, capabilities) = pinned_kind(client, &kind).await?;
    match scale(client, namespace, &resource, &capabilities, &owner.name).await {
        Ok(scale) => Ok(scale),
        Err(error) if api_error::is_not_found(&error) => {
            if capabilities
                .subresources
                .iter()
                .any(|(subresource, _)| subresource.plural == "scale")
            {
                return Err(no_owner(pod));
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

async fn scale(
    client: &Client,
    namespace: &str,
    resource: &ApiResource,
    capabilities: &ApiCapabilities,
    name: &str,
) -> Result<i32, kube::Error> {
    let objects: Api<DynamicObject> = if capabilities.scope == Scope::Namespaced {
        Api::namespaced_with(client.clone(), namespace, resource)
    } else {
        Api::all_with(client.clone(), resource)
    };
    let scale = objects.get_subresource("scale", name).await?;
    let replicas = scale.data["spec"]["replicas"].as_i64().unwrap_or(0);
    Ok(i32::try_from(replicas).unwrap_or(i32::MAX))
}
