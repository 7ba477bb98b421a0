//! Takes what is being deleted from a queue and looks whether it is in use.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use orlop_client::informer::{Change, Informer, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::task::JoinSet;

use super::plan::{self, BY_NAMESPACE, CLAIM_FINALIZER, ClaimView, VOLUME_FINALIZER, VolumeView};
use crate::api_error;
use crate::cache::{Cache, PodView};
use crate::run::watch_all;
use crate::workers::Workers;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Task {
    Claim(ObjectKey),
    Volume(ObjectKey),
}

/// The protection of volumes and claims.
pub struct StorageProtection {
    client: kube::Client,
    claims: Arc<Informer<ClaimView>>,
    volumes: Arc<Informer<VolumeView>>,
    queue: Arc<WorkQueue<Task>>,
}

impl StorageProtection {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let this = Arc::new(Self {
            client,
            claims: Arc::new(Informer::new()),
            volumes: Arc::new(Informer::new()),
            queue: cache.queue("pvcprotection"),
        });
        let on = this.queue.clone();
        this.claims.on_change(move |change: &Change<ClaimView>| {
            if let Some(claim) = change.new.as_ref().filter(|claim| claim.waiting) {
                on.add(Task::Claim(claim.key.clone()));
            }
        });
        let on = this.queue.clone();
        this.volumes.on_change(move |change: &Change<VolumeView>| {
            if let Some(volume) = change.new.as_ref().filter(|volume| volume.free) {
                on.add(Task::Volume(volume.key.clone()));
            }
        });
        let (on, claims) = (this.queue.clone(), this.claims.clone());
        cache.pods.on_change(move |change: &Change<PodView>| {
            let gone = change.new.as_ref().is_none_or(|pod| pod.is_terminal());
            if gone {
                let waiting = claims
                    .store()
                    .by_index(BY_NAMESPACE, &change.latest().key.namespace);
                waiting
                    .iter()
                    .for_each(|claim| on.add(Task::Claim(claim.key.clone())));
            }
        });
        this
    }

    /// Starts the watches and the worker.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        watch_all(&self.claims, &self.client, tasks);
        watch_all(&self.volumes, &self.client, tasks);
        Workers {
            name: "storage_protection",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, task| async move { this.look(&task).await },
            api_error::is_conflict,
        );
    }

    async fn look(&self, task: &Task) -> Result<(), kube::Error> {
        match task {
            Task::Volume(key) => {
                let api: Api<core::PersistentVolume> = Api::all(self.client.clone());
                let Some(volume) = api.get_opt(&key.name).await? else {
                    return Ok(());
                };
                if plan::is_free(&volume) {
                    release(&api, &volume.metadata, VOLUME_FINALIZER).await?;
                }
            }
            Task::Claim(key) => {
                let api = self.namespaced::<core::PersistentVolumeClaim>(&key.namespace);
                let Some(claim) = api.get_opt(&key.name).await? else {
                    return Ok(());
                };
                // Asked of the server: what a pod mounts isn't remembered.
                let pods = self.namespaced::<core::Pod>(&key.namespace);
                let pods = pods.list(&ListParams::default()).await?;
                let used = pods.items.iter().any(|pod| plan::uses(pod, &key.name));
                if plan::is_waiting(&claim) && !used {
                    release(&api, &claim.metadata, CLAIM_FINALIZER).await?;
                }
            }
        }
        Ok(())
    }

    fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Takes the finalizer off this very version.
async fn release<K>(api: &Api<K>, metadata: &ObjectMeta, finalizer: &str) -> Result<(), kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let left: Vec<&String> = metadata
        .finalizers
        .iter()
        .flatten()
        .filter(|own| *own != finalizer)
        .collect();
    let patch = json!({"metadata": {"uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": left}});
    let name = metadata.name.as_deref().unwrap_or_default();
    match api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Err(error) if api_error::is_not_found(&error) => Ok(()),
        result => result.map(drop),
    }
}
