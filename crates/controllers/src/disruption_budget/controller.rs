//! What makes a budget worth a look, and the worker that looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use orlop_client::events::{EventType, Recorder, pod_reference};
use orlop_client::informer::{Cached, Change, ObjectKey};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::plan::{self, Sums};
use super::scale::{self, Expected, ScaleError};
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

/// When a budget is looked at again over pods that the server has no more and the cache still has. The change that tells of
/// it comes sooner, unless the server that was asked is behind the one that is watched.
const CATCH_UP: Duration = Duration::from_secs(1);

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
            on.scaled(change, |deployment| Wants {
                replicas: deployment.replicas(),
                owner: None,
                labels: labels_of(Some(&deployment.spec.template)),
            });
        });
        let on = triggers.clone();
        cache.replica_sets.on_change(move |change| {
            on.scaled(change, |set| Wants {
                replicas: set.replicas,
                owner: set.controller.as_ref().map(|owner| owner.uid.clone()),
                labels: labels_of(set.template.as_deref()),
            });
        });
        let on = triggers.clone();
        cache.replication_controllers.on_change(move |change| {
            on.scaled(change, |set| Wants {
                replicas: set.replicas,
                owner: None,
                labels: labels_of(set.template.as_deref()),
            });
        });
        cache.stateful_sets.on_change(move |change| {
            triggers.scaled(change, |set| Wants {
                replicas: set.spec.replicas.unwrap_or(1),
                owner: None,
                labels: labels_of(Some(&set.spec.template)),
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
            Ok(Some(Expected::default()))
        };
        let now = Timestamp::now();
        let scale = match scale {
            // What can't be told now is nothing to tell: it would forbid evictions that were allowed.
            Ok(None) => {
                self.queue.add_after(key.clone(), CATCH_UP);
                return Ok(());
            }
            Ok(Some(Expected { pods: scale, unowned })) => {
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
                self.write(&budget, plan::failed(&budget, &error.to_string(), now))
                    .await?;
                return match error {
                    // Nothing tells when the server answers again.
                    ScaleError::Api(error) => Err(error.into()),
                    // Whoever it waits for tells of itself when it comes.
                    ScaleError::NoScale { .. } | ScaleError::NoOwner { .. } => Ok(()),
                };
            }
        };
        let Sums {
            status,
            not_deleted,
            look_again,
        } = plan::sums(&budget, &pods, scale, now);
        for pod in not_deleted {
            tracing::warn!(budget = %key, pod = %pod.key, "an evicted pod was not deleted");
            let message = format!("Pod was expected by PDB {key} to be deleted but it wasn't");
            let pod = pod_reference(&pod.key, &pod.uid);
            self.recorder
                .event(&pod, EventType::Warning, "NotDeleted", message);
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

    /// An owner of pods came or went, or wants another number of them.
    fn scaled<P>(&self, change: &Change<P>, wants: impl Fn(&P) -> Wants) {
        let of = |side: &Option<Arc<Cached<P>>>| side.as_ref().map(|owner| wants(&owner.object));
        let (old, new) = (of(&change.old), of(&change.new));
        let counts =
            |wants: &Option<Wants>| wants.as_ref().map(|wants| (wants.replicas, wants.owner.clone()));
        if counts(&old) == counts(&new) {
            return;
        }
        for Wants { labels, .. } in [old, new].into_iter().flatten() {
            self.protecting(&change.latest().key.namespace, &labels.unwrap_or_default());
        }
    }
}

/// What an owner of pods wants.
struct Wants {
    replicas: i32,
    /// Who owns it: whose number counts instead.
    owner: Option<Arc<str>>,
    /// Its pods'.
    labels: Option<BTreeMap<String, String>>,
}

fn labels_of(template: Option<&PodTemplateSpec>) -> Option<BTreeMap<String, String>> {
    template?.metadata.as_ref()?.labels.clone()
}

fn counts_the_same(old: &Pod, new: &Pod) -> bool {
    old.is_ready() == new.is_ready()
        && old.terminating == new.terminating
        && old.labels == new.labels
        && old.controller == new.controller
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::server;
    use http::Method;
    use serde_json::{Value, json};

    const EVENTS: &str = "/api/v1/namespaces/ns/events";

    fn given(cache: &Cache, budget: Value, pod: Value) {
        let mut object = json!({"metadata": {"name": "b", "namespace": "ns", "uid": "b", "resourceVersion": "5", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "x"}}}});
        orlop_api::patch::merge(&mut object, &budget);
        cache
            .budgets
            .store()
            .apply(serde_json::from_value(object).unwrap());
        let mut object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "p", "resourceVersion": "4",
            "labels": {"app": "x"}}});
        orlop_api::patch::merge(&mut object, &pod);
        cache.pods.store().apply(serde_json::from_value(object).unwrap());
    }

    /// A budget whose sums need an answer of the server.
    fn given_another_kind_of_owner(cache: &Cache) {
        let owner = json!([{"apiVersion": "example.com/v1", "kind": "Set", "name": "s", "uid": "s", "controller": true}]);
        given(
            cache,
            json!({"spec": {"maxUnavailable": 1}}),
            json!({"metadata": {"ownerReferences": owner}}),
        );
    }

    #[tokio::test]
    async fn a_budget_whose_sums_could_not_be_done_for_want_of_an_answer_is_tried_again() {
        let (client, asked) = server(|method, path, body| match (method, path) {
            (_, EVENTS) | (&Method::PATCH, _) => (200, body),
            _ => (
                500,
                json!({"kind": "Status", "status": "Failure", "code": 500, "message": "later"}),
            ),
        });
        let cache = Arc::new(Cache::default());
        let budgets = DisruptionBudgets::new(client, &cache);
        given_another_kind_of_owner(&cache);
        let key = ObjectKey::new("ns", "b");
        assert!(budgets.sync(&key).await.is_err());
        let asked = asked.lock().unwrap();
        let (_, _, written) = asked
            .iter()
            .rfind(|(method, ..)| method == Method::PATCH)
            .unwrap();
        assert_eq!(written["status"]["disruptionsAllowed"], 0);
        assert_eq!(written["status"]["conditions"][0]["reason"], "SyncFailed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_is_gone_already_takes_nothing_back_that_the_budget_allows() {
        let (client, asked) = server(|_, _, _| {
            let gone = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "gone"});
            (404, gone)
        });
        let cache = Arc::new(Cache::default());
        let budgets = DisruptionBudgets::new(client, &cache);
        given_another_kind_of_owner(&cache);
        let key = ObjectKey::new("ns", "b");
        budgets.sync(&key).await.unwrap();
        let paths: Vec<String> = asked
            .lock()
            .unwrap()
            .iter()
            .map(|(_, path, _)| path.clone())
            .collect();
        assert_eq!(paths, ["/api/v1/namespaces/ns/pods/p"], "nothing is written");
        assert!(budgets.queue.is_empty(), "not at once");
        let again = tokio::time::timeout(2 * CATCH_UP, budgets.queue.next()).await;
        assert_eq!(again.expect("it is looked at again"), Some(key));
    }

    #[tokio::test]
    async fn owners_that_come_go_or_are_owned_by_others_change_the_sums() {
        let (client, _) = server(|method, path, _| panic!("{method} {path}"));
        let cache = Arc::new(Cache::default());
        let budgets = DisruptionBudgets::new(client, &cache);
        given(&cache, json!({}), json!({}));
        let triggers = Triggers {
            cache: Arc::downgrade(&cache),
            queue: budgets.queue.clone(),
        };
        let set = |replicas: i32, owner: Option<&str>| {
            let wants = (replicas, owner.map(Arc::<str>::from));
            Some(Arc::new(Cached {
                key: ObjectKey::new("ns", "s"),
                uid: "s".into(),
                resource_version: 1,
                object: wants,
            }))
        };
        for (what, old, new, counts) in [
            ("it comes", None, set(1, None), true),
            ("it goes", set(1, None), None, true),
            ("scaled", set(1, None), set(2, None), true),
            ("adopted", set(1, None), set(1, Some("d")), true),
            ("the same", set(1, Some("d")), set(1, Some("d")), false),
        ] {
            let change = Change {
                old,
                new,
                listed: false,
            };
            triggers.scaled(&change, |(replicas, owner)| Wants {
                replicas: *replicas,
                owner: owner.clone(),
                labels: Some([("app".to_owned(), "x".to_owned())].into()),
            });
            assert_eq!(!budgets.queue.is_empty(), counts, "{what}");
            if counts {
                let key = budgets.queue.next().await.unwrap();
                budgets.queue.done(&key);
            }
        }
    }
}
