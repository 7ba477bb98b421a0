//! Creating and deleting a DaemonSet's pods, within limits and with events (contract §3.8).

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use orlop_api::placement::daemon;
use orlop_client::events::{EventType, Recorder, reference};
use orlop_client::informer::{Cached, ObjectKey, Projection};

use super::expectations::Expectations;
use crate::api_error;
use crate::cache::{DaemonSet, Pod, PodView};

/// Most pods created, and most pods deleted, in one sync of one DaemonSet.
pub const WRITES_MAX: usize = 250;

/// What came of a round of writes.
#[derive(Debug, Default)]
pub struct Written {
    /// The pods that now exist.
    pub created: Vec<Pod>,
    /// Highest resource version among them: what the cache must have seen before the next sync.
    pub resource_version: u64,
    /// The first failure.
    pub error: Option<kube::Error>,
}

/// Creates a pod for each of `create` and deletes `delete`, both cut to [`WRITES_MAX`].
pub async fn write(
    client: &kube::Client,
    recorder: &Recorder,
    expectations: &Expectations,
    set: &DaemonSet,
    hash: &str,
    mut create: Vec<Arc<str>>,
    mut delete: Vec<Pod>,
) -> Written {
    create.truncate(WRITES_MAX);
    delete.truncate(WRITES_MAX);
    if create.is_empty() && delete.is_empty() {
        return Written::default();
    }
    let uids: HashSet<Arc<str>> = delete.iter().map(|pod| pod.uid.clone()).collect();
    expectations.expect(&set.uid, create.len(), uids);
    let pods = Pods {
        api: Api::namespaced(client.clone(), &set.key.namespace),
        recorder,
        expectations,
        set,
    };
    let mut written = Written::default();
    let (answers, untried) = slow_start(&create, |node| pods.create(hash, node)).await;
    expectations.created(&set.uid, untried);
    for answer in answers {
        match answer {
            Ok(Some(pod)) => {
                written.resource_version = written.resource_version.max(pod.resource_version);
                written.created.push(pod);
            }
            Ok(None) => {}
            Err(error) => written.error = written.error.or(Some(error)),
        }
    }
    for answer in join_all(delete.iter().map(|pod| pods.delete(pod))).await {
        if let Err(error) = answer {
            written.error = written.error.or(Some(error));
        }
    }
    tracing::info!(
        daemonset = %set.key, created = written.created.len(), deleted = delete.len(), untried, "daemon pods written"
    );
    written
}

struct Pods<'a> {
    api: Api<core::Pod>,
    recorder: &'a Recorder,
    expectations: &'a Expectations,
    set: &'a DaemonSet,
}

impl Pods<'_> {
    fn tell(&self, event_type: EventType, reason: &str, message: String) {
        self.recorder
            .event(&reference(&self.set.set), event_type, reason, message);
    }

    async fn create(&self, hash: &str, node: &str) -> Result<Option<Pod>, kube::Error> {
        let pod = daemon::pod_for_node(&self.set.set, hash, node);
        match self.api.create(&PostParams::default(), &pod).await {
            Ok(pod) => {
                let pod = cached(pod);
                self.tell(
                    EventType::Normal,
                    "SuccessfulCreate",
                    format!("Created pod: {}", pod.key.name),
                );
                Ok(Some(pod))
            }
            // Nothing can be done about it and it ends by itself; the expectation expires.
            Err(error) if api_error::is_namespace_terminating(&error) => Ok(None),
            Err(error) => {
                self.expectations.created(&self.set.uid, 1);
                let message = format!("Error creating: {}", api_error::message(&error));
                self.tell(EventType::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn delete(&self, pod: &Pod) -> Result<(), kube::Error> {
        match self.api.delete(&pod.key.name, &DeleteParams::default()).await {
            Ok(_) => {
                self.tell(
                    EventType::Normal,
                    "SuccessfulDelete",
                    format!("Deleted pod: {}", pod.key.name),
                );
                Ok(())
            }
            Err(error) => {
                self.expectations.deleted(&self.set.uid, &pod.uid);
                if api_error::is_not_found(&error) {
                    return Ok(());
                }
                let message = format!("Error deleting: {}", api_error::message(&error));
                self.tell(EventType::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }
}

/// A pod the server answered with, as the cache will show it.
fn cached(pod: core::Pod) -> Pod {
    Arc::new(Cached {
        key: ObjectKey::of(&pod),
        uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
        resource_version: pod
            .metadata
            .resource_version
            .as_deref()
            .and_then(|v| v.parse().ok())
            .unwrap_or(0),
        object: PodView::project(pod),
    })
}

/// Calls `act` on the items in parallel batches of 1, 2, 4, 8 … and stops after the first batch
/// with an error, so that a server that refuses everything isn't asked for everything. Returns the
/// answers and the number of items not tried.
async fn slow_start<'a, T, A, E, F>(items: &'a [T], act: impl Fn(&'a T) -> F) -> (Vec<Result<A, E>>, usize)
where
    F: Future<Output = Result<A, E>>,
{
    let mut answers = Vec::with_capacity(items.len());
    let mut rest = items;
    let mut size = 1;
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        size *= 2;
        let batch = join_all(batch.iter().map(&act)).await;
        let failed = batch.iter().any(Result::is_err);
        answers.extend(batch);
        if failed {
            break;
        }
    }
    (answers, rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn c12_creates_stop_after_the_first_batch_with_an_error() {
        let tried = AtomicUsize::new(0);
        let items: Vec<usize> = (0..100).collect();
        let (answers, untried) = slow_start(&items, |_| async {
            if tried.fetch_add(1, Ordering::Relaxed) < 10 {
                Ok(())
            } else {
                Err("quota")
            }
        })
        .await;
        assert_eq!((tried.into_inner(), untried), (1 + 2 + 4 + 8, 85));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    }
}
