//! Looks at claims and volumes when they change, and completes bindings.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use orlop_client::events::{EventType, Recorder, reference};
use orlop_client::informer::{Change, Informer, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::task::JoinSet;

use super::plan::{self, BIND_COMPLETED, BOUND_BY_CONTROLLER, Class, Verdict};
use super::views::{BY_CLAIM, Binding, ClaimView, ClassView, FREE, VolumeView, bound_to};
use crate::api_error;
use crate::cache::Cache;
use crate::run::watch_all;
use crate::workers::Workers;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Task {
    Claim(ObjectKey),
    Volume(ObjectKey),
}

/// The controller.
pub struct VolumeBinding {
    client: kube::Client,
    recorder: Recorder,
    claims: Arc<Informer<ClaimView>>,
    volumes: Arc<Informer<VolumeView>>,
    classes: Arc<Informer<ClassView>>,
    queue: Arc<WorkQueue<Task>>,
}

impl VolumeBinding {
    /// Registers the handlers.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let this = Arc::new(Self {
            recorder: Recorder::new(client.clone(), "persistentvolume-controller", None),
            client,
            claims: Arc::new(Informer::new()),
            volumes: Arc::new(Informer::new()),
            classes: Arc::new(Informer::new()),
            queue: cache.queue("volumes"),
        });
        let (on, volumes) = (this.queue.clone(), this.volumes.clone());
        this.claims.on_change(move |change: &Change<ClaimView>| {
            let claim = change.latest();
            if change
                .new
                .as_ref()
                .is_some_and(|claim| claim.binding == Binding::Pending)
            {
                on.add(Task::Claim(claim.key.clone()));
            }
            if change.new.is_none() {
                for volume in volumes.store().by_index(BY_CLAIM, &claim.key.to_string()) {
                    on.add(Task::Volume(volume.key.clone()));
                }
            }
        });
        let (on, claims) = (this.queue.clone(), this.claims.clone());
        this.volumes.on_change(move |change: &Change<VolumeView>| {
            for claim in bound_to(change, claims.store()) {
                on.add(Task::Claim(claim));
            }
            let Some(volume) = &change.new else { return };
            on.add(Task::Volume(volume.key.clone()));
            match &volume.claim {
                Some(claim) => on.add(Task::Claim(claim.clone())),
                None => enqueue_pending(&claims, &on),
            }
        });
        let (on, claims) = (this.queue.clone(), this.claims.clone());
        this.classes.on_change(move |_| enqueue_pending(&claims, &on));
        this
    }

    /// Starts the watches and the worker.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        watch_all(&self.claims, &self.client, tasks);
        watch_all(&self.classes, &self.client, tasks);
        let (this, volumes) = (self.clone(), Api::all(self.client.clone()));
        tasks.spawn(async move {
            let watch = this.volumes.run(volumes, watcher::Config::default());
            tokio::join!(watch, this.find_lost());
        });
        Workers {
            name: "volume_binding",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, task| async move {
                this.volumes.synced().await;
                this.look(&task).await
            },
            api_error::is_conflict,
        );
    }

    /// Looks at claims whose volumes went, or came back, while nobody looked.
    async fn find_lost(&self) {
        self.claims.synced().await;
        self.volumes.synced().await;
        let volumes = self.volumes.store();
        self.claims.store().for_each(|claim| {
            let Some(volume) = claim.volume.as_deref() else {
                return;
            };
            let is_there = volumes.get(&ObjectKey::new("", volume)).is_some();
            if is_there == (claim.binding == Binding::Lost) {
                self.queue.add(Task::Claim(claim.key.clone()));
            }
        });
    }

    async fn look(&self, task: &Task) -> Result<(), kube::Error> {
        let looked = match task {
            Task::Claim(key) => self.claim(key).await,
            Task::Volume(key) => self.volume(key).await,
        };
        match looked {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result,
        }
    }

    async fn claim(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let claims: Api<core::PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        let Some(claim) = claims.get_opt(&key.name).await? else {
            return Ok(());
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let volumes: Api<core::PersistentVolume> = Api::all(self.client.clone());
        let class = match plan::named(&claim) {
            Some(_) => Class::Nothing,
            None => self.class_of(&claim).await?,
        };
        let found = self.candidates(&claim, class, &volumes).await?;
        match plan::verdict(&claim, &found, class) {
            Verdict::Leave => Ok(()),
            Verdict::Wait(reason, message) => {
                self.recorder
                    .event(&reference(&claim), EventType::Normal, reason, message.to_owned());
                Ok(())
            }
            Verdict::Lost(reason, message) => self.lose(&claims, &claim, reason, message).await,
            Verdict::Bind(name) => {
                let volume = found
                    .into_iter()
                    .find(|volume| volume.metadata.name.as_deref() == Some(&*name));
                match volume {
                    Some(volume) => self.bind(&claims, claim, &volumes, volume).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// The volumes among which the claim's is to be found. A list of all is asked for only where one may be chosen: what
    /// the cache doesn't have yet brings the claim here again when it comes.
    async fn candidates(
        &self,
        claim: &core::PersistentVolumeClaim,
        class: Class,
        volumes: &Api<core::PersistentVolume>,
    ) -> Result<Vec<core::PersistentVolume>, kube::Error> {
        if let Some(name) = plan::named(claim) {
            return Ok(volumes.get_opt(name).await?.into_iter().collect());
        }
        let known = self.volumes.store();
        let may_choose = class != Class::Waits && !plan::is_complete(&claim.metadata);
        if may_choose && known.count_by_index(FREE, plan::class_of_claim(claim)) > 0 {
            return Ok(volumes.list(&ListParams::default()).await?.items);
        }
        let mut promised = Vec::new();
        for volume in known.by_index(BY_CLAIM, &ObjectKey::of(claim).to_string()) {
            promised.extend(volumes.get_opt(&volume.key.name).await?);
        }
        Ok(promised)
    }

    async fn class_of(&self, claim: &core::PersistentVolumeClaim) -> Result<Class, kube::Error> {
        let field = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.storage_class_name.as_ref());
        let name = plan::class(&claim.metadata, field);
        if name.is_empty() {
            return Ok(Class::Nothing);
        }
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        Ok(classes.get_opt(name).await?.map_or(Class::Nothing, |class| {
            let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
            Class::of(waits, &class.provisioner)
        }))
    }

    /// Says of a claim that it has no volume any more.
    async fn lose(
        &self,
        claims: &Api<core::PersistentVolumeClaim>,
        claim: &core::PersistentVolumeClaim,
        reason: &str,
        message: &str,
    ) -> Result<(), kube::Error> {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Lost") {
            return Ok(());
        }
        let patch = json!({"metadata": {"uid": claim.metadata.uid}, "status": {"phase": "Lost", "accessModes": null,
            "capacity": null, "currentVolumeAttributesClassName": null}});
        claims
            .patch_status(
                &name_of(&claim.metadata),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await?;
        tracing::warn!(claim = %ObjectKey::of(claim), reason, "claim lost");
        self.recorder
            .event(&reference(claim), EventType::Warning, reason, message.to_owned());
        Ok(())
    }

    /// Completes the binding on both sides; each step is left out if it was made before.
    async fn bind(
        &self,
        claims: &Api<core::PersistentVolumeClaim>,
        claim: core::PersistentVolumeClaim,
        volumes: &Api<core::PersistentVolume>,
        volume: core::PersistentVolume,
    ) -> Result<(), kube::Error> {
        let (claim_name, volume_name) = (name_of(&claim.metadata), name_of(&volume.metadata));
        let parameters = PatchParams::default();
        let promise = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        if promise.is_none_or(|promise| promise.uid != claim.metadata.uid) {
            let mut metadata = json!({"resourceVersion": volume.metadata.resource_version});
            if promise.is_none() {
                metadata["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
            }
            let patch = json!({"metadata": metadata, "spec": {"claimRef": {"apiVersion": "v1",
                "kind": "PersistentVolumeClaim", "namespace": claim.metadata.namespace, "name": claim_name,
                "uid": claim.metadata.uid}}});
            volumes
                .patch(&volume_name, &parameters, &Patch::Merge(patch))
                .await?;
        }
        set_phase(volumes, &volume, "Bound").await?;
        let spec = claim.spec.as_ref();
        let named = spec.and_then(|spec| spec.volume_name.as_deref()) == Some(&*volume_name);
        if !named || !plan::is_complete(&claim.metadata) {
            let mut annotations = json!({BIND_COMPLETED: "yes"});
            if !named {
                annotations[BOUND_BY_CONTROLLER] = json!("yes");
            }
            let patch = json!({"metadata": {"uid": claim.metadata.uid, "annotations": annotations},
                "spec": {"volumeName": volume_name}});
            claims
                .patch(&claim_name, &parameters, &Patch::Merge(patch))
                .await?;
        }
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase != Some("Bound") {
            let spec = volume.spec.as_ref();
            let patch = json!({"metadata": {"uid": claim.metadata.uid}, "status": {"phase": "Bound",
                "accessModes": spec.and_then(|spec| spec.access_modes.as_ref()),
                "currentVolumeAttributesClassName": spec.and_then(|spec| spec.volume_attributes_class_name.as_ref()),
                "capacity": spec.and_then(|spec| spec.capacity.as_ref())}});
            claims
                .patch_status(&claim_name, &parameters, &Patch::Merge(patch))
                .await?;
            tracing::info!(claim = claim_name, volume = volume_name, "volume bound");
        }
        Ok(())
    }

    /// Says what became of a volume.
    async fn volume(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let volumes: Api<core::PersistentVolume> = Api::all(self.client.clone());
        let Some(volume) = volumes.get_opt(&key.name).await? else {
            return Ok(());
        };
        let promise = volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone());
        let Some(promise) = promise else {
            return set_phase(&volumes, &volume, "Available").await;
        };
        let Some(uid) = promise.uid.filter(|uid| !uid.is_empty()) else {
            // Kept for a claim that may come.
            return set_phase(&volumes, &volume, "Available").await;
        };
        let namespace = promise.namespace.unwrap_or_default();
        let claims: Api<core::PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let claim = claims.get_opt(&promise.name.unwrap_or_default()).await?;
        if claim.is_some_and(|claim| claim.metadata.uid.as_ref() == Some(&uid)) {
            return Ok(());
        }
        set_phase(&volumes, &volume, "Released").await
    }
}

fn enqueue_pending(claims: &Informer<ClaimView>, queue: &WorkQueue<Task>) {
    claims.store().for_each(|claim| {
        if claim.binding == Binding::Pending {
            queue.add(Task::Claim(claim.key.clone()));
        }
    });
}

fn name_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}

async fn set_phase(
    volumes: &Api<core::PersistentVolume>,
    volume: &core::PersistentVolume,
    phase: &str,
) -> Result<(), kube::Error> {
    let shown = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    // Also of one that is being deleted: it is kept while it is bound.
    if shown == Some(phase) {
        return Ok(());
    }
    let patch = json!({"metadata": {"uid": volume.metadata.uid}, "status": {"phase": phase}});
    volumes
        .patch_status(
            &name_of(&volume.metadata),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::server;
    use serde_json::Value;

    const CLAIM: &str = "/api/v1/namespaces/ns/persistentvolumeclaims/c";
    const VOLUMES: &str = "/api/v1/persistentvolumes";

    /// What is asked for when a claim is looked at, of which this is special, while these volumes are known.
    async fn asked(more: Value, known: &[Value]) -> Vec<String> {
        let mut claim = json!({"metadata": {"name": "c", "namespace": "ns", "uid": "u"}, "spec": {}});
        orlop_api::patch::merge(&mut claim, &more);
        let promised = json!({"metadata": {"name": "v", "uid": "v"}, "status": {"phase": "Bound"},
            "spec": {"claimRef": {"namespace": "ns", "name": "c", "uid": "u"}}});
        let (client, asked) = server(move |_, path, body| match path {
            CLAIM => (200, claim.clone()),
            VOLUMES => (200, json!({"metadata": {}, "items": []})),
            "/api/v1/persistentvolumes/v" => (200, promised.clone()),
            _ => (200, body),
        });
        let binding = VolumeBinding::new(client, &Arc::new(Cache::default()));
        for volume in known {
            let volume = serde_json::from_value(volume.clone()).unwrap();
            binding.volumes.store().apply(volume);
        }
        binding.claim(&ObjectKey::new("ns", "c")).await.unwrap();
        let asked = asked.lock().unwrap();
        asked.iter().map(|(_, path, _)| path.clone()).collect()
    }

    #[tokio::test]
    async fn all_volumes_are_read_only_where_one_may_be_chosen() {
        let bound = json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}}, "spec": {"volumeName": "v"},
            "status": {"phase": "Bound"}});
        let one = "/api/v1/persistentvolumes/v";
        assert_eq!(asked(bound, &[]).await, [CLAIM, one], "it names one");
        let volume = |class: &str, of: Value| {
            json!({"metadata": {"name": "v", "uid": "v", "resourceVersion": "1"},
                "spec": {"storageClassName": class, "claimRef": of}})
        };
        let other = volume("other", json!(null));
        assert_eq!(asked(json!({}), &[other]).await, [CLAIM], "none of its class");
        let free = volume("", json!(null));
        assert_eq!(asked(json!({}), &[free]).await, [CLAIM, VOLUMES]);
        let promised = volume("", json!({"namespace": "ns", "name": "c"}));
        let asked = asked(json!({}), &[promised]).await;
        assert_eq!(asked[..2], [CLAIM, one], "it is promised one");
    }
}
