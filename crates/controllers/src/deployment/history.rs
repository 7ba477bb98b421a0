//! Which old sets are forgotten.

use super::annotations::revision;
use crate::cache::{DeploymentView, ReplicaSet};

/// The old sets beyond the history limit, lowest revision first, that want and have no pods.
pub fn surplus(deployment: &DeploymentView, old: &[ReplicaSet]) -> Vec<ReplicaSet> {
    let limit = match deployment.spec.revision_history_limit {
        None => 10,
        Some(i32::MAX) => return Vec::new(),
        Some(limit) => usize::try_from(limit).unwrap_or(0),
    };
    let mut sets: Vec<ReplicaSet> = old.iter().filter(|set| !set.is_terminating()).cloned().collect();
    let surplus = sets.len().saturating_sub(limit);
    sets.sort_by(|a, b| {
        let created = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
        revision(a)
            .cmp(&revision(b))
            .then_with(|| created(a).cmp(&created(b)))
    });
    sets.truncate(surplus);
    sets.retain(|set| {
        set.status.replicas == 0
            && set.replicas == 0
            && set.status.observed_generation.unwrap_or(0) >= set.generation()
    });
    sets
}

#[cfg(test)]
mod tests {
    use super::super::annotations::REVISION;
    use super::super::testing::{deployment, set};
    use super::*;
    use serde_json::json;

    #[test]
    fn the_lowest_revisions_without_pods_go() {
        let of = |name: &str, number: &str| set(name, 0).annotation(REVISION, number);
        let old = [
            of("c", "3").build(),
            of("a", "1").has(1, 1).build(),
            of("b", "2").build(),
            of("d", "4").build(),
        ];
        let names = |limit: i32| -> Vec<String> {
            surplus(&deployment(json!({"revisionHistoryLimit": limit})), &old)
                .iter()
                .map(|set| set.key.name.to_string())
                .collect()
        };
        assert_eq!(names(2), ["b"], "a still has a pod");
        assert_eq!(names(0), ["b", "c", "d"]);
        assert!(names(4).is_empty());
        assert!(names(i32::MAX).is_empty());
    }
}
