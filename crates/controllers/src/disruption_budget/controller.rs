//! What makes a budget worth a look, and the worker that looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use orlop_client::events::{EventType, Recorder};
use orlop_client::informer::{Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::plan::{self, Sums};
use super::scale::{self, Expected};
use crate::api_error::{self, SyncError};
use crate::cache::{BY_NAMESPACE, Budget, Cache, PODS_BY_NAMESPACE, Pod, PodView};
use crate::owned::status::{complete, write};
use crate::workers::Workers;

/// The fields of the status, all of which are written.
const FIELDS: [&str; 7] = [
    "conditions",
    "currentHealthy",
    "desiredHealthy",
    "disruptedPods",
    "disruptionsAllowed",
    "expectedPods",
    "observedGeneration",
];

/// The controller.
pub struct DisruptionBudgets {
    client: kube::Client,
    cache: Arc<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
    recorder: Recorder,
}

impl DisruptionBudgets {
    /// Registers the handlers at `cache`, which must not have been started yet.
    pub fn new(client: kube::Client, cache: &Arc<Cache>) -> Arc<Self> {
        let queue = cache.queue("disruption");
        let on = queue.clone();
        cache
            .budgets
            .on_change(move |change| on.add(change.latest().key.clone()));
        let triggers = Arc::new(Triggers {
            // The cache owns its handlers; they must not own the cache.
            cache: Arc::downgrade(cache),
            queue: queue.clone(),
        });
        let on = triggers.clone();
        cache.pods.on_change(move |change| on.pod(change));
        let on = triggers.clone();
        cache.deployments.on_change(move |change| {
            on.scaled(change, |deployment| {
                let labels = deployment.spec.template.metadata.as_ref()?.labels.clone();
                Some((deployment.replicas(), labels))
            });
        });
        let on = triggers.clone();
        cache.replica_sets.on_change(move |change| {
            on.scaled(change, |set| {
                let labels = set.template.as_ref()?.metadata.as_ref()?.labels.clone();
                Some((set.replicas, labels))
            });
        });
        cache.stateful_sets.on_change(move |change| {
            triggers.scaled(change, |set| {
                let labels = set.spec.template.metadata.as_ref()?.labels.clone();
                Some((set.spec.replicas.unwrap_or(1), labels))
            });
        });
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), "controllermanager", None),
            client,
            cache: cache.clone(),
            queue,
        })
    }

    /// Starts the worker. The cache must be synced.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        Workers {
            name: "disruption",
            count: 1,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.sync(&key).await },
            SyncError::is_conflict,
        );
    }

    async fn sync(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let Some(budget) = self
            .cache
            .budgets
            .store()
            .get(key)
            .filter(|budget| !budget.terminating)
        else {
            return Ok(());
        };
        let mut pods = self
            .cache
            .pods
            .store()
            .by_index(PODS_BY_NAMESPACE, &key.namespace);
        pods.retain(|pod| budget.selector.matches(&pod.labels));
        if pods.is_empty() && budget.status.observed_generation.unwrap_or(0) < budget.generation {
            let message = "No matching pods found".to_owned();
            self.recorder
                .event(&budget.reference, EventType::Normal, "NoPods", message);
        }
        let scale = if plan::needs_scale(&budget) {
            scale::expected(&self.client, &self.cache, &pods).await
        } else {
            Ok(Expected::default())
        };
        let now = Timestamp::now();
        let scale = match scale {
            Ok(Expected { pods: scale, unowned }) => {
                if unowned > 0 {
                    let message = format!(
                        "{unowned} of the pods have no controller, so nobody says how many there should be: only a number \
                         as minAvailable protects them"
                    );
                    self.recorder
                        .event(&budget.reference, EventType::Warning, "UnmanagedPods", message);
                }
                scale
            }
            Err(error) => {
                let why = format!("Failed to calculate the number of expected pods: {error}");
                self.recorder.event(
                    &budget.reference,
                    EventType::Warning,
                    "CalculateExpectedPodCountFailed",
                    why,
                );
                return self
                    .write(&budget, plan::failed(&budget, &error.to_string(), now))
                    .await;
            }
        };
        let Sums {
            status,
            not_deleted,
            look_again,
        } = plan::sums(&budget, &pods, scale, now);
        for name in not_deleted {
            tracing::warn!(budget = %key, pod = name, "an evicted pod was not deleted");
            let message = format!("Pod {name} was expected by PDB {key} to be deleted but it wasn't");
            self.recorder
                .event(&budget.reference, EventType::Warning, "NotDeleted", message);
        }
        if let Some(wait) = look_again {
            self.queue.add_after(key.clone(), wait);
        }
        self.write(&budget, status).await
    }

    async fn write(&self, budget: &Budget, status: PodDisruptionBudgetStatus) -> Result<(), SyncError> {
        if status == budget.status {
            return Ok(());
        }
        let mut value = complete(&status, &FIELDS)?;
        // A patch merges maps: pods that are no longer remembered have to be named.
        for name in budget
            .status
            .disrupted_pods
            .iter()
            .flatten()
            .map(|(name, _)| name)
        {
            if value["disruptedPods"].is_object() && value["disruptedPods"][name].is_null() {
                value["disruptedPods"][name] = serde_json::Value::Null;
            }
        }
        match write::<PodDisruptionBudget, _>(&self.client, budget, value).await {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}

struct Triggers {
    cache: Weak<Cache>,
    queue: Arc<WorkQueue<ObjectKey>>,
}

impl Triggers {
    fn pod(&self, change: &Change<PodView>) {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && counts_the_same(old, new)
        {
            return;
        }
        for pod in [&change.old, &change.new].into_iter().flatten() {
            self.protecting(&pod.key.namespace, &pod.labels);
        }
    }

    fn protecting(&self, namespace: &str, labels: &BTreeMap<String, String>) {
        let Some(cache) = self.cache.upgrade() else { return };
        for budget in cache.budgets.store().by_index(BY_NAMESPACE, namespace) {
            if budget.selector.matches(labels) {
                self.queue.add(budget.key.clone());
            }
        }
    }

    /// An owner of pods that wants another number of them.
    fn scaled<P>(
        &self,
        change: &Change<P>,
        scale: impl Fn(&P) -> Option<(i32, Option<BTreeMap<String, String>>)>,
    ) {
        let (Some(old), Some(new)) = (&change.old, &change.new) else {
            return;
        };
        let of = |object: &P| scale(object).map(|(replicas, _)| replicas);
        if of(&old.object) == of(&new.object) {
            return;
        }
        for (_, labels) in [&old.object, &new.object].into_iter().filter_map(scale) {
            self.protecting(&new.key.namespace, &labels.unwrap_or_default());
        }
    }
}

fn counts_the_same(old: &Pod, new: &Pod) -> bool {
    old.is_ready() == new.is_ready()
        && old.terminating == new.terminating
        && old.labels == new.labels
        && old.controller == new.controller
}
