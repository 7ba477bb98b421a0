//! How many pods to create and which to delete.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::{self, ended};
use super::count::{Counts, index_of, limit};
use crate::cache::{JobView, Pod};
use crate::owned::rank;

/// Most pods created, or deleted, in one sync of one Job.
pub const BURST: usize = 500;

/// A pod to create.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Create {
    /// Its completion index.
    pub index: Option<u32>,
    /// How often its index failed.
    pub failures: i32,
    /// How often its index failed in ways that don't count.
    pub ignored: i32,
}

/// What to do next.
#[derive(Debug, Default)]
pub struct Actions {
    /// Pods to create.
    pub create: Vec<Create>,
    /// Pods to delete.
    pub delete: Vec<Pod>,
    /// When there will be something to create.
    pub wait: Option<Duration>,
}

/// Compares what runs with what should; `wait` is what is left of the wait after failures.
pub fn manage(job: &JobView, counts: &Counts, wait: Duration, now: Timestamp) -> Actions {
    if job.is_suspended() {
        return Actions {
            delete: counts.active.clone(),
            ..Actions::default()
        };
    }
    let active = counts.active.len();
    let wanted = wanted(job, counts);
    let mut actions = Actions::default();
    let surplus = active.saturating_sub(wanted);
    actions.delete = to_delete(job, counts, surplus, now);
    if !actions.delete.is_empty() {
        return actions;
    }
    let leaving = if job.replaces_failed_only() {
        counts.terminating.len()
    } else {
        0
    };
    let missing = wanted.saturating_sub(active + leaving).min(BURST);
    if missing == 0 {
        return actions;
    }
    if job.spec.backoff_limit_per_index.is_none() && !wait.is_zero() {
        actions.wait = Some(wait);
        return actions;
    }
    if job.is_indexed() {
        indexes(job, counts, missing, now, &mut actions);
    } else {
        actions.create = vec![Create::default(); missing];
    }
    actions
}

/// How many pods should be active.
fn wanted(job: &JobView, counts: &Counts) -> usize {
    let parallelism = usize::try_from(job.spec.parallelism.unwrap_or(1)).unwrap_or(0);
    match job.spec.completions {
        // Once one has succeeded, the others end by themselves, however many there should be.
        None if counts.succeeded > 0 => counts.active.len(),
        None => parallelism,
        Some(completions) => {
            let given_up = i32::try_from(counts.failed_indexes.len()).unwrap_or(i32::MAX);
            let left = completions
                .saturating_sub(counts.succeeded)
                .saturating_sub(given_up);
            usize::try_from(left).unwrap_or(0).min(parallelism)
        }
    }
}

/// At least `surplus` of the active pods, and all that no index needs.
fn to_delete(job: &JobView, counts: &Counts, surplus: usize, now: Timestamp) -> Vec<Pod> {
    let mut pods = counts.active.clone();
    pods.sort_by(|a, b| rank::goes_first(a, b, 0, 0, now));
    let mut delete: Vec<Pod> = Vec::new();
    let mut rest: Vec<Pod> = Vec::new();
    if job.is_indexed() {
        let mut taken = HashSet::new();
        // The best pod of an index stays.
        for pod in pods.into_iter().rev() {
            let needed = index_of(&pod).is_some_and(|index| {
                index < limit(job)
                    && !counts.completed.contains(index)
                    && !counts.failed_indexes.contains(index)
                    && taken.insert(index)
            });
            if needed { rest.push(pod) } else { delete.push(pod) }
        }
        rest.reverse();
    } else {
        rest = pods;
    }
    let more = surplus.saturating_sub(delete.len());
    delete.extend(rest.into_iter().take(more));
    delete.truncate(BURST);
    delete
}

