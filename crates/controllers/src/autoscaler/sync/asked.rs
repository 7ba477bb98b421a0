//! What the metrics of an autoscaler ask for.

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, MetricSpec, MetricStatus};
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use orlop_api::quantity::amount;
use orlop_api::selector::LabelSelector;
use orlop_client::events::EventType;
use orlop_client::informer::Lean;

use super::super::addons::{Foreign, Judgement, Scaled};
use super::super::conditions::{SCALING_ACTIVE, Said};
use super::super::controller::{Autoscalers, Memory};
use super::super::pods::PodMetrics;
use super::super::proposal::{Known, Tolerance, propose};
use super::super::resource::Meant;
use super::super::source::{Answer, Unreadable};
use super::{Look, Scaler};

/// What metrics are held against.
#[derive(Clone, Copy)]
struct Seen<'a> {
    scaled: Scaled<'a>,
    /// What the pods use, or why that can't be said.
    metrics: &'a Result<Vec<PodMetrics>, String>,
}

/// What metrics ask for together.
pub(super) struct Asked {
    pub replicas: i32,
    /// The metric that asks for the most.
    pub metric: String,
}

impl Autoscalers {
    /// Asks all metrics. Those that can't be read are passed over if others ask for more pods.
    pub(super) async fn asked(
        &self,
        look: &mut Look<'_>,
        memory: &mut Memory,
        scale: &Scale,
        current: i32,
    ) -> Option<Asked> {
        let status = scale.status.as_ref();
        let text = status
            .and_then(|status| status.selector.as_deref())
            .unwrap_or_default();
        let selector = self.selector(look, text)?;
        memory.selector = Some(selector);
        let specs = look.scaler.spec.metrics.as_deref().unwrap_or_default();
        let (pods, metrics) = match self.pods(look.scaler, text).await {
            // What isn't asked for needs not be measured.
            Ok(pods) if !specs.iter().any(|spec| Meant::of(spec).is_some()) => (pods, Ok(Vec::new())),
            Ok(pods) => (pods, self.metrics(look.scaler, text).await),
            Err(error) => (Vec::new(), Err(error)),
        };
        let metrics = metrics.map_err(|error| orlop_client::message(&error));
        let rivals = self.rivals(&look.scaler.key, |theirs| {
            pods.iter().any(|pod| theirs.matches_meta(&pod.metadata))
        });
        if !rivals.is_empty() {
            let all = [vec![look.scaler.key.name.to_string()], rivals].concat();
            let message = format!(
                "pods by selector {text} are controlled by multiple HPAs: {}",
                all.join(", ")
            );
            self.tell(
                look.scaler,
                EventType::Warning,
                "AmbiguousSelector",
                message.clone(),
            );
            look.say(Said::new(SCALING_ACTIVE, false, "AmbiguousSelector", message));
            return None;
        }
        let mut asked = Asked {
            replicas: 0,
            metric: String::new(),
        };
        let there = status.map_or(0, |status| status.replicas);
        let seen = Seen {
            scaled: Scaled {
                namespace: &look.scaler.key.namespace,
                selector: text,
                pods: &pods,
                wanted: current,
                there,
            },
            metrics: &metrics,
        };
        let mut unreadable = Vec::new();
        // Who shows them goes by their places: one that can't be read leaves its place empty.
        let mut statuses = Vec::with_capacity(specs.len());
        for spec in specs {
            match self.ask(look, spec, seen).await {
                Err(error) => {
                    statuses.push(MetricStatus::default());
                    self.tell(look.scaler, EventType::Warning, error.reason, error.why.clone());
                    unreadable.push(error);
                }
                Ok(answer) => {
                    statuses.push(answer.status);
                    if asked.metric.is_empty() || answer.replicas > asked.replicas {
                        asked.replicas = answer.replicas;
                        asked.metric = answer.name;
                    }
                }
            }
        }
        look.status.current_metrics = Some(statuses);
        let (bad, all) = (unreadable.len(), specs.len());
        if let Some(first) = unreadable.first()
            && (bad == all || asked.replicas < current)
        {
            let message = format!("the HPA was unable to compute the replica count: {}", first.why);
            look.say(Said::new(SCALING_ACTIVE, false, first.reason, message));
            let message = format!(
                "invalid metrics ({bad} invalid out of {all}), first error is: {}",
                first.wrapped
            );
            self.tell(
                look.scaler,
                EventType::Warning,
                "FailedComputeMetricsReplicas",
                message,
            );
            return None;
        }
        let message = format!(
            "the HPA was able to successfully calculate a replica count from {}",
            asked.metric
        );
        look.say(Said::new(SCALING_ACTIVE, true, "ValidMetricFound", message));
        Some(asked)
    }

