//! Creating and deleting an owner's pods, with events (contract §3.8).

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{ObjectReference, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use orlop_api::placement::daemon::generate_name;
use orlop_client::events::{EventType, Recorder};
use orlop_client::informer::Lean;

use super::slow_start::PARALLEL_MAX;
use super::{Awaited, slow_start};
use crate::api_error;
use crate::cache::{Pod, PodView, cached};

/// What came of a round of writes.
#[derive(Debug, Default)]
pub struct Written {
    /// The pods that now exist.
    pub created: Vec<Pod>,
    /// The first failure of a creation.
    pub create_error: Option<kube::Error>,
    /// The first failure of a deletion.
    pub delete_error: Option<kube::Error>,
}

impl Written {
    /// The first failure.
    pub fn into_error(self) -> Option<kube::Error> {
        self.create_error.or(self.delete_error)
    }
}

/// Why a pod wasn't created.
enum NotCreated {
    /// No pod can be in its namespace any more; the next ones needn't be tried.
    NamespaceTerminating,
    Failed(kube::Error),
}

/// Whether the pod counts as one of its owner's: it may still run.
pub fn is_active(pod: &PodView) -> bool {
    !pod.is_terminal() && !pod.terminating
}

/// The pod that `owner` makes from its template.
pub fn from_template(template: &PodTemplateSpec, owner: &OwnerReference, namespace: &str) -> core::Pod {
    let from = template.metadata.clone().unwrap_or_default();
    core::Pod {
        metadata: ObjectMeta {
            generate_name: Some(generate_name(&owner.name)),
            namespace: Some(namespace.to_owned()),
            labels: from.labels,
            annotations: from.annotations,
            finalizers: from.finalizers,
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The pods of one owner, as something to write to.
pub struct OwnedPods<'a> {
    /// The pods of the owner's namespace.
    pub api: Api<Lean<core::Pod>>,
    /// Tells what happened.
    pub recorder: &'a Recorder,
    /// Learns what the cache has to show before the next sync.
    pub awaited: &'a Awaited,
    /// uid of the owner.
    pub uid: &'a Arc<str>,
    /// The owner, as events name it.
    pub about: ObjectReference,
}

impl OwnedPods<'_> {
    fn tell(&self, event_type: EventType, reason: &str, message: String) {
        self.recorder.event(&self.about, event_type, reason, message);
    }

    /// Creates `create` pods, which `make` makes from their numbers, and deletes `delete`.
    pub async fn write(&self, create: usize, make: impl Fn(usize) -> core::Pod, delete: &[Pod]) -> Written {
        let mut written = Written::default();
        if create == 0 && delete.is_empty() {
            return written;
        }
        let make = &make;
        let (answers, untried) =
            slow_start(create, |number| async move { self.create(&make(number)).await }).await;
        for answer in answers {
            match answer {
                Ok(pod) => written.created.push(pod),
                Err(NotCreated::NamespaceTerminating) => {}
                Err(NotCreated::Failed(error)) => written.create_error = written.create_error.or(Some(error)),
            }
        }
        let deletions: Vec<_> = delete.iter().map(|pod| self.delete(pod)).collect();
        let mut deletions = futures::stream::iter(deletions).buffer_unordered(PARALLEL_MAX);
        while let Some(answer) = deletions.next().await {
            if let Err(error) = answer {
                written.delete_error = written.delete_error.or(Some(error));
            }
        }
        tracing::info!(
            owner = ?self.about.name, created = written.created.len(), deleted = delete.len(), untried, "pods written"
        );
        written
    }

    async fn create(&self, pod: &core::Pod) -> Result<Pod, NotCreated> {
        match self.api.create(&PostParams::default(), &Lean(pod.clone())).await {
            Ok(pod) => {
                let pod = cached::<PodView>(pod);
                self.awaited
                    .wrote(self.uid, &pod.key, &pod.uid, pod.resource_version);
                self.tell(
                    EventType::Normal,
                    "SuccessfulCreate",
                    format!("Created pod: {}", pod.key.name),
                );
                Ok(pod)
            }
            // Nothing can be done about it and it ends by itself.
            Err(error) if api_error::is_namespace_terminating(&error) => {
                Err(NotCreated::NamespaceTerminating)
            }
            Err(error) => {
                self.note_lost(&error);
                let message = format!("Error creating: {}", orlop_client::message(&error));
                self.tell(EventType::Warning, "FailedCreate", message);
                Err(NotCreated::Failed(error))
            }
        }
    }

    async fn delete(&self, pod: &Pod) -> Result<(), kube::Error> {
        match self.api.delete(&pod.key.name, &DeleteParams::default()).await {
            Ok(_) => {
                self.awaited.deleted(self.uid, &pod.key, &pod.uid);
                self.tell(
                    EventType::Normal,
                    "SuccessfulDelete",
                    format!("Deleted pod: {}", pod.key.name),
                );
                Ok(())
            }
            Err(error) if api_error::is_not_found(&error) => {
                self.awaited.deleted(self.uid, &pod.key, &pod.uid);
                Ok(())
            }
            Err(error) => {
                self.note_lost(&error);
                let message = format!("Error deleting: {}", orlop_client::message(&error));
                self.tell(EventType::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    fn note_lost(&self, error: &kube::Error) {
        if api_error::is_uncertain(error) {
            self.awaited.lost_answer(self.uid);
        }
    }
}
