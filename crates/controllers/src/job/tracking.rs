//! How ended pods become numbers: named in the status, freed of their finalizer, counted.

use std::collections::HashSet;

use k8s_openapi::api::batch::v1::JobStatus;

use super::count::{Counts, has_failed, index_of, is_in_range};
use crate::cache::{JobView, Phase, Pod};

/// Most pods named as uncounted at a time: the status must not outgrow what an object may be.
pub const UNCOUNTED_MAX: usize = 500;

/// Counts the named pods that no longer have their finalizer.
pub fn settle(status: &mut JobStatus, tracked: &HashSet<&str>) {
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let settle = |names: &mut Option<Vec<String>>, number: &mut Option<i32>| {
        let Some(list) = names else { return };
        let before = list.len();
        list.retain(|uid| tracked.contains(uid.as_str()));
        let counted = i32::try_from(before - list.len()).unwrap_or(i32::MAX);
        if counted > 0 {
            *number = Some(number.unwrap_or(0).saturating_add(counted));
        }
        if list.is_empty() {
            *names = None;
        }
    };
    settle(&mut uncounted.succeeded, &mut status.succeeded);
    settle(&mut uncounted.failed, &mut status.failed);
}

/// Names the pods that ended; false if there were too many for once.
pub fn name(job: &JobView, counts: &Counts, status: &mut JobStatus) -> bool {
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let named = |names: &Option<Vec<String>>| names.as_ref().map_or(0, Vec::len);
    let mut room = UNCOUNTED_MAX.saturating_sub(named(&uncounted.succeeded) + named(&uncounted.failed));
    let mut all = true;
    let mut add = |names: &mut Option<Vec<String>>, pods: &[Pod]| {
        let fitting = &pods[..pods.len().min(room)];
        room -= fitting.len();
        all &= fitting.len() == pods.len();
        if !fitting.is_empty() {
            names
                .get_or_insert_default()
                .extend(fitting.iter().map(|pod| pod.uid.to_string()));
        }
    };
    if job.is_indexed() {
        // Indexes tell themselves what succeeded.
        status.completed_indexes = Some(counts.completed.to_string()).filter(|text| !text.is_empty());
        status.succeeded = Some(counts.succeeded).filter(|number| *number != 0);
        if job.spec.backoff_limit_per_index.is_some() {
            // Told also where none has: an empty text says that indexes may fail each for itself.
            status.failed_indexes = Some(counts.failed_indexes.to_string());
        }
    } else {
        add(&mut uncounted.succeeded, &counts.new_succeeded);
    }
    add(&mut uncounted.failed, &counts.new_failed);
    all
}

/// The pods whose finalizer can go, now that `status` is written; `ending` if the Job is over and none is to go on.
pub fn freed(job: &JobView, counts: &Counts, status: &JobStatus, pods: &[Pod], ending: bool) -> Vec<Pod> {
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let named: HashSet<String> = uncounted
        .succeeded
        .into_iter()
        .chain(uncounted.failed)
        .flatten()
        .collect();
    let ignored: HashSet<&str> = counts.ignored.iter().map(|pod| &*pod.uid).collect();
    let ended = counts.new_succeeded.iter().chain(&counts.new_failed);
    let counted: HashSet<&str> = ended.map(|pod| &*pod.uid).collect();
    let is_free = |pod: &&Pod| {
        let Some(details) = pod.job.as_deref().filter(|details| details.tracked) else {
            return false;
        };
        if job.is_terminating() {
            return true;
        }
        if pod.phase == Phase::Succeeded && job.is_indexed() {
            return true;
        }
        // Counted for no index of this Job: held on to, it would be when the index comes back.
        if has_failed(job, pod) && !is_in_range(job, details) {
            return true;
        }
        let told = named.contains(&*pod.uid) || ignored.contains(&*pod.uid);
        if ending {
            // Whether it still runs or not; but what counts is named before.
            return told || !counted.contains(&*pod.uid);
        }
        told && !is_remembered(counts, pod)
    };
    pods.iter().filter(is_free).cloned().collect()
}

/// The latest failure of an index tells the next pod how often it failed, and stays until there is one.
fn is_remembered(counts: &Counts, pod: &Pod) -> bool {
    let Some(index) = index_of(pod) else { return false };
    let is_latest = counts
        .last_failures
        .get(&index)
        .is_some_and(|last| last.pod.uid == pod.uid);
    let replaced = counts.active.iter().any(|active| index_of(active) == Some(index));
    is_latest && !replaced && !counts.completed.contains(index) && !counts.failed_indexes.contains(index)
}

#[cfg(test)]
mod tests {
    use super::super::count::count;
    use super::super::testing::{failed, indexed, job, names, pod, tracked, with_status};
    use super::*;
    use crate::cache::JobPod;
    use serde_json::json;