/// The first indexes that nobody works on.
fn indexes(job: &JobView, counts: &Counts, missing: usize, now: Timestamp, actions: &mut Actions) {
    let mut busy: HashSet<u32> = counts.active.iter().filter_map(index_of).collect();
    if job.replaces_failed_only() {
        busy.extend(counts.terminating.iter().filter_map(index_of));
    }
    let free = (0..limit(job)).filter(|index| {
        !busy.contains(index) && !counts.completed.contains(*index) && !counts.failed_indexes.contains(*index)
    });
    for index in free {
        if actions.create.len() == missing {
            break;
        }
        let mut create = Create {
            index: Some(index),
            ..Create::default()
        };
        if let Some(last) = counts.last_failures.get(&index) {
            let failures = u32::try_from(last.failures.saturating_add(last.ignored)).unwrap_or(0);
            let wait = backoff::wait(failures, ended(&last.pod, now), now);
            if !wait.is_zero() {
                actions.wait = Some(actions.wait.map_or(wait, |other| other.min(wait)));
                continue;
            }
            create.failures = last.failures;
            create.ignored = last.ignored;
        }
        actions.create.push(create);
    }
}

#[cfg(test)]
mod tests {
    use super::super::count::count;
    use super::super::testing::{indexed, job, names, now, tracked, with_status};
    use super::*;
    use serde_json::{Value, json};

    fn plan(spec: Value, status: Value, pods: &[Pod], wait: u64) -> Actions {
        let job = with_status(job(spec), status);
        manage(&job, &count(&job, pods), Duration::from_secs(wait), now())
    }

    fn created(spec: Value, status: Value, pods: &[Pod]) -> usize {
        plan(spec, status, pods, 0).create.len()
    }

    #[test]
    fn as_many_pods_run_as_are_allowed_and_still_needed() {
        let active = [tracked("a").build()];
        assert_eq!(created(json!({}), json!({}), &[]), 2);
        assert_eq!(created(json!({}), json!({}), &active), 1);
        assert_eq!(created(json!({}), json!({"succeeded": 2}), &active), 0);
        assert_eq!(
            created(json!({"completions": null}), json!({"succeeded": 1}), &active),
            0
        );
        assert_eq!(created(json!({"parallelism": 0}), json!({}), &[]), 0);
    }

    #[test]
    fn surplus_and_suspended_pods_are_deleted() {
        let pods = [tracked("old").ready().build(), tracked("new").build()];
        let delete = |spec| names(&plan(spec, json!({}), &pods, 0).delete);
        assert_eq!(delete(json!({"parallelism": 1})), ["new"]);
        assert_eq!(delete(json!({"suspend": true})), ["old", "new"]);
        assert!(delete(json!({})).is_empty());
        let spec = json!({"completions": null, "parallelism": 0});
        let after_success = plan(spec, json!({"succeeded": 1}), &pods, 0);
        assert!(after_success.delete.is_empty(), "what runs may end by itself");
    }

    #[test]
    fn after_a_failure_nothing_is_created_for_a_while() {
        let actions = plan(json!({}), json!({"failed": 1}), &[], 7);
        assert_eq!(
            (actions.create.len(), actions.wait),
            (0, Some(Duration::from_secs(7)))
        );
    }

    #[test]
    fn terminating_pods_hold_their_place_where_only_failed_ones_are_replaced() {
        let leaving = [tracked("a").terminating().build()];
        assert_eq!(
            created(json!({"podReplacementPolicy": "Failed"}), json!({}), &leaving),
            1
        );
        assert_eq!(created(json!({}), json!({}), &leaving), 2);
    }

    #[test]
    fn the_first_free_indexes_are_worked_on() {
        let spec = json!({"completionMode": "Indexed", "completions": 6, "parallelism": 4});
        let pods = [
            indexed("a", 1).build(),
            indexed("b", 1).build(),
            indexed("c", 9).build(),
        ];
        let actions = plan(spec.clone(), json!({"completedIndexes": "0"}), &pods, 0);
        let mut deleted = names(&actions.delete);
        deleted.sort();
        assert_eq!(deleted, ["a", "c"], "a duplicate, and one out of range");
        let actions = plan(spec, json!({"completedIndexes": "0"}), &pods[..1], 0);
        let indexes: Vec<Option<u32>> = actions.create.iter().map(|create| create.index).collect();
        assert_eq!(indexes, [Some(2), Some(3), Some(4)]);
    }
}
