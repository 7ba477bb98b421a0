//! What a Deployment writes on its ReplicaSets, and reads there.

use std::collections::BTreeMap;

use super::limits::Limits;
use crate::cache::{DeploymentView, ReplicaSet, Replicas};

/// Which revision a set, or the Deployment itself, is.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Which revisions a set was before.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The pods that the Deployment wanted when the set was last scaled.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The pods that the Deployment allowed then.
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Which revision the Deployment should go back to.
pub const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// Annotations of a Deployment that mean it alone.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    ROLLBACK_TO,
];

/// Whether an annotation of a Deployment says nothing about its sets.
pub fn means_deployment_alone(key: &str) -> bool {
    NOT_COPIED.contains(&key)
}

/// The revision of a set; 0 if it has none.
pub fn revision(set: &Replicas) -> i64 {
    number(set, REVISION).unwrap_or(0)
}

/// One more than the highest revision among `old`.
pub fn next_revision(old: &[ReplicaSet]) -> i64 {
    old.iter()
        .map(|set| revision(set))
        .max()
        .unwrap_or(0)
        .saturating_add(1)
}

/// A number among a set's annotations.
pub fn number<T: std::str::FromStr>(set: &Replicas, key: &str) -> Option<T> {
    set.annotation(key)?.parse().ok()
}

/// The sizes that a set is annotated with when it is scaled.
pub fn sizes(deployment: &DeploymentView, limits: Limits) -> [(&'static str, String); 2] {
    let desired = deployment.replicas();
    [
        (DESIRED, desired.to_string()),
        (MAX, desired.saturating_add(limits.max_surge).to_string()),
    ]
}

fn copied(deployment: &DeploymentView) -> impl Iterator<Item = (&String, &String)> {
    deployment
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(|(key, _)| !means_deployment_alone(key))
}

/// The annotations of a set that is yet to be made.
pub fn of_new_set(deployment: &DeploymentView, limits: Limits, revision: i64) -> BTreeMap<String, String> {
    let mut annotations: BTreeMap<String, String> = copied(deployment)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    annotations.extend(sizes(deployment, limits).map(|(key, value)| (key.to_owned(), value)));
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations
}

/// What has to change on the set of the current template so that it is revision `revision`, and
/// carries what the Deployment's annotations say.
pub fn updates(deployment: &DeploymentView, set: &Replicas, revision: i64) -> BTreeMap<String, String> {
    let mut changes: BTreeMap<String, String> = copied(deployment)
        .filter(|(key, value)| set.annotation(key) != Some(value.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let old = self::revision(set);
    if old < revision {
        changes.insert(REVISION.to_owned(), revision.to_string());
        if set.annotation(REVISION).is_some() {
            let history = match set.annotation(REVISION_HISTORY) {
                Some(history) if !history.is_empty() => format!("{history},{old}"),
                _ => old.to_string(),
            };
            changes.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::super::testing::{deployment, set};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_set_that_becomes_current_again_remembers_which_revisions_it_was() {
        let mut deployment = deployment(json!({}));
        deployment.metadata.annotations = Some(
            [
                ("kubernetes.io/change-cause", "undo"),
                ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
                (REVISION, "4"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        );
        let first = set("a", 0).annotation(REVISION, "2").build();
        let changes = updates(&deployment, &first, 5);
        assert_eq!(
            changes.into_iter().collect::<Vec<_>>(),
            [
                (REVISION.to_owned(), "5".to_owned()),
                (REVISION_HISTORY.to_owned(), "2".to_owned()),
                ("kubernetes.io/change-cause".to_owned(), "undo".to_owned()),
            ]
        );
        let again = set("a", 0)
            .annotation(REVISION, "5")
            .annotation(REVISION_HISTORY, "2")
            .annotation("kubernetes.io/change-cause", "undo")
            .build();
        assert!(updates(&deployment, &again, 5).is_empty());
        assert_eq!(updates(&deployment, &again, 7)[REVISION_HISTORY], "2,5");
    }

    #[test]
    fn the_next_revision_is_one_beyond_all_old_ones() {
        assert_eq!(next_revision(&[]), 1);
        let old = [
            set("a", 0).annotation(REVISION, "7").build(),
            set("b", 0).annotation(REVISION, "3").build(),
            set("c", 0).build(),
        ];
        assert_eq!(next_revision(&old), 8);
    }
}
