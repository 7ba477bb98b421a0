//! Waits for contents to go and finalises.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::task::JoinSet;

use super::conditions::Remaining;
use super::lingering::{Left, Lingering};
use super::pace::{LOOK_AGAIN, Pace};
use crate::api_error;
use crate::cache::{Cache, NamespaceView, PodView};
use crate::resources::{self, Discovered, Served};
use crate::workers::Workers;

/// Namespaces emptied at the same time.
const WORKERS: usize = 2;
/// Pause after the deletion: other API servers may still let objects in.
const SETTLE: Duration = Duration::from_secs(5);
/// The finalizer that keeps a namespace until it is empty.
const FINALIZER: &str = "kubernetes";

/// The namespace controller.
pub struct Namespaces {
    client: kube::Client,
    cache: Arc<Cache>,
    queue: Arc<WorkQueue<Arc<str>>>,
    pace: Pace,
    lingering: Lingering,
}

#[derive(Debug, thiserror::Error)]
enum Incomplete {
    #[error("{}", orlop_client::message(.0))]
    Api(#[from] kube::Error),
    #[error("cannot build a request: {0}")]
    Request(#[from] http::Error),
    #[error("cannot serialise a namespace: {0}")]
    Serialise(#[from] serde_json::Error),
}

impl Namespaces {
    /// Registers the handlers at `cache`, which must not have been started yet. `watcher` may watch every kind, which
    /// upstream's role of who empties namespaces doesn't allow.
    pub fn new(client: kube::Client, watcher: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("namespace");
        let on = queue.clone();
        cache.namespaces.on_change(move |change: &Change<NamespaceView>| {
            let newly = change.old.as_ref().is_none_or(|old| !old.terminating);
            if let Some(namespace) = &change.new
                && namespace.terminating
                && newly
            {
                on.add_after(namespace.key.name.clone(), SETTLE);
            }
        });
        let on = queue.clone();
        let weak = Arc::downgrade(cache);
        cache.pods.on_change(move |change: &Change<PodView>| {
            if change.new.is_none() {
                let namespace = change.latest().key.namespace.clone();
                let is_terminating = weak.upgrade().is_some_and(|cache| {
                    let found = cache
                        .namespaces
                        .store()
                        .get(&ObjectKey::new("", namespace.clone()));
                    found.is_some_and(|found| found.terminating)
                });
                if is_terminating {
                    on.add_after(namespace, Duration::from_millis(50));
                }
            }
        });
        Arc::new(Self {
            client,
            cache: cache.clone(),
            lingering: Lingering::new(watcher, queue.clone()),
            queue,
            pace: Pace::default(),
        })
    }

    /// Starts the workers. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "namespace",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, name| async move { this.sync(&name).await },
            |_| false,
        );
    }

    async fn sync(&self, name: &Arc<str>) -> Result<(), Incomplete> {
        let known = self
            .cache
            .namespaces
            .store()
            .get(&ObjectKey::new("", name.clone()));
        if known.is_none_or(|known| !known.terminating || known.finalized) {
            self.forget(name);
            return Ok(());
        }
        let (remaining, left) = self.empty(name).await?;
        self.show(name, &remaining).await?;
        if remaining.is_nothing() {
            self.finalize(name).await?;
            self.forget(name);
            tracing::info!(namespace = %name, "namespace emptied");
        } else {
            let pause = self.pace.pause(name, remaining);
            if pause > LOOK_AGAIN {
                self.lingering.watch(name, &left);
            }
            self.queue.add_after(name.clone(), pause);
        }
        Ok(())
    }

    fn forget(&self, name: &str) {
        self.pace.forget(name);
        self.lingering.forget(name);
    }

    /// Deletes what is in the namespace; the rest only once no pod is left. What is left then, beside pods by kind.
    async fn empty(&self, name: &str) -> Result<(Remaining, Vec<Left>), Incomplete> {
        let Discovered { served, unknown } = resources::discover(&self.client).await?;
        let (pods, others): (Vec<Served>, Vec<Served>) = served
            .into_iter()
            .filter(|served| served.namespaced)
            .partition(|served| served.resource.group.is_empty() && served.resource.kind == "Pod");
        let mut remaining = Remaining::default();
        for served in &pods {
            self.delete_all(served, name, &mut remaining).await;
        }
        if remaining.is_nothing() {
            for served in &others {
                self.delete_all(served, name, &mut remaining).await;
            }
        }
        // It may have something in a group that nobody could look into.
        remaining.undiscovered = unknown;
        let left = others.into_iter().filter_map(|served| {
            let objects = *remaining.objects.get(&name_of(&served))?;
            Some(Left { served, objects })
        });
        let left = left.collect();
        Ok((remaining, left))
    }

    async fn delete_all(&self, served: &Served, namespace: &str, remaining: &mut Remaining) {
        if let Err(error) = self.try_delete_all(served, namespace, remaining).await {
            let plural = &served.resource.plural;
            let failure = format!("{plural}: {}", orlop_client::message(&error));
            remaining.failures.push(failure);
        }
    }

    async fn try_delete_all(
        &self,
        served: &Served,
        namespace: &str,
        remaining: &mut Remaining,
    ) -> Result<(), kube::Error> {
        let api = served.api(&self.client, namespace);
        let found = api.list(&ListParams::default()).await?;
        if found.items.is_empty() {
            return Ok(());
        }
        let waiting = found
            .items
            .iter()
            .any(|object| object.metadata.deletion_timestamp.is_none());
        if waiting && served.delete_collection {
            api.delete_collection(&DeleteParams::background(), &ListParams::default())
                .await?;
        } else if waiting {
            for name in found
                .items
                .iter()
                .filter_map(|object| object.metadata.name.as_deref())
            {
                match api.delete(name, &DeleteParams::background()).await {
                    Err(error) if !api_error::is_not_found(&error) => return Err(error),
                    _ => {}
                }
            }
        }
        let left = api.list(&ListParams::default()).await?.items;
        if left.is_empty() {
            return Ok(());
        }
        remaining.objects.insert(name_of(served), left.len());
        for finalizer in left
            .iter()
            .flat_map(|object| object.metadata.finalizers.iter().flatten())
        {
            *remaining.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        Ok(())
    }

    async fn show(&self, name: &str, remaining: &Remaining) -> Result<(), Incomplete> {
        let api: Api<core::Namespace> = Api::all(self.client.clone());
        let Some(namespace) = api.get_opt(name).await? else {
            return Ok(());
        };
        let old = namespace
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let mut conditions = remaining.conditions(Timestamp::now());
        let mut changed = false;
        for condition in &mut conditions {
            match old.iter().find(|old| old.type_ == condition.type_) {
                Some(old) if old.status == condition.status => {
                    changed |= old.message != condition.message;
                    condition
                        .last_transition_time
                        .clone_from(&old.last_transition_time);
                }
                _ => changed = true,
            }
        }
        if changed {
            let patch = json!({"status": {"conditions": conditions}});
            match api
                .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await
            {
                Err(error) if api_error::is_not_found(&error) => {}
                result => drop(result?),
            }
        }
        Ok(())
    }

    /// Takes our finalizer off; the server removes the namespace when it was the last.
    async fn finalize(&self, name: &str) -> Result<(), Incomplete> {
        let api: Api<core::Namespace> = Api::all(self.client.clone());
        let Some(mut namespace) = api.get_opt(name).await? else {
            return Ok(());
        };
        let spec = namespace.spec.get_or_insert_default();
        spec.finalizers
            .get_or_insert_default()
            .retain(|finalizer| finalizer != FINALIZER);
        let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&namespace)?)?;
        match self.client.request::<core::Namespace>(request).await {
            Err(error) if !api_error::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// `<plural>.<group>`.
fn name_of(served: &Served) -> String {
    format!("{}.{}", served.resource.plural, served.resource.group)
}
