//! Going back to the template of an earlier revision, as an annotation asks for: clients of API versions that had a field
//! for it still leave that.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::Api;
use kube::api::PostParams;
use orlop_client::events::EventType;

use super::annotations::{self, ROLLBACK_TO};
use super::controller::Deployments;
use super::sync::SyncError;
use super::template::POD_TEMPLATE_HASH;
use crate::cache::{Deployment, DeploymentView, ReplicaSet};

/// What becomes of the wish.
#[derive(Debug, PartialEq, Eq)]
pub enum Rollback {
    /// There is no revision before this one.
    NothingBefore,
    /// No set is that revision.
    NotFound,
    /// That revision has the template that the Deployment has.
    Unchanged,
    /// Back to this set.
    To {
        /// Its name.
        set: String,
        /// Its revision.
        revision: i64,
    },
}

/// The revision that is asked for; 0 is the last one before this. What is no number asks for nothing.
pub fn wanted(deployment: &DeploymentView) -> Option<i64> {
    deployment.annotation(ROLLBACK_TO)?.parse().ok()
}

/// What to do about the wish for revision `wanted`.
pub fn decide(deployment: &DeploymentView, wanted: i64, sets: &[ReplicaSet]) -> Rollback {
    let revision = match wanted {
        0 => match before_the_latest(sets) {
            0 => return Rollback::NothingBefore,
            revision => revision,
        },
        revision => revision,
    };
    match sets.iter().find(|set| annotations::revision(set) == revision) {
        None => Rollback::NotFound,
        Some(set) if set.template_print == deployment.template_print => Rollback::Unchanged,
        Some(set) => Rollback::To {
            set: set.key.name.to_string(),
            revision,
        },
    }
}

/// The highest revision but one; 0 if there is none.
fn before_the_latest(sets: &[ReplicaSet]) -> i64 {
    let mut revisions: Vec<i64> = sets.iter().map(|set| annotations::revision(set)).collect();
    revisions.sort_unstable();
    revisions.iter().rev().nth(1).copied().unwrap_or(0)
}

/// The Deployment without the wish; with the template of a set and what that was annotated with, if it goes back to one.
fn rewritten(
    deployment: &DeploymentView,
    to: Option<(PodTemplateSpec, BTreeMap<String, String>)>,
) -> apps::Deployment {
    let mut spec = deployment.spec.clone();
    let mut metadata = deployment.metadata.clone();
    let mut own = metadata.annotations.take().unwrap_or_default();
    if let Some((mut template, of_set)) = to {
        let labels = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut());
        labels.map(|labels| labels.remove(POD_TEMPLATE_HASH));
        spec.template = template;
        // Such as why it was changed: that of today would be told of the old template otherwise.
        own.retain(|key, _| annotations::means_deployment_alone(key));
        own.extend(
            of_set
                .into_iter()
                .filter(|(key, _)| !annotations::means_deployment_alone(key)),
        );
    }
    own.remove(ROLLBACK_TO);
    metadata.annotations = Some(own);
    apps::Deployment {
        metadata,
        spec: Some(spec),
        status: None,
    }
}

