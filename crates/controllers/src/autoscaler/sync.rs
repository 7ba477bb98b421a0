//! One look at one autoscaler: read its target's scale and what its pods use, ask the pure parts, write.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2 as autoscaling;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HPAScalingRules, HorizontalPodAutoscalerStatus, MetricSpec, MetricStatus,
    MetricTarget, MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use orlop_api::quantity::{Amount, amount};
use orlop_api::selector::LabelSelector;
use orlop_client::events::EventType;
use orlop_client::informer::{Cached, Lean};

use super::conditions::{self, ABLE_TO_SCALE, SCALING_ACTIVE, Said};
use super::controller::{AutoscalerView, Autoscalers, Memory};
use super::pace::{self, MEMORY_SECONDS, Wish};
use super::pods::{Part, PodMetrics};
use super::proposal::{Aim, Known, Proposal, Tolerance, propose};
use super::target;
use crate::api_error;
use crate::cache::metadata;

type Scaler = Arc<Cached<AutoscalerView>>;

/// What a look has come to so far.
struct Look<'a> {
    scaler: &'a Scaler,
    status: HorizontalPodAutoscalerStatus,
    now: Timestamp,
}

impl Look<'_> {
    fn say(&mut self, said: Said) {
        let conditions = self.status.conditions.get_or_insert_default();
        conditions::set(conditions, said, self.now);
    }
}

/// What metrics ask for together.
struct Asked {
    replicas: i32,
    /// The metric that asks for the most.
    metric: String,
    /// What those said that could be read.
    statuses: Vec<MetricStatus>,
}

/// One metric that can't be read.
struct Unreadable {
    reason: &'static str,
    why: String,
    /// The same with what was tried.
    wrapped: String,
}

/// A metric of pods' resources.
struct Meant<'a> {
    part: Part<'a>,
    target: &'a MetricTarget,
}

impl<'a> Meant<'a> {
    /// `None` for metrics that come from elsewhere.
    fn of(metric: &'a MetricSpec) -> Option<Self> {
        if let Some(source) = metric.resource.as_ref().filter(|_| metric.type_ == "Resource") {
            return Some(Self {
                part: Part {
                    resource: &source.name,
                    container: None,
                },
                target: &source.target,
            });
        }
        let source = metric.container_resource.as_ref()?;
        (metric.type_ == "ContainerResource").then_some(Self {
            part: Part {
                resource: &source.name,
                container: Some(&source.container),
            },
            target: &source.target,
        })
    }

    fn aim(&self) -> Option<Aim> {
        match (&self.target.average_value, self.target.average_utilization) {
            (Some(value), _) => Some(Aim::Value(amount(value).milli_value())),
            (None, percent) => percent.map(Aim::Utilization),
        }
    }

    fn name(&self, aim: Aim) -> String {
        let kind = match self.part.container {
            None => "resource",
            Some(_) => "container resource",
        };
        match aim {
            Aim::Value(_) => format!("{} {kind}", self.part.resource),
            Aim::Utilization(_) => {
                format!(
                    "{} {kind} utilization (percentage of request)",
                    self.part.resource
                )
            }
        }
    }

    fn status(&self, proposal: &Proposal) -> MetricStatus {
        let current = MetricValueStatus {
            average_utilization: proposal.utilization,
            average_value: Some(Amount::from_milli(proposal.average).to_quantity()),
            value: None,
        };
        let name = self.part.resource.to_owned();
        match self.part.container {
            None => MetricStatus {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricStatus { current, name }),
                ..MetricStatus::default()
            },
            Some(container) => MetricStatus {
                type_: "ContainerResource".to_owned(),
                container_resource: Some(ContainerResourceMetricStatus {
                    container: container.to_owned(),
                    current,
                    name,
                }),
                ..MetricStatus::default()
            },
        }
    }

    fn unreadable(&self, aim: Option<Aim>, why: &str) -> Unreadable {
        let (reason, kind) = match self.part.container {
            None => ("FailedGetResourceMetric", "resource"),
            Some(_) => ("FailedGetContainerResourceMetric", "container"),
        };
        let resource = self.part.resource;
        let why = match aim {
            None => why.to_owned(),
            Some(Aim::Value(_)) => format!("failed to get {resource} usage: {why}"),
            Some(Aim::Utilization(_)) => format!("failed to get {resource} utilization: {why}"),
        };
        Unreadable {
            wrapped: format!("failed to get {resource} {kind} metric value: {why}"),
            reason,
            why,
        }
    }
}

/// A metric that comes from elsewhere.
fn elsewhere(metric: &MetricSpec) -> Unreadable {
    let (reason, kind) = match metric.type_.as_str() {
        "Pods" => ("FailedGetPodsMetric", "pods"),
        "Object" => ("FailedGetObjectMetric", "object"),
        "External" => ("FailedGetExternalMetric", "external"),
        _ => ("InvalidMetricSourceType", "unknown"),
    };
    let named = metric.pods.as_ref().map(|source| &source.metric.name);
    let named = named.or(metric.object.as_ref().map(|source| &source.metric.name));
    let named = named.or(metric.external.as_ref().map(|source| &source.metric.name));
    let name = named.map(String::as_str).unwrap_or_default();
    let why = format!(
        "unable to get metric {name}: metrics of type {} are not read",
        metric.type_
    );
    Unreadable {
        wrapped: format!("failed to get {kind} metric value: {why}"),
        reason,
        why,
    }
}

