//! What makes an autoscaler worth a look, and the worker that looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::autoscaling::v2 as autoscaling;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orlop_api::selector::LabelSelector;
use orlop_client::events::Recorder;
use orlop_client::informer::{Change, Informer, ObjectKey, Projection};
use orlop_client::workqueue::WorkQueue;
use tokio::task::JoinSet;

use super::history::History;
use super::pods::Patience;
use crate::api_error;
use crate::cache::{Cache, metadata};
use crate::run::watch_all;
use crate::workers::Workers;

/// Autoscalers looked at at the same time.
const WORKERS: usize = 2;

/// How often is looked, and how much is made of what is seen.
#[derive(Debug, Clone, Copy)]
pub struct AutoscalerConfig {
    /// Pause between two looks at one autoscaler: nobody tells when pods use more.
    pub period: Duration,
    /// For how long a higher recommendation counts, where an autoscaler's rules don't say.
    pub downscale_stabilization: Duration,
    /// By how much use may miss its aim, where the rules don't say.
    pub tolerance: f64,
    /// For how long after its start a pod's use of cpu may be that of its beginning.
    pub cpu_initialization: Duration,
    /// For how long after its start a pod that was never ready still begins.
    pub initial_readiness: Duration,
}

impl Default for AutoscalerConfig {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(15),
            downscale_stabilization: Duration::from_secs(300),
            tolerance: 0.1,
            cpu_initialization: Duration::from_secs(300),
            initial_readiness: Duration::from_secs(30),
        }
    }
}

impl AutoscalerConfig {
    pub(super) fn patience(&self) -> Patience {
        let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Patience {
            initialisation: signed(self.cpu_initialization),
            first_readiness: signed(self.initial_readiness),
        }
    }
}

/// What is remembered of an autoscaler.
#[derive(Debug, Clone)]
pub struct AutoscalerView {
    /// The metadata without managedFields.
    pub metadata: ObjectMeta,
    /// The spec.
    pub spec: HorizontalPodAutoscalerSpec,
    /// The status.
    pub status: HorizontalPodAutoscalerStatus,
}

impl Projection for AutoscalerView {
    type Object = autoscaling::HorizontalPodAutoscaler;

    fn project(scaler: autoscaling::HorizontalPodAutoscaler) -> Self {
        Self {
            metadata: metadata::kept(scaler.metadata),
            spec: scaler.spec,
            status: scaler.status.unwrap_or_default(),
        }
    }
}

/// What is known of an autoscaler beside its object.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    pub(super) history: History,
    /// Which pods its target has.
    pub(super) selector: Option<LabelSelector>,
}

/// The controller.
pub struct Autoscalers {
    pub(super) client: kube::Client,
    pub(super) scalers: Arc<Informer<AutoscalerView>>,
    pub(super) recorder: Recorder,
    pub(super) config: AutoscalerConfig,
    queue: Arc<WorkQueue<ObjectKey>>,
    memories: Mutex<HashMap<ObjectKey, Memory>>,
}

impl Autoscalers {
    /// Registers the handler.
    pub fn new(client: kube::Client, cache: &Arc<Cache>, config: AutoscalerConfig) -> Arc<Self> {
        let this = Arc::new(Self {
            recorder: Recorder::new(client.clone(), "horizontal-pod-autoscaler", None),
            client,
            scalers: Arc::new(Informer::new()),
            config,
            queue: cache.queue("horizontalpodautoscaler"),
            memories: Mutex::default(),
        });
        let on = this.queue.clone();
        this.scalers.on_change(move |change: &Change<AutoscalerView>| {
            // Its own status is no news.
            let same = match (&change.old, &change.new) {
                (Some(old), Some(new)) => old.spec == new.spec && old.uid == new.uid,
                _ => false,
            };
            if !same {
                on.add(change.latest().key.clone());
            }
        });
        this
    }

    /// Starts the watch and the workers.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        watch_all(&self.scalers, &self.client, tasks);
        Workers {
            name: "horizontal-pod-autoscaler",
            count: WORKERS,
            of: self,
            queue: &self.queue,
        }
        .start(
            tasks,
            |this, key| async move { this.look(&key).await },
            api_error::is_conflict,
        );
    }

    async fn look(&self, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(scaler) = self.scalers.store().get(key) else {
            self.memories().remove(key);
            return Ok(());
        };
        self.sync(&scaler).await?;
        self.queue.add_after(key.clone(), self.config.period);
        Ok(())
    }

    fn memories(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn memory(&self, key: &ObjectKey) -> Memory {
        self.memories().get(key).cloned().unwrap_or_default()
    }

    pub(super) fn remember(&self, key: &ObjectKey, memory: Memory) {
        self.memories().insert(key.clone(), memory);
    }

    /// The other autoscalers of that namespace whose targets have a pod with such labels.
    pub(super) fn rivals(&self, key: &ObjectKey, is_theirs: impl Fn(&LabelSelector) -> bool) -> Vec<String> {
        let mut rivals: Vec<String> = self
            .memories()
            .iter()
            .filter(|(other, _)| *other != key && other.namespace == key.namespace)
            .filter(|(_, memory)| memory.selector.as_ref().is_some_and(&is_theirs))
            .map(|(other, _)| other.name.to_string())
            .collect();
        rivals.sort_unstable();
        rivals
    }
}
