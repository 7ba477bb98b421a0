//! Creating and deleting a DaemonSet's pods, within limits (contract §3.8).

use std::sync::Arc;

use kube::Api;
use orlop_api::placement::daemon;
use orlop_client::events::{Recorder, reference};

use crate::cache::{DaemonSet, Pod};
use crate::owned::{Awaited, OwnedPods, Written};

/// Most pods created, and most pods deleted, in one sync of one DaemonSet.
pub const WRITES_MAX: usize = 250;

/// Creates a pod for each node of `create` and deletes `delete`, both cut to [`WRITES_MAX`].
pub async fn write(
    client: &kube::Client,
    recorder: &Recorder,
    awaited: &Awaited,
    set: &DaemonSet,
    hash: &str,
    mut create: Vec<Arc<str>>,
    mut delete: Vec<Pod>,
) -> Written {
    create.truncate(WRITES_MAX);
    delete.truncate(WRITES_MAX);
    let pods = OwnedPods {
        api: Api::namespaced(client.clone(), &set.key.namespace),
        recorder,
        awaited,
        uid: &set.uid,
        about: reference(&set.set),
    };
    let make = |number: usize| daemon::pod_for_node(&set.set, hash, &create[number]);
    pods.write(create.len(), make, &delete).await
}