impl Autoscalers {
    /// Scales the target of an autoscaler as its metrics ask for, and says what was done.
    pub(super) async fn sync(&self, scaler: &Scaler) -> Result<(), kube::Error> {
        let mut look = Look {
            scaler,
            status: scaler.status.clone(),
            now: Timestamp::now(),
        };
        let mut memory = self.memory(&scaler.key);
        let done = self.scale(&mut look, &mut memory).await;
        memory.history.forget(MEMORY_SECONDS, look.now);
        self.remember(&scaler.key, memory);
        self.write_status(look).await?;
        done
    }

    async fn scale(&self, look: &mut Look<'_>, memory: &mut Memory) -> Result<(), kube::Error> {
        let spec = &look.scaler.spec;
        let resource = match target::resource(&self.client, &spec.scale_target_ref).await {
            Ok(resource) => resource,
            Err(why) => return self.unable(look, &why),
        };
        let namespace = &look.scaler.key.namespace;
        let targets: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let name = &spec.scale_target_ref.name;
        let mut scale = match targets.get_scale(name).await {
            Ok(scale) => scale,
            Err(error) => {
                let why = format!(
                    "failed to query scale subresource: {}",
                    api_error::message(&error)
                );
                return self.unable(look, &why);
            }
        };
        look.say(Said::new(
            ABLE_TO_SCALE,
            true,
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        ));
        let current = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        memory.history.begin(current, look.now);
        look.status.current_replicas = Some(current);
        let Some((desired, why)) = self.desired(look, memory, &scale, current).await else {
            return Ok(());
        };
        look.status.desired_replicas = desired;
        if desired == current {
            return Ok(());
        }
        scale.spec.get_or_insert_default().replicas = Some(desired);
        if let Err(error) = targets.replace_scale(name, &PostParams::default(), &scale).await {
            look.status.desired_replicas = look.scaler.status.desired_replicas;
            let message = api_error::message(&error);
            self.tell(
                look.scaler,
                EventType::Warning,
                "FailedRescale",
                format!("New size: {desired}; reason: {why}; error: {message}"),
            );
            let message = format!("the HPA controller was unable to update the target scale: {message}");
            look.say(Said::new(ABLE_TO_SCALE, false, "FailedUpdateScale", message));
            return Ok(());
        }
        let message = format!("the HPA controller was able to update the target scale to {desired}");
        look.say(Said::new(ABLE_TO_SCALE, true, "SucceededRescale", message));
        let message = format!("New size: {desired}; reason: {why}");
        tracing::info!(autoscaler = %look.scaler.key, "{message}");
        self.tell(look.scaler, EventType::Normal, "SuccessfulRescale", message);
        memory.history.scaled(current, desired, look.now);
        look.status.last_scale_time = Some(Time(look.now));
        Ok(())
    }

    /// The target can't be scaled.
    fn unable(&self, look: &mut Look<'_>, why: &str) -> Result<(), kube::Error> {
        self.tell(look.scaler, EventType::Warning, "FailedGetScale", why.to_owned());
        let message = format!("the HPA controller was unable to get the target's current scale: {why}");
        look.say(Said::new(ABLE_TO_SCALE, false, "FailedGetScale", message));
        Ok(())
    }

    /// How many pods there are to be, and why if those are others; `None` if that can't be said.
    async fn desired(
        &self,
        look: &mut Look<'_>,
        memory: &mut Memory,
        scale: &Scale,
        current: i32,
    ) -> Option<(i32, String)> {
        let spec = &look.scaler.spec;
        let wish = Wish {
            current,
            desired: current,
            least: spec.min_replicas.unwrap_or(1),
            most: spec.max_replicas,
        };
        if current == 0 && wish.least != 0 {
            look.say(Said::new(
                SCALING_ACTIVE,
                false,
                "ScalingDisabled",
                "scaling is disabled since the replica count of the target is zero",
            ));
            return Some((0, String::new()));
        }
        if current > wish.most {
            let why = "Current number of replicas above Spec.MaxReplicas";
            return Some((wish.most, why.to_owned()));
        }
        if current < wish.least {
            let why = "Current number of replicas below Spec.MinReplicas";
            return Some((wish.least, why.to_owned()));
        }
        let asked = self.asked(look, memory, scale, current).await?;
        look.status.current_metrics = Some(asked.statuses);
        let wish = Wish {
            desired: asked.replicas.max(0),
            ..wish
        };
        let why = if wish.desired > current {
            format!("{} above target", asked.metric)
        } else {
            "All metrics below target".to_owned()
        };
        let window = i32::try_from(self.config.downscale_stabilization.as_secs()).unwrap_or(i32::MAX);
        let behavior = spec.behavior.as_ref();
        let verdict = pace::judge(wish, behavior, window, &mut memory.history, look.now);
        verdict.said.into_iter().for_each(|said| look.say(said));
        Some((verdict.replicas, why))
    }

