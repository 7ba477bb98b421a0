//! How many pods the new and the old sets may have while one replaces the other.

use super::limits::Limits;
use crate::cache::{DeploymentView, ReplicaSet};

/// A set that is to have another size.
#[derive(Debug, Clone)]
pub struct Scale {
    /// The set.
    pub set: ReplicaSet,
    /// Its size afterwards; maybe the one it has, when only its annotations are out of date.
    pub to: i32,
}

/// The pods all sets should have.
pub fn pods_wanted(sets: &[ReplicaSet]) -> i32 {
    sets.iter().fold(0, |sum, set| sum.saturating_add(set.replicas))
}

/// The available pods of all sets.
pub fn pods_available(sets: &[ReplicaSet]) -> i32 {
    sets.iter().fold(0, |sum, set| sum.saturating_add(available(set)))
}

pub fn available(set: &ReplicaSet) -> i32 {
    set.status.available_replicas.unwrap_or(0)
}

/// The size that a new set of `current` pods may have, when `old_pods` are wanted by the old sets.
pub fn new_size(deployment: &DeploymentView, limits: Limits, current: i32, old_pods: i32) -> i32 {
    let wanted = deployment.replicas();
    if !super::limits::is_rolling(deployment) || current >= wanted {
        return wanted;
    }
    let room = wanted
        .saturating_add(limits.max_surge)
        .saturating_sub(old_pods.saturating_add(current));
    current + room.clamp(0, wanted - current)
}

/// The old sets that can shrink now: broken pods go first, then as many as the available ones
/// beyond the minimum allow, from the oldest set on.
pub fn shrink_old(
    deployment: &DeploymentView,
    limits: Limits,
    new: Option<&ReplicaSet>,
    old: &[ReplicaSet],
) -> Vec<Scale> {
    let old_pods = pods_wanted(old);
    if old_pods == 0 {
        return Vec::new();
    }
    let new_available = new.map_or(0, available);
    let min_available = deployment.replicas().saturating_sub(limits.max_unavailable);
    // New pods that aren't available yet must not cost old ones.
    let most = old_pods
        .saturating_add(new_available)
        .saturating_sub(min_available);
    if most <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<Scale> = by_age(old)
        .into_iter()
        .filter(|set| set.replicas > 0)
        .map(|set| Scale {
            to: set.replicas,
            set,
        })
        .collect();
    let mut left = most;
    for size in &mut sizes {
        let broken = size.to.saturating_sub(available(&size.set)).clamp(0, left);
        size.to -= broken;
        left -= broken;
    }
    let mut spare = pods_available(old)
        .saturating_add(new_available)
        .saturating_sub(min_available);
    for size in &mut sizes {
        let fewer = size.to.min(spare.max(0));
        size.to -= fewer;
        spare -= fewer;
    }
    sizes.retain(|size| size.to != size.set.replicas);
    sizes
}

/// All old sets that still want pods, at none.
pub fn stop_old(old: &[ReplicaSet]) -> Vec<Scale> {
    old.iter()
        .filter(|set| set.replicas > 0)
        .map(|set| Scale {
            set: set.clone(),
            to: 0,
        })
        .collect()
}

/// Oldest first.
pub fn by_age(sets: &[ReplicaSet]) -> Vec<ReplicaSet> {
    let mut sets = sets.to_vec();
    sets.sort_by(|a, b| {
        let created = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
        created(a)
            .cmp(&created(b))
            .then_with(|| a.key.name.cmp(&b.key.name))
    });
    sets
}

#[cfg(test)]
mod tests {
    use super::super::testing::{deployment, set};
    use super::*;
    use serde_json::json;

    fn ten(surge: i32, unavailable: i32) -> (DeploymentView, Limits) {
        let deployment = deployment(
            json!({"replicas": 10, "strategy": {"type": "RollingUpdate", "rollingUpdate":
            {"maxSurge": surge, "maxUnavailable": unavailable}}}),
        );
        let limits = Limits::of(&deployment);
        (deployment, limits)
    }

    #[test]
    fn a_new_set_grows_as_far_as_the_surge_allows() {
        for (surge, current, old, want) in [
            (0, 0, 10, 0),
            (3, 0, 10, 3),
            (3, 3, 8, 5),
            (3, 0, 0, 10),
            (0, 10, 2, 10),
            (3, 12, 0, 10),
            (3, 2, 20, 2),
        ] {
            let (deployment, limits) = ten(surge, 1);
            let size = new_size(&deployment, limits, current, old);
            assert_eq!(size, want, "surge {surge}, new {current}, old {old}");
        }
    }

    #[test]
    fn old_sets_shrink_as_far_as_the_available_pods_allow() {
        // (max unavailable, new wanted/available, old wanted/available, old afterwards)
        for (unavailable, new, old, want) in [
            (0, (3, 0), (10, 10), 10),
            (2, (0, 0), (10, 10), 8),
            (2, (4, 4), (8, 8), 4),
            (2, (2, 0), (10, 8), 8),
            (2, (2, 0), (10, 10), 8),
            (0, (0, 0), (10, 5), 10),
            (2, (2, 2), (10, 0), 6),
        ] {
            let (deployment, limits) = ten(3, unavailable);
            let newer = set("new", new.0).has(new.0, new.1).build();
            let older = set("old", old.0).has(old.0, old.1).build();
            let scales = shrink_old(&deployment, limits, Some(&newer), &[older]);
            let size = scales.first().map_or(old.0, |scale| scale.to);
            assert_eq!(size, want, "unavailable {unavailable}, new {new:?}, old {old:?}");
        }
    }

    #[test]
    fn broken_pods_go_before_working_ones_and_older_sets_before_younger() {
        let (deployment, limits) = ten(0, 5);
        let young = set("young", 5).has(5, 5).age(10).build();
        let old = set("old", 5).has(5, 2).age(20).build();
        let scales = shrink_old(&deployment, limits, None, &[young, old]);
        let sizes: Vec<(&str, i32)> = scales
            .iter()
            .map(|scale| (&*scale.set.key.name, scale.to))
            .collect();
        assert_eq!(sizes, [("old", 0)], "three broken ones, and two that are spare");
    }
}