    /// Which pods the target says are its own, as `text`; `None` if it doesn't.
    fn selector(&self, look: &mut Look<'_>, text: &str) -> Option<LabelSelector> {
        let (reason, told, message) = if text.is_empty() {
            let message = "the HPA target's scale is missing a selector".to_owned();
            ("SelectorRequired", "selector is required".to_owned(), message)
        } else {
            match LabelSelector::parse(text) {
                Ok(selector) => return Some(selector),
                Err(error) => {
                    let message = format!(
                        "couldn't convert selector into a corresponding internal selector object: {error}"
                    );
                    ("InvalidSelector", message.clone(), message)
                }
            }
        };
        self.tell(look.scaler, EventType::Warning, reason, told);
        look.say(Said::new(SCALING_ACTIVE, false, "InvalidSelector", message));
        None
    }

    /// Asks one metric.
    async fn ask(&self, look: &Look<'_>, spec: &MetricSpec, seen: Seen<'_>) -> Result<Answer, Unreadable> {
        let behavior = look.scaler.spec.behavior.as_ref();
        let tolerance = |rules: Option<&HPAScalingRules>| {
            let said = rules.and_then(|rules| rules.tolerance.as_ref());
            said.map_or(self.config.tolerance, |said| amount(said).approximate())
        };
        let judgement = Judgement {
            tolerance: Tolerance {
                up: tolerance(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
                down: tolerance(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
            },
            patience: self.config.patience(),
            now: look.now,
        };
        if let Some(foreign) = Foreign::of(spec) {
            return foreign.ask(&self.client, seen.scaled, judgement).await;
        }
        match Meant::of(spec) {
            Some(meant) => ask_resource(&meant, seen, judgement),
            None => {
                let why = format!("unknown metric source type {:?}", spec.type_);
                Err(Unreadable {
                    reason: "InvalidMetricSourceType",
                    wrapped: why.clone(),
                    why,
                })
            }
        }
    }

    /// The pods that a selector means.
    async fn pods(&self, scaler: &Scaler, selector: &str) -> Result<Vec<core::Pod>, kube::Error> {
        let api: Api<Lean<core::Pod>> = Api::namespaced(self.client.clone(), &scaler.key.namespace);
        let list = api.list(&ListParams::default().labels(selector)).await?;
        Ok(list.items.into_iter().map(|Lean(pod)| pod).collect())
    }

    /// What they use.
    async fn metrics(&self, scaler: &Scaler, selector: &str) -> Result<Vec<PodMetrics>, kube::Error> {
        let kind = ApiResource {
            group: "metrics.k8s.io".to_owned(),
            version: "v1beta1".to_owned(),
            api_version: "metrics.k8s.io/v1beta1".to_owned(),
            kind: "PodMetrics".to_owned(),
            plural: "pods".to_owned(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &scaler.key.namespace, &kind);
        let list = api.list(&ListParams::default().labels(selector)).await?;
        let read = |object: DynamicObject| serde_json::from_value(serde_json::to_value(object).ok()?).ok();
        Ok(list.items.into_iter().filter_map(read).collect())
    }
}

/// Holds what pods use of a resource against its aim.
fn ask_resource(meant: &Meant<'_>, seen: Seen<'_>, judgement: Judgement) -> Result<Answer, Unreadable> {
    let Some(aim) = meant.aim() else {
        let why = "invalid resource metric source: neither an average utilization target nor an average value \
                   (usage) target was set";
        return Err(meant.unreadable(None, why));
    };
    let metrics = seen.metrics.as_ref().map_err(|why| {
        let resource = meant.part.resource;
        let why = format!(
            "unable to get metrics for resource {resource}: unable to fetch metrics from resource metrics API: {why}"
        );
        meant.unreadable(Some(aim), &why)
    })?;
    let known = Known {
        pods: seen.scaled.pods,
        metrics,
        replicas: seen.scaled.wanted,
    };
    let Judgement {
        tolerance,
        patience,
        now,
    } = judgement;
    let proposal = propose(known, meant.part, aim, tolerance, patience, now)
        .map_err(|why| meant.unreadable(Some(aim), &why))?;
    Ok(Answer {
        replicas: proposal.replicas,
        name: meant.name(aim),
        status: meant.status(&proposal),
    })
}