    /// Asks all metrics. Those that can't be read are passed over if others ask for more pods.
    async fn asked(
        &self,
        look: &mut Look<'_>,
        memory: &mut Memory,
        scale: &Scale,
        current: i32,
    ) -> Option<Asked> {
        let text = scale
            .status
            .as_ref()
            .and_then(|status| status.selector.as_deref());
        let text = text.unwrap_or_default();
        let selector = match LabelSelector::parse(text) {
            _ if text.is_empty() => {
                let message = "the HPA target's scale is missing a selector";
                self.tell(
                    look.scaler,
                    EventType::Warning,
                    "SelectorRequired",
                    "selector is required".to_owned(),
                );
                look.say(Said::new(SCALING_ACTIVE, false, "InvalidSelector", message));
                return None;
            }
            Ok(selector) => selector,
            Err(error) => {
                let message = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                self.tell(
                    look.scaler,
                    EventType::Warning,
                    "InvalidSelector",
                    message.clone(),
                );
                look.say(Said::new(SCALING_ACTIVE, false, "InvalidSelector", message));
                return None;
            }
        };
        memory.selector = Some(selector);
        let (pods, metrics) = match self.pods(look.scaler, text).await {
            Ok(pods) => (pods, self.metrics(look.scaler, text).await),
            Err(error) => (Vec::new(), Err(error)),
        };
        let metrics = metrics.map_err(|error| api_error::message(&error));
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
            statuses: Vec::new(),
        };
        let specs = look.scaler.spec.metrics.as_deref().unwrap_or_default();
        let mut unreadable = Vec::new();
        for spec in specs {
            match self.ask(look, spec, &pods, &metrics, current) {
                Err(error) => {
                    self.tell(look.scaler, EventType::Warning, error.reason, error.why.clone());
                    unreadable.push(error);
                }
                Ok((proposal, name, status)) => {
                    asked.statuses.push(status);
                    if asked.metric.is_empty() || proposal.replicas > asked.replicas {
                        asked.replicas = proposal.replicas;
                        asked.metric = name;
                    }
                }
            }
        }
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

    /// Asks one metric.
    fn ask(
        &self,
        look: &Look<'_>,
        spec: &MetricSpec,
        pods: &[core::Pod],
        metrics: &Result<Vec<PodMetrics>, String>,
        replicas: i32,
    ) -> Result<(Proposal, String, MetricStatus), Unreadable> {
        let Some(meant) = Meant::of(spec) else {
            return Err(elsewhere(spec));
        };
        let Some(aim) = meant.aim() else {
            let why = "invalid resource metric source: neither an average utilization target nor an average value \
                       (usage) target was set";
            return Err(meant.unreadable(None, why));
        };
        let behavior = look.scaler.spec.behavior.as_ref();
        let tolerance = |rules: Option<&HPAScalingRules>| {
            let said = rules.and_then(|rules| rules.tolerance.as_ref());
            said.map_or(self.config.tolerance, |said| share(amount(said)))
        };
        let tolerance = Tolerance {
            up: tolerance(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
            down: tolerance(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
        };
        let metrics = metrics.as_ref().map_err(|why| {
            let resource = meant.part.resource;
            let why = format!(
                "unable to get metrics for resource {resource}: unable to fetch metrics from resource metrics API: {why}"
            );
            meant.unreadable(Some(aim), &why)
        })?;
        let known = Known {
            pods,
            metrics,
            replicas,
        };
        let patience = self.config.patience();
        let proposal = propose(known, meant.part, aim, tolerance, patience, look.now)
            .map_err(|why| meant.unreadable(Some(aim), &why))?;
        Ok((proposal, meant.name(aim), meant.status(&proposal)))
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

    fn tell(&self, scaler: &Scaler, event_type: EventType, reason: &str, message: String) {
        let reference = metadata::reference::<autoscaling::HorizontalPodAutoscaler>(&scaler.object.metadata);
        self.recorder.event(&reference, event_type, reason, message);
    }

    /// Replaces the status if it says something else now: autoscalers' rights let nobody patch it.
    async fn write_status(&self, look: Look<'_>) -> Result<(), kube::Error> {
        let scaler = look.scaler;
        if look.status == scaler.status {
            return Ok(());
        }
        let api: Api<autoscaling::HorizontalPodAutoscaler> =
            Api::namespaced(self.client.clone(), &scaler.key.namespace);
        let object = autoscaling::HorizontalPodAutoscaler {
            metadata: scaler.metadata.clone(),
            spec: scaler.spec.clone(),
            status: Some(look.status),
        };
        match api
            .replace_status(&scaler.key.name, &PostParams::default(), &object)
            .await
        {
            Err(error) if api_error::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }
}

/// A quantity such as `50m` as a part of one.
#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more precision")]
fn share(amount: Amount) -> f64 {
    amount.nanos() as f64 / 1e9
}
