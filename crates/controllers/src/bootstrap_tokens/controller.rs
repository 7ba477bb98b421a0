//! Listens to tokens and to `cluster-info`; deletes and signs.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use orlop_client::informer::ObjectKey;
use orlop_client::workqueue::WorkQueue;
use serde_json::json;
use tokio::task::JoinSet;

use super::plan;
use crate::api_error;
use crate::cache::{CLUSTER_INFO, Cache};
use crate::owned::status::at_version;
use crate::workers::Workers;

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Task {
    /// See whether the token has ended.
    Token(ObjectKey),
    /// Bring the signatures up to date.
    Sign,
}

/// The controller.
pub struct BootstrapTokens {
    client: kube::Client,
    cache: Arc<Cache>,
    queue: Arc<WorkQueue<Task>>,
}

impl BootstrapTokens {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("token_cleaner");
        let on = queue.clone();
        cache.bootstrap_tokens.on_change(move |change| {
            on.add(Task::Token(change.latest().key.clone()));
            on.add(Task::Sign);
        });
        let on = queue.clone();
        cache.cluster_info.on_change(move |_| on.add(Task::Sign));
        Arc::new(Self {
            client,
            cache: cache.clone(),
            queue,
        })
    }

    /// Starts the worker. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "bootstrap-tokens",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, task| async move {
                match task {
                    Task::Token(key) => this.delete_if_ended(&key).await,
                    Task::Sign => this.sign().await,
                }
            },
            api_error::is_conflict,
        );
    }

    async fn delete_if_ended(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(token) = self.cache.bootstrap_tokens.store().get(key) else {
            return Ok(());
        };
        let Some(end) = token.expires else { return Ok(()) };
        let now = Timestamp::now();
        if !plan::has_ended(&token, now) {
            let left = Duration::try_from(end.duration_since(now)).unwrap_or_default();
            self.queue.add_after(Task::Token(key.clone()), left);
            return Ok(());
        }
        let api: Api<core::Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(token.uid.to_string()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&key.name, &params).await {
            Err(error) if !api_error::is_not_found(&error) => Err(error),
            _ => {
                tracing::info!(token = token.id, "deleted a bootstrap token that has ended");
                Ok(())
            }
        }
    }

    async fn sign(&self) -> Result<(), kube::Error> {
        for info in self.cache.cluster_info.store().all() {
            let tokens = self.cache.bootstrap_tokens.store().all();
            let tokens = tokens.iter().map(|token| &token.object);
            let changes = plan::changes(&info.data, tokens, Timestamp::now());
            if changes.is_empty() {
                continue;
            }
            let api: Api<core::ConfigMap> = Api::namespaced(self.client.clone(), &info.key.namespace);
            let patch = Patch::Merge(at_version(&info, json!({"data": changes})));
            match api.patch(CLUSTER_INFO, &PatchParams::default(), &patch).await {
                Err(error) if !api_error::is_not_found(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
