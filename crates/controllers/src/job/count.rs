//! What a Job's pods count for.

use std::collections::{BTreeMap, HashSet};

use super::failure_policy::{self, Failure};
use super::finish::SUCCESS;
use super::indexes::Indexes;
use crate::cache::{JobPod, JobView, Phase, Pod};
use crate::owned::is_active;

/// A Job's pods, sorted by what they are to it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Those that may still succeed.
    pub active: Vec<Pod>,
    /// How many of them are ready.
    pub ready: i32,
    /// Those that are on their way out.
    pub terminating: Vec<Pod>,
    /// Succeeded ones that the status doesn't tell of yet.
    pub new_succeeded: Vec<Pod>,
    /// Failed ones that the status doesn't tell of yet.
    pub new_failed: Vec<Pod>,
    /// Failed ones that don't count.
    pub ignored: Vec<Pod>,
    /// How many succeeded in all.
    pub succeeded: i32,
    /// How many failed in all.
    pub failed: i32,
    /// The indexes that succeeded.
    pub completed: Indexes,
    /// The indexes that were given up.
    pub failed_indexes: Indexes,
    /// The latest failure of each index that isn't done.
    pub last_failures: BTreeMap<u32, LastFailure>,
    /// Why the failure policy ends the Job.
    pub fail_job: Option<String>,
}

/// How the latest pod of an index failed.
#[derive(Debug, Clone)]
pub struct LastFailure {
    /// The pod.
    pub pod: Pod,
    /// Failures of the index that count, this one included.
    pub failures: i32,
    /// Failures of the index that don't, this one included.
    pub ignored: i32,
}

/// spec.completions as a bound for indexes.
pub fn limit(job: &JobView) -> u32 {
    u32::try_from(job.spec.completions.unwrap_or(0)).unwrap_or(0)
}

/// Whether the pod is one of the Job's indexes, if it has any.
pub fn is_in_range(job: &JobView, pod: &JobPod) -> bool {
    !job.is_indexed() || pod.index.is_some_and(|index| index < limit(job))
}

/// Whether the pod has failed, or will never tell otherwise.
pub fn has_failed(job: &JobView, pod: &Pod) -> bool {
    match pod.phase {
        Phase::Failed => true,
        Phase::Succeeded => false,
        // Once enough has succeeded, the others go for that.
        _ => pod.terminating && !job.replaces_failed_only() && job.holds(SUCCESS).is_none(),
    }
}

/// Sorts `pods`, all owned.
pub fn count(job: &JobView, pods: &[Pod]) -> Counts {
    let limit = limit(job);
    let status = &job.status;
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let named_succeeded: HashSet<String> = uncounted.succeeded.into_iter().flatten().collect();
    let named_failed: HashSet<String> = uncounted.failed.into_iter().flatten().collect();
    let indexes = |text: &Option<String>| Indexes::parse(text.as_deref().unwrap_or_default(), limit);
    let mut counts = Counts {
        completed: indexes(&status.completed_indexes),
        failed_indexes: indexes(&status.failed_indexes),
        ..Counts::default()
    };
    let mut failed = Vec::new();
    for pod in pods {
        let Some(details) = pod.job.as_deref() else {
            continue;
        };
        if is_active(pod) {
            counts.ready += i32::from(pod.is_ready());
            counts.active.push(pod.clone());
            continue;
        }
        if !pod.is_terminal() {
            counts.terminating.push(pod.clone());
        }
        if !details.tracked || !is_in_range(job, details) {
            continue;
        }
        if pod.phase == Phase::Succeeded {
            // One that was named when it was told to go has failed, even if it succeeds after that; but an index is done.
            let has_failed = named_failed.contains(&*pod.uid) && !job.is_indexed();
            if !has_failed && !named_succeeded.contains(&*pod.uid) {
                counts.new_succeeded.push(pod.clone());
            }
        } else if has_failed(job, pod) {
            failed.push(pod.clone());
        }
    }
    if job.is_indexed() {
        counts
            .completed
            .extend(counts.new_succeeded.iter().filter_map(index_of));
    }
    for pod in failed {
        let verdict = failure_policy::judge(job, &pod);
        if job.is_indexed() && job.spec.backoff_limit_per_index.is_some() {
            counts.fail_index(job, &pod, &verdict);
        }
        if let Failure::FailJob(why) = &verdict {
            counts.fail_job.get_or_insert_with(|| why.clone());
        }
        if verdict == Failure::Ignore {
            counts.ignored.push(pod);
        } else if !named_failed.contains(&*pod.uid) {
            counts.new_failed.push(pod);
        }
    }
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    counts.succeeded = if job.is_indexed() {
        number(counts.completed.len())
    } else {
        let more = number(named_succeeded.len() + counts.new_succeeded.len());
        status.succeeded.unwrap_or(0).saturating_add(more)
    };
    let more = number(named_failed.len() + counts.new_failed.len());
    counts.failed = status.failed.unwrap_or(0).saturating_add(more);
    counts
}

pub fn index_of(pod: &Pod) -> Option<u32> {
    pod.job.as_ref()?.index
}