    #[test]
    fn an_ended_pod_is_named_then_freed_then_counted() {
        let before = job(json!({}));
        let pods = [tracked("a").succeeded().build(), failed("b", "main", 1, None)];
        let counts = count(&before, &pods);
        let mut status = before.status.clone();
        assert!(name(&before, &counts, &mut status));
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            json!({"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["b"]}})
        );
        assert_eq!(names(&freed(&before, &counts, &status, &pods, false)), ["a", "b"]);
        settle(&mut status, &HashSet::from(["b"]));
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            json!({"succeeded": 1, "uncountedTerminatedPods": {"failed": ["b"]}})
        );
    }

    #[test]
    fn that_no_index_has_failed_is_told_where_indexes_may() {
        let told = |spec| {
            let job = job(spec);
            let mut status = job.status.clone();
            name(&job, &count(&job, &[]), &mut status);
            status.failed_indexes
        };
        let indexed = json!({"completionMode": "Indexed"});
        assert_eq!(told(indexed), None);
        let each = json!({"completionMode": "Indexed", "backoffLimitPerIndex": 1});
        assert_eq!(told(each).as_deref(), Some(""));
    }

    #[test]
    fn no_pod_is_freed_before_it_is_named() {
        let job = job(json!({}));
        let pods = [tracked("a").succeeded().build()];
        let counts = count(&job, &pods);
        assert!(freed(&job, &counts, &job.status, &pods, false).is_empty());
    }

    #[test]
    fn at_the_end_pods_that_still_run_have_failed_if_the_job_has_and_are_freed_in_any_case() {
        let spec = json!({"podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}});
        let job = with_status(
            job(spec),
            json!({"uncountedTerminatedPods": {"failed": ["named"]}}),
        );
        let disrupted = JobPod {
            tracked: true,
            conditions: [("DisruptionTarget".into(), "True".into())].into(),
            ..JobPod::default()
        };
        let pods = [
            tracked("done").succeeded().build(),
            failed("failed", "main", 1, None),
            tracked("named").build(),
            tracked("running").build(),
            pod("disrupted").on("n").job(disrupted).build(),
            pod("not-ours-yet").on("n").job(JobPod::default()).build(),
        ];
        let at_the_end = |has_failed: bool| {
            let mut counts = count(&job, &pods);
            if has_failed {
                counts.fail_the_rest(&job, &pods);
            }
            let mut status = job.status.clone();
            let unnamed = names(&freed(&job, &counts, &status, &pods, true));
            assert!(name(&job, &counts, &mut status));
            let freed = names(&freed(&job, &counts, &status, &pods, true));
            (names(&counts.new_failed), unnamed, freed)
        };
        let all = ["done", "failed", "named", "running", "disrupted"].map(str::to_owned);
        let (counted, unnamed, freed) = at_the_end(true);
        assert_eq!(counted, ["failed", "running"]);
        assert_eq!(
            unnamed,
            ["named", "disrupted"],
            "the others are to be named first"
        );
        assert_eq!(freed, all);
        let (counted, _, freed) = at_the_end(false);
        assert_eq!(
            counted,
            ["failed"],
            "who does what is no longer needed has not failed"
        );
        assert_eq!(freed, all);
    }

    #[test]
    fn pods_of_indexes_that_the_job_has_no_more_are_freed_and_never_counted() {
        let spec = |completions| json!({"completionMode": "Indexed", "completions": completions});
        let scaled_down = job(spec(1));
        let pods = [
            indexed("kept", 0).failed().build(),
            indexed("failed", 1).failed().build(),
            indexed("leaving", 2).terminating().build(),
            indexed("running", 3).build(),
            tracked("without").failed().build(),
        ];
        let counts = count(&scaled_down, &pods);
        assert_eq!(names(&counts.new_failed), ["kept"]);
        let status = scaled_down.status.clone();
        let gone = freed(&scaled_down, &counts, &status, &pods, false);
        assert_eq!(names(&gone), ["failed", "leaving", "without"]);
        assert_eq!(
            names(&freed(&job(spec(4)), &counts, &status, &pods, false)),
            ["without"]
        );
        let patient =
            job(json!({"completionMode": "Indexed", "completions": 1, "podReplacementPolicy": "Failed"}));
        let counts = count(&patient, &pods);
        let gone = freed(&patient, &counts, &status, &pods, false);
        assert_eq!(
            names(&gone),
            ["failed", "without"],
            "who leaves has not failed yet"
        );
    }

    #[test]
    fn the_last_failure_of_an_index_stays_until_it_is_replaced() {
        let spec = json!({"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 3});
        let job = with_status(job(spec), json!({"uncountedTerminatedPods": {"failed": ["a"]}}));
        let lost = indexed("a", 0).failed().build();
        let alone = [lost.clone()];
        let counts = count(&job, &alone);
        assert!(freed(&job, &counts, &job.status, &alone, false).is_empty());
        let replaced = [lost, indexed("b", 0).build()];
        let counts = count(&job, &replaced);
        assert_eq!(names(&freed(&job, &counts, &job.status, &replaced, false)), ["a"]);
    }
}
