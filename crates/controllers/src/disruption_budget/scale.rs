//! How many pods there should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_client::informer::ObjectKey;

use crate::cache::{Cache, ControllerRef, Pod};

/// Why it can't be told how many pods there should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScaleError {
    /// An owner that has no number of pods.
    #[error("{kind} does not implement the scale subresource")]
    NoScale {
        /// Its kind.
        kind: String,
    },
    /// An owner that isn't there, yet or any more.
    #[error("found no controller ref for pod {pod:?}")]
    NoOwner {
        /// The pod.
        pod: String,
    },
}

/// The pods that the owners of `pods` want in all; pods without an owner don't count.
pub fn expected(cache: &Cache, pods: &[Pod]) -> Result<i32, ScaleError> {
    let mut scales: BTreeMap<Arc<str>, i32> = BTreeMap::new();
    for pod in pods {
        let Some(controller) = &pod.controller else {
            continue;
        };
        if !scales.contains_key(&controller.uid) {
            let (uid, scale) =
                of(cache, &pod.key.namespace, controller)?.ok_or_else(|| ScaleError::NoOwner {
                    pod: pod.key.name.to_string(),
                })?;
            scales.insert(uid, scale);
        }
    }
    Ok(scales.values().sum())
}

/// uid and scale of the owner, or of its own owner.
fn of(
    cache: &Cache,
    namespace: &Arc<str>,
    controller: &ControllerRef,
) -> Result<Option<(Arc<str>, i32)>, ScaleError> {
    let key = ObjectKey {
        namespace: namespace.clone(),
        name: controller.name.clone(),
    };
    match &*controller.kind {
        "ReplicaSet" => {
            let Some(set) = cache.replica_sets.store().get(&key) else {
                return Ok(None);
            };
            match &set.controller {
                Some(owner) if *owner.kind == *"Deployment" => of(cache, namespace, owner),
                _ => Ok(Some((set.uid.clone(), set.replicas))),
            }
        }
        "Deployment" => {
            let deployment = cache.deployments.store().get(&key);
            Ok(deployment.map(|deployment| (deployment.uid.clone(), deployment.replicas())))
        }
        "ReplicationController" => {
            let found = cache.replication_controllers.store().get(&key);
            Ok(found.map(|found| (found.uid.clone(), found.replicas)))
        }
        "StatefulSet" => {
            let set = cache.stateful_sets.store().get(&key);
            Ok(set.map(|set| (set.uid.clone(), set.spec.replicas.unwrap_or(1))))
        }
        kind => Err(ScaleError::NoScale {
            kind: kind.to_owned(),
        }),
    }
}