impl Counts {
    /// The Job has failed, and its pods that haven't ended with it: they count as they go.
    pub fn fail_the_rest(&mut self, job: &JobView, pods: &[Pod]) {
        let uncounted = job.status.uncounted_terminated_pods.as_ref();
        let named = uncounted.and_then(|uncounted| uncounted.failed.as_deref());
        let is_left = |pod: &&Pod| {
            let counts = |details: &JobPod| details.tracked && is_in_range(job, details);
            pod.job.as_deref().is_some_and(counts)
                && !pod.is_terminal()
                && !has_failed(job, pod)
                && !named.is_some_and(|named| named.iter().any(|uid| *uid == *pod.uid))
                && failure_policy::judge(job, pod) != Failure::Ignore
        };
        self.new_failed.extend(pods.iter().filter(is_left).cloned());
    }

    /// Takes note of a failure of one index.
    fn fail_index(&mut self, job: &JobView, pod: &Pod, verdict: &Failure) {
        let Some(details) = pod.job.as_deref() else { return };
        let Some(index) = details.index else { return };
        if self.completed.contains(index) {
            return;
        }
        let ignored = *verdict == Failure::Ignore;
        let failure = LastFailure {
            failures: details.index_failures.saturating_add((!ignored).into()),
            ignored: details.index_ignored_failures.saturating_add(ignored.into()),
            pod: pod.clone(),
        };
        let most = job.spec.backoff_limit_per_index.unwrap_or(i32::MAX);
        if *verdict == Failure::FailIndex || failure.failures > most {
            self.failed_indexes.extend([index]);
        }
        let known = self.last_failures.entry(index).or_insert_with(|| failure.clone());
        if (failure.failures, failure.ignored) > (known.failures, known.ignored) {
            *known = failure;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{failed, indexed, job, names, tracked, with_status};
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_sorted_by_what_they_are_and_counted_once() {
        let job = with_status(
            job(json!({})),
            json!({"succeeded": 2, "failed": 1,
                "uncountedTerminatedPods": {"succeeded": ["named"], "failed": ["gone"]}}),
        );
        let pods = [
            tracked("active").ready().build(),
            tracked("named").succeeded().build(),
            tracked("done").succeeded().build(),
            tracked("deleted").terminating().build(),
            failed("failed", "main", 1, None),
        ];
        let counts = count(&job, &pods);
        assert_eq!(names(&counts.active), ["active"]);
        assert_eq!(names(&counts.new_succeeded), ["done"]);
        assert_eq!(names(&counts.new_failed), ["deleted", "failed"]);
        assert_eq!(names(&counts.terminating), ["deleted"]);
        assert_eq!((counts.succeeded, counts.failed, counts.ready), (4, 4, 1));
    }

    #[test]
    fn a_pod_that_was_named_as_failed_counts_once_though_it_succeeds_after_that() {
        let named = json!({"uncountedTerminatedPods": {"failed": ["late"]}});
        let before = with_status(job(json!({})), named);
        let counts = count(&before, &[tracked("late").succeeded().build()]);
        assert!(counts.new_succeeded.is_empty());
        assert_eq!((counts.succeeded, counts.failed), (0, 1));
    }

    #[test]
    fn numbers_that_others_wrote_may_be_any() {
        let most = i32::MAX;
        let before = with_status(job(json!({})), json!({"succeeded": most, "failed": most}));
        let pods = [
            tracked("done").succeeded().build(),
            failed("failed", "main", 1, None),
        ];
        let counts = count(&before, &pods);
        assert_eq!((counts.succeeded, counts.failed), (most, most));
        let job = job(json!({"completionMode": "Indexed", "backoffLimitPerIndex": 1, "completions": 3}));
        let mut pod = indexed("p", 0).failed().build();
        let view = std::sync::Arc::get_mut(&mut pod).unwrap();
        view.object.job.as_mut().unwrap().index_failures = most;
        assert_eq!(count(&job, &[pod]).failed_indexes.to_string(), "0");
    }

    #[test]
    fn where_only_failed_pods_are_replaced_a_terminating_one_has_not_failed_yet() {
        let judged = json!({"podReplacementPolicy": null, "podFailurePolicy": {"rules": []}});
        for spec in [json!({"podReplacementPolicy": "Failed"}), judged] {
            let counts = count(&job(spec), &[tracked("deleted").terminating().build()]);
            assert_eq!((counts.failed, counts.terminating.len()), (0, 1));
        }
    }

    #[test]
    fn indexes_succeed_once_and_only_within_the_completions() {
        let job = with_status(
            job(json!({"completionMode": "Indexed", "completions": 4})),
            json!({"completedIndexes": "0"}),
        );
        let pods = [
            indexed("a", 0).succeeded().build(),
            indexed("b", 2).succeeded().build(),
            indexed("c", 9).succeeded().build(),
            indexed("d", 3).build(),
        ];
        let counts = count(&job, &pods);
        assert_eq!(
            (counts.completed.to_string().as_str(), counts.succeeded),
            ("0,2", 2)
        );
    }

    #[test]
    fn an_index_is_given_up_when_it_failed_too_often() {
        let job = job(json!({"completionMode": "Indexed", "backoffLimitPerIndex": 1, "completions": 3}));
        let again = |index, failures| {
            let mut pod = indexed("p", index).failed().build();
            let view = std::sync::Arc::get_mut(&mut pod).unwrap();
            view.object.job.as_mut().unwrap().index_failures = failures;
            pod
        };
        let counts = count(&job, &[again(0, 0), again(1, 1)]);
        assert_eq!(counts.failed_indexes.to_string(), "1");
        assert_eq!(counts.last_failures[&0].failures, 1);
    }
}
