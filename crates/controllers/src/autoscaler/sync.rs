//! One look at one autoscaler: read its target's scale and what its pods use, ask the pure parts, write.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2 as autoscaling;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::PostParams;
use kube::core::DynamicObject;
use orlop_client::events::EventType;
use orlop_client::informer::Cached;

use super::conditions::{self, ABLE_TO_SCALE, SCALING_ACTIVE, Said};
use super::controller::{AutoscalerView, Autoscalers, Memory};
use super::pace::{self, MEMORY_SECONDS, Wish};
use super::target;
use crate::api_error;
use crate::cache::metadata;

mod asked;

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
                    orlop_client::message(&error)
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
            let message = orlop_client::message(&error);
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
        // What isn't asked now is not shown as if it were so still.
        look.status.current_metrics = None;
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

#[cfg(test)]
mod tests;
