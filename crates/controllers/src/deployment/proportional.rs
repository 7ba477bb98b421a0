//! A Deployment that is scaled in the middle of a rollout: all its sets grow or shrink in proportion,
//! so that the risk stays what it was.

use super::annotations;
use super::limits::{Limits, is_rolling};
use super::rolling::{Scale, available, by_age, pods_wanted, stop_old};
use crate::cache::{DeploymentView, ReplicaSet};

/// Whether a set that wants pods was sized for another number of pods than the Deployment wants now.
pub fn is_scaled(deployment: &DeploymentView, sets: &[ReplicaSet]) -> bool {
    sets.iter().filter(|set| set.replicas > 0).any(|set| {
        annotations::number::<i32>(set, annotations::DESIRED)
            .is_some_and(|desired| desired != deployment.replicas())
    })
}

/// The sizes that the sets should have.
pub fn scale(
    deployment: &DeploymentView,
    limits: Limits,
    new: Option<&ReplicaSet>,
    old: &[ReplicaSet],
) -> Vec<Scale> {
    let wanted = deployment.replicas();
    if let Some(only) = only_or_latest(new, old) {
        return vec![Scale {
            set: only,
            to: wanted,
        }];
    }
    if new.is_some_and(|new| is_saturated(deployment, new)) {
        return stop_old(old);
    }
    if !is_rolling(deployment) {
        return Vec::new();
    }
    let active: Vec<ReplicaSet> = old
        .iter()
        .chain(new)
        .filter(|set| set.replicas > 0)
        .cloned()
        .collect();
    in_proportion(deployment, limits, &active)
}

fn in_proportion(deployment: &DeploymentView, limits: Limits, active: &[ReplicaSet]) -> Vec<Scale> {
    let wanted = deployment.replicas();
    let allowed = if wanted > 0 {
        wanted.saturating_add(limits.max_surge)
    } else {
        0
    };
    let to_add = allowed - pods_wanted(active);
    let mut sets = by_age(active);
    if to_add > 0 {
        // The largest first, of equals the newest.
        sets.reverse();
    }
    sets.sort_by_key(|set| std::cmp::Reverse(set.replicas));
    let mut added = 0;
    let mut scales: Vec<Scale> = sets
        .into_iter()
        .map(|set| {
            let share = share(deployment, allowed, &set, to_add, added);
            added += share;
            Scale {
                to: set.replicas + share,
                set,
            }
        })
        .collect();
    // What rounding left over.
    if let Some(first) = scales.first_mut() {
        first.to = (first.to + to_add - added).max(0);
    }
    scales
}

/// What `set` gets of `to_add` pods, of which `added` are given away already.
fn share(deployment: &DeploymentView, allowed: i32, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    let left = to_add - added;
    if to_add == 0 || set.replicas == 0 || left == 0 {
        return 0;
    }
    let wanted_share = if deployment.replicas() == 0 {
        -set.replicas
    } else {
        let sized_for = annotations::number::<i32>(set, annotations::MAX)
            .filter(|max| *max != 0)
            .or(deployment.status.replicas)
            .filter(|max| *max != 0)
            .unwrap_or(allowed);
        let size = f64::from(set.replicas) * f64::from(allowed) / f64::from(sized_for.max(1));
        // Sizes are far below what a double holds exactly.
        #[allow(clippy::cast_possible_truncation)]
        let size = size.round() as i32;
        size - set.replicas
    };
    if to_add > 0 {
        wanted_share.min(left)
    } else {
        wanted_share.max(left)
    }
}

/// The only set that wants pods, or the latest if none does.
fn only_or_latest(new: Option<&ReplicaSet>, old: &[ReplicaSet]) -> Option<ReplicaSet> {
    let mut active = old.iter().chain(new).filter(|set| set.replicas > 0);
    match (active.next(), active.next()) {
        (None, _) => new.cloned().or_else(|| by_age(old).pop()),
        (Some(only), None) => Some(only.clone()),
        _ => None,
    }
}

/// Whether the new set has all pods that are wanted, and they are available.
fn is_saturated(deployment: &DeploymentView, new: &ReplicaSet) -> bool {
    let wanted = deployment.replicas();
    new.replicas == wanted
        && annotations::number(new, annotations::DESIRED) == Some(wanted)
        && available(new) == wanted
}

#[cfg(test)]
mod tests {
    use super::super::testing::{deployment, set};
    use super::*;
    use serde_json::json;

    fn sized(name: &str, replicas: i32, max: i32, age: i64) -> ReplicaSet {
        set(name, replicas)
            .annotation(annotations::DESIRED, "10")
            .annotation(annotations::MAX, &max.to_string())
            .age(age)
            .build()
    }

    fn sizes(replicas: i32, surge: i32, new: &ReplicaSet, old: &[ReplicaSet]) -> Vec<(String, i32)> {
        let deployment = deployment(json!({"replicas": replicas, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 2}}}));
        let mut sizes: Vec<_> = scale(&deployment, Limits::of(&deployment), Some(new), old)
            .into_iter()
            .map(|scale| (scale.set.key.name.to_string(), scale.to))
            .collect();
        sizes.sort();
        sizes
    }

    /// The case of upstream's documentation: 10 pods, surge 3, scaled to 15.
    #[test]
    fn pods_are_added_in_proportion() {
        let (new, old) = (sized("new", 5, 13, 1), sized("old", 8, 13, 2));
        assert_eq!(
            sizes(30, 3, &new, &[old]),
            [("new".into(), 13), ("old".into(), 20)]
        );
    }

    #[test]
    fn pods_are_taken_in_proportion() {
        let (new, old) = (sized("new", 5, 13, 1), sized("old", 8, 13, 2));
        assert_eq!(
            sizes(5, 3, &new, std::slice::from_ref(&old)),
            [("new".into(), 3), ("old".into(), 5)]
        );
        assert_eq!(sizes(0, 3, &new, &[old]), [("new".into(), 0), ("old".into(), 0)]);
    }

    #[test]
    fn a_single_set_gets_all_and_a_saturated_new_one_ends_the_old() {
        let (idle, only) = (sized("new", 0, 13, 1), sized("old", 8, 13, 2));
        assert_eq!(sizes(12, 3, &idle, &[only]), [("old".into(), 12)]);
        let full = set("new", 10)
            .annotation(annotations::DESIRED, "10")
            .has(10, 10)
            .build();
        assert_eq!(
            sizes(10, 3, &full, &[sized("old", 2, 13, 2)]),
            [("old".into(), 0)]
        );
        let idle_old = sized("old", 0, 13, 2);
        assert_eq!(sizes(4, 3, &idle, &[idle_old]), [("new".into(), 4)], "the latest");
    }

    #[test]
    fn a_deployment_is_scaled_when_a_set_was_sized_for_another_number() {
        let deployment = deployment(json!({"replicas": 12}));
        assert!(is_scaled(&deployment, &[sized("a", 3, 13, 1)]));
        assert!(!is_scaled(
            &deployment,
            &[sized("a", 0, 13, 1), set("b", 3).build()]
        ));
    }
}
