//! What a StatefulSet's status says.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSetStatus;

use super::identity::revision;
use super::plan::{Revisions, is_available, is_healthy};
use crate::cache::{Pod, StatefulSetView};

/// The fields of the status, all of which are written.
pub const FIELDS: [&str; 9] = [
    "availableReplicas",
    "collisionCount",
    "conditions",
    "currentReplicas",
    "currentRevision",
    "observedGeneration",
    "readyReplicas",
    "updateRevision",
    "updatedReplicas",
];

/// Counts `pods`, all with an ordinal.
pub fn count(
    set: &StatefulSetView,
    pods: &[Pod],
    revisions: Revisions<'_>,
    now: Timestamp,
) -> StatefulSetStatus {
    let number = |counts: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|pod| counts(pod)).count()).unwrap_or(i32::MAX)
    };
    let of = |name: &str| number(&|pod| !pod.terminating && revision(pod) == Some(name));
    let some = |number: i32| (number != 0).then_some(number);
    let replicas = number(&|_| true);
    let ready = number(&|pod| is_healthy(pod));
    let updated = of(revisions.update);
    let is_rolling = set
        .spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref())
        != Some("OnDelete");
    // Once all pods are of it, the update revision is the current one.
    let complete =
        is_rolling && updated == replicas && ready == replicas && replicas == set.spec.replicas.unwrap_or(1);
    let current = if complete {
        revisions.update
    } else {
        revisions.current
    };
    StatefulSetStatus {
        replicas,
        ready_replicas: some(ready),
        available_replicas: Some(number(&|pod| is_available(set, pod, now))),
        current_replicas: some(of(current)),
        updated_replicas: some(updated),
        current_revision: Some(current.to_owned()),
        update_revision: Some(revisions.update.to_owned()),
        observed_generation: Some(set.generation()).filter(|generation| *generation != 0),
        collision_count: set.status.collision_count,
        conditions: set.status.conditions.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{now, pod, set};
    use super::*;
    use serde_json::json;

    #[test]
    fn the_update_revision_becomes_current_when_all_pods_are_of_it() {
        let set = set(json!({"replicas": 2}));
        let revisions = Revisions {
            current: "old",
            update: "new",
        };
        let of = |second: &str| {
            let pods = [
                pod("web-0").on("n").hash("new").ready().build(),
                pod("web-1").on("n").hash(second).ready().build(),
            ];
            serde_json::to_value(count(&set, &pods, revisions, now())).unwrap()
        };
        assert_eq!(
            of("old"),
            json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "currentReplicas": 1,
                "updatedReplicas": 1, "currentRevision": "old", "updateRevision": "new", "observedGeneration": 1})
        );
        let done = of("new");
        assert_eq!(
            (&done["currentRevision"], &done["currentReplicas"]),
            (&json!("new"), &json!(2))
        );
    }
}