impl Deployments {
    /// Fulfils the wish for revision `wanted`, or gives it up; it is taken away in any case.
    pub(super) async fn roll_back(
        &self,
        deployment: &Deployment,
        wanted: i64,
        sets: &[ReplicaSet],
    ) -> Result<(), SyncError> {
        let rollback = decide(deployment, wanted, sets);
        let name = &deployment.key.name;
        let (event_type, reason, message) = match &rollback {
            Rollback::NothingBefore => (
                EventType::Warning,
                "DeploymentRollbackRevisionNotFound",
                "Unable to find last revision.".to_owned(),
            ),
            Rollback::NotFound => (
                EventType::Warning,
                "DeploymentRollbackRevisionNotFound",
                "Unable to find the revision to rollback to.".to_owned(),
            ),
            Rollback::Unchanged => (
                EventType::Warning,
                "DeploymentRollbackTemplateUnchanged",
                format!("The rollback revision contains the same template as current deployment \"{name}\""),
            ),
            Rollback::To { revision, .. } => (
                EventType::Normal,
                "DeploymentRollback",
                format!("Rolled back deployment \"{name}\" to revision {revision}"),
            ),
        };
        let to = match &rollback {
            Rollback::To { set, .. } => Some(self.template_of(deployment, set).await?),
            _ => None,
        };
        let api: Api<apps::Deployment> = Api::namespaced(self.client.clone(), &deployment.key.namespace);
        api.replace(name, &PostParams::default(), &rewritten(deployment, to))
            .await?;
        tracing::info!(deployment = %deployment.key, "{message}");
        self.recorder
            .event(&deployment.reference(), event_type, reason, message);
        Ok(())
    }

    /// The template and the annotations of a set, which isn't remembered with its template unless it has pods.
    async fn template_of(
        &self,
        deployment: &Deployment,
        set: &str,
    ) -> Result<(PodTemplateSpec, BTreeMap<String, String>), SyncError> {
        let api: Api<apps::ReplicaSet> = Api::namespaced(self.client.clone(), &deployment.key.namespace);
        let set = api.get(set).await?;
        let template = set.spec.and_then(|spec| spec.template).unwrap_or_default();
        Ok((template, set.metadata.annotations.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::annotations::REVISION;
    use super::super::testing::{deployment, set};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_revision_is_found_by_its_number_or_as_the_last_before_this() {
        let deployment = deployment(json!({}));
        let of = |name: &str, revision: &str| set(name, 0).annotation(REVISION, revision).build();
        let mut same = set("c", 1).annotation(REVISION, "5").build();
        std::sync::Arc::get_mut(&mut same).unwrap().object.template_print = deployment.template_print;
        let sets = [of("a", "3"), of("b", "4"), same];
        let to = |name: &str, revision| Rollback::To {
            set: name.to_owned(),
            revision,
        };
        for (wanted, want) in [
            (0, to("b", 4)),
            (3, to("a", 3)),
            (5, Rollback::Unchanged),
            (1, Rollback::NotFound),
        ] {
            assert_eq!(decide(&deployment, wanted, &sets), want, "{wanted}");
        }
        assert_eq!(decide(&deployment, 0, &sets[2..]), Rollback::NothingBefore);
    }

    #[test]
    fn the_template_comes_back_with_what_was_told_of_it() {
        let mut deployment = deployment(json!({}));
        let annotations = |all: Value| -> BTreeMap<String, String> { serde_json::from_value(all).unwrap() };
        deployment.metadata.annotations = Some(annotations(json!({ROLLBACK_TO: "1", REVISION: "2",
            "kubernetes.io/change-cause": "second"})));
        let template = json!({"metadata": {"labels": {"app": "web", POD_TEMPLATE_HASH: "x"}},
            "spec": {"containers": [{"name": "first"}]}});
        let of_set = annotations(
            json!({REVISION: "1", "deployment.kubernetes.io/desired-replicas": "3",
            "kubernetes.io/change-cause": "first"}),
        );
        let to = (serde_json::from_value(template).unwrap(), of_set);
        let after = serde_json::to_value(rewritten(&deployment, Some(to))).unwrap();
        assert_eq!(
            after["metadata"]["annotations"],
            json!({REVISION: "2", "kubernetes.io/change-cause": "first"})
        );
        assert_eq!(
            after["spec"]["template"],
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "first"}]}})
        );
        let given_up = serde_json::to_value(rewritten(&deployment, None)).unwrap();
        assert_eq!(
            given_up["metadata"]["annotations"],
            json!({REVISION: "2", "kubernetes.io/change-cause": "second"})
        );
        assert_eq!(given_up["spec"]["template"]["spec"]["containers"][0]["name"], "c");
    }
}
