//! Updates that somebody on the node makes (`OTA`): pods say by a condition that there is something newer. Whoever
//! decides on the node then deletes the pod.

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_api::annotations::POD_NEED_UPGRADE;
use serde_json::json;

use super::DaemonSets;
use super::rolling::Current;
use crate::api_error;
use crate::cache::{DaemonSet, Pod};

/// Pods told at the same time.
const WRITES_MAX: usize = 32;

/// What the condition of `pod` should say, if it doesn't. A pod that never needed anything isn't told so.
fn news(current: &Current<'_>, pod: &Pod) -> Option<bool> {
    if pod.terminating || pod.is_terminal() {
        return None;
    }
    let needs = !current.is_updated(pod);
    (pod.needs_upgrade.unwrap_or(false) != needs).then_some(needs)
}

impl DaemonSets {
    /// Tells each of `pods` whether there is a newer template.
    pub(super) async fn tell_upgrades(
        &self,
        set: &DaemonSet,
        current: &Current<'_>,
        pods: &[Pod],
    ) -> Result<(), kube::Error> {
        let api: Api<core::Pod> = Api::namespaced(self.client.clone(), &set.key.namespace);
        let api = &api;
        let writes = pods
            .iter()
            .filter_map(|pod| Some((pod, news(current, pod)?)))
            .map(|(pod, needs)| async move {
                let condition = json!({
                    "type": POD_NEED_UPGRADE,
                    "status": if needs { "True" } else { "False" },
                    "lastTransitionTime": Time(Timestamp::now()),
                });
                let patch = json!({"metadata": {"uid": *pod.uid}, "status": {"conditions": [condition]}});
                api.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch))
                    .await
            });
        let writes: Vec<_> = writes.collect();
        let mut answers = futures::stream::iter(writes).buffer_unordered(WRITES_MAX);
        let mut failed = Ok(());
        while let Some(answer) = answers.next().await {
            match answer {
                Err(error) if !api_error::is_not_found(&error) => failed = Err(error),
                _ => {}
            }
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{now, pod};
    use super::*;

    #[test]
    fn a_pod_is_told_once_that_there_is_something_newer() {
        let current = Current {
            hash: "new",
            generation: None,
            min_ready_seconds: 0,
            now: now(),
        };
        let told = |pod: Pod, told| {
            let mut view = pod.object.clone();
            view.needs_upgrade = told;
            std::sync::Arc::new(orlop_client::informer::Cached {
                key: pod.key.clone(),
                uid: pod.uid.clone(),
                resource_version: 1,
                object: view,
            })
        };
        let old = || pod("p").on("n").ready().build();
        let new = || pod("p").on("n").hash("new").ready().build();
        assert_eq!(news(&current, &old()), Some(true));
        assert_eq!(news(&current, &told(old(), Some(true))), None);
        assert_eq!(news(&current, &new()), None, "nothing to take back");
        assert_eq!(news(&current, &told(new(), Some(true))), Some(false));
        assert_eq!(news(&current, &pod("p").on("n").terminating().build()), None);
    }
}
