//! Whether a Job is over, and why.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::count::{Counts, limit};
use super::indexes::Indexes;
use crate::cache::{JobEnd, JobView};

/// Condition that announces that a Job will be complete.
pub const SUCCESS: &str = "SuccessCriteriaMet";
/// Condition that announces that a Job will have failed.
const FAILURE: &str = "FailureTarget";

/// How a Job will end, once its pods have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The end.
    pub end: JobEnd,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

impl Finish {
    fn new(end: JobEnd, reason: &str, message: &str) -> Self {
        Self {
            end,
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }

    fn failed(reason: &str, message: &str) -> Option<Self> {
        Some(Self::new(JobEnd::Failed, reason, message))
    }

    /// The condition that announces the end.
    pub fn announced_by(&self) -> &'static str {
        match self.end {
            JobEnd::Complete => SUCCESS,
            JobEnd::Failed => FAILURE,
        }
    }

    /// The condition that tells the end.
    pub fn told_by(&self) -> &'static str {
        match self.end {
            JobEnd::Complete => "Complete",
            JobEnd::Failed => "Failed",
        }
    }
}

/// How the Job ends, if it is certain by now.
pub fn finish(job: &JobView, counts: &Counts, now: Timestamp) -> Option<Finish> {
    announced(job)
        .or_else(|| given_up(job, counts, now))
        .or_else(|| indexes_given_up(job, counts))
        .or_else(|| success_policy(job, counts))
        .or_else(|| completed(job, counts))
}

/// What was decided stays decided.
fn announced(job: &JobView) -> Option<Finish> {
    [JobEnd::Complete, JobEnd::Failed].into_iter().find_map(|end| {
        let finish = Finish::new(end, "", "");
        let condition = job.holds(finish.announced_by())?;
        Some(Finish {
            end,
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        })
    })
}

/// How long an announced end stands with the pods that had to go for it, even if they are gone sooner: who looks once a
/// second sees it. Of the second in which it was told the part that is over isn't known.
const STANDS: SignedDuration = SignedDuration::from_secs(3);

/// How much is left of that, once all pods are counted and none is left to be told to go.
pub fn stands(job: &JobView, now: Timestamp) -> Option<Duration> {
    let status = &job.status;
    let uncounted = status.uncounted_terminated_pods.as_ref();
    let counted = uncounted.is_none_or(|pods| pods.succeeded.is_none() && pods.failed.is_none());
    let number = |pods: Option<i32>| pods.unwrap_or(0);
    let all_go = number(status.active) == 0 && number(status.terminating) > 0;
    if job.is_terminating() || !all_go || !counted {
        return None;
    }
    let announcements = [SUCCESS, FAILURE];
    let announced = announcements.iter().find_map(|type_| job.holds(type_))?;
    let age = now.duration_since(announced.last_transition_time.as_ref()?.0);
    // One of a clock that is ahead says nothing about when it was.
    let stands = age >= SignedDuration::ZERO && age < STANDS;
    stands.then(|| Duration::try_from(STANDS - age).unwrap_or_default())
}

fn given_up(job: &JobView, counts: &Counts, now: Timestamp) -> Option<Finish> {
    if let Some(why) = &counts.fail_job {
        return Finish::failed("PodFailurePolicy", why);
    }
    let backoff_limit = job.spec.backoff_limit.unwrap_or(6);
    if counts.failed > backoff_limit || restarted_too_often(job, counts, backoff_limit) {
        return Finish::failed(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        );
    }
    if deadline(job, now).is_some_and(|left| left.is_zero()) {
        return Finish::failed(
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        );
    }
    None
}

/// Pods that restart their containers themselves fail by that.
fn restarted_too_often(job: &JobView, counts: &Counts, limit: i32) -> bool {
    let spec = job.spec.template.spec.as_ref();
    if spec.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let restarts: i32 = counts
        .active
        .iter()
        .filter_map(|pod| Some(pod.job.as_ref()?.restarts))
        .fold(0, i32::saturating_add);
    if limit == 0 {
        restarts > 0
    } else {
        restarts >= limit
    }
}

/// How long the Job may still be active; `None` if for ever.
pub fn deadline(job: &JobView, now: Timestamp) -> Option<Duration> {
    let started = job.status.start_time.as_ref()?.0;
    if job.is_suspended() {
        return None;
    }
    let seconds = job.spec.active_deadline_seconds?;
    let end = started.checked_add(SignedDuration::from_secs(seconds)).ok()?;
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
}

fn indexes_given_up(job: &JobView, counts: &Counts) -> Option<Finish> {
    if !job.is_indexed() || job.spec.backoff_limit_per_index.is_none() {
        return None;
    }
    let failed = counts.failed_indexes.len();
    let most = job
        .spec
        .max_failed_indexes
        .and_then(|most| usize::try_from(most).ok());
    if most.is_some_and(|most| failed > most) {
        return Finish::failed(
            "MaxFailedIndexesExceeded",
            "Job has exceeded the specified maximal number of failed indexes",
        );
    }
    if failed > 0 && failed + counts.completed.len() >= limit(job) as usize {
        return Finish::failed("FailedIndexes", "Job has failed indexes");
    }
    None
}

fn success_policy(job: &JobView, counts: &Counts) -> Option<Finish> {
    if !job.is_indexed() {
        return None;
    }
    let rules = &job.spec.success_policy.as_ref()?.rules;
    let number = rules.iter().position(|rule| {
        let wanted = match &rule.succeeded_indexes {
            Some(indexes) => Indexes::parse(indexes, limit(job)),
            None => counts.completed.clone(),
        };
        let have = counts.completed.count_common(&wanted);
        match rule.succeeded_count {
            Some(count) => usize::try_from(count).is_ok_and(|count| have >= count),
            None => have == wanted.len() && !wanted.is_empty(),
        }
    })?;
    let message = format!("Matched rules at index {number}");
    Some(Finish::new(JobEnd::Complete, "SuccessPolicy", &message))
}

fn completed(job: &JobView, counts: &Counts) -> Option<Finish> {
    let enough = match job.spec.completions {
        None => counts.succeeded > 0,
        Some(completions) => counts.succeeded >= completions,
    };
    (enough && counts.active.is_empty()).then(|| {
        Finish::new(
            JobEnd::Complete,
            "CompletionsReached",
            "Reached expected number of succeeded pods",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::count::count;
    use super::super::testing::{failed, indexed, job, now, tracked, with_status};
    use super::*;
    use crate::cache::Pod;
    use serde_json::{Value, json};

    fn end(spec: Value, status: Value, pods: &[Pod]) -> Option<(JobEnd, String)> {
        let job = with_status(job(spec), status);
        let finish = finish(&job, &count(&job, pods), now())?;
        Some((finish.end, finish.reason))
    }

    fn because(end: JobEnd, reason: &str) -> Option<(JobEnd, String)> {
        Some((end, reason.to_owned()))
    }

    #[test]
    fn a_job_completes_when_enough_pods_succeeded_and_none_is_active() {
        let done = |name: &str| tracked(name).succeeded().build();
        let complete = because(JobEnd::Complete, "CompletionsReached");
        assert_eq!(end(json!({}), json!({"succeeded": 2}), &[done("a")]), complete);
        assert_eq!(end(json!({}), json!({"succeeded": 1}), &[done("a")]), None);
        let active = tracked("b").build();
        assert_eq!(
            end(json!({}), json!({"succeeded": 2}), &[done("a"), active.clone()]),
            None
        );
        let queue = json!({"completions": null});
        assert_eq!(end(queue.clone(), json!({}), &[done("a")]), complete);
        assert_eq!(end(queue.clone(), json!({}), &[done("a"), active]), None);
        assert_eq!(end(queue, json!({}), &[]), None);
        assert_eq!(end(json!({"completions": 0}), json!({}), &[]), complete);
        let suspended = json!({"suspend": true});
        assert_eq!(
            end(suspended.clone(), json!({"succeeded": 2}), &[done("a")]),
            complete,
            "what was done before it was suspended counts"
        );
        assert_eq!(end(suspended, json!({"succeeded": 1}), &[done("a")]), None);
    }

    #[test]
    fn an_announced_end_stands_for_a_moment_while_pods_are_going() {
        let status = |condition: &str, age: i64, terminating: i32| {
            let since = now() - SignedDuration::from_secs(age);
            let condition =
                json!({"type": condition, "status": "True", "lastTransitionTime": since.to_string()});
            json!({"terminating": terminating, "conditions": [condition]})
        };
        let left_of = |status: Value| {
            let left = stands(&with_status(job(json!({})), status), now());
            left.map(|left| left.as_secs())
        };
        let left = |condition: &str, age: i64, terminating: i32| left_of(status(condition, age, terminating));
        assert_eq!(left("FailureTarget", 0, 1), Some(3));
        assert_eq!(left("SuccessCriteriaMet", 1, 1), Some(2));
        assert_eq!(left("FailureTarget", 3, 1), None);
        assert_eq!(left("FailureTarget", -5, 1), None);
        assert_eq!(left("FailureTarget", 0, 0), None);
        assert_eq!(left("Suspended", 0, 1), None);
        let mut uncounted = status("FailureTarget", 0, 1);
        uncounted["uncountedTerminatedPods"] = json!({"failed": ["a"]});
        assert_eq!(left_of(uncounted), None, "the pods are counted first");
        let mut active = status("FailureTarget", 0, 1);
        active["active"] = json!(1);
        assert_eq!(left_of(active), None, "who could not be deleted is tried again");
    }

    #[test]
    fn a_job_is_given_up_after_too_many_failures_or_too_long() {
        let one = [failed("a", "main", 1, None)];
        assert_eq!(
            end(json!({"backoffLimit": 0}), json!({}), &one),
            because(JobEnd::Failed, "BackoffLimitExceeded")
        );
        assert_eq!(end(json!({"backoffLimit": 1}), json!({}), &one), None);
        assert_eq!(
            end(json!({"backoffLimit": 1}), json!({"failed": 1}), &one),
            because(JobEnd::Failed, "BackoffLimitExceeded")
        );
        let started = json!({"startTime": (now() - SignedDuration::from_secs(30)).to_string()});
        let deadline = |seconds: i64, suspend: bool| {
            let spec = json!({"activeDeadlineSeconds": seconds, "suspend": suspend});
            end(spec, started.clone(), &[])
        };
        assert_eq!(deadline(30, false), because(JobEnd::Failed, "DeadlineExceeded"));
        assert_eq!((deadline(31, false), deadline(30, true)), (None, None));
    }

    #[test]
    fn indexes_end_a_job_in_their_own_ways() {
        let spec = |more: Value| {
            let mut spec = json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 0,
                "backoffLimit": 100});
            orlop_api::patch::merge(&mut spec, &more);
            spec
        };
        let lost = [indexed("a", 0).failed().build()];
        assert_eq!(
            end(spec(json!({"maxFailedIndexes": 0})), json!({}), &lost),
            because(JobEnd::Failed, "MaxFailedIndexesExceeded")
        );
        assert_eq!(
            end(spec(json!({})), json!({"completedIndexes": "1,2"}), &lost),
            because(JobEnd::Failed, "FailedIndexes")
        );
        assert_eq!(
            end(spec(json!({})), json!({"completedIndexes": "1"}), &lost),
            None
        );
        let policy = json!({"successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}});
        let won = [indexed("a", 1).succeeded().build()];
        assert_eq!(
            end(spec(policy.clone()), json!({}), &won),
            because(JobEnd::Complete, "SuccessPolicy")
        );
        assert_eq!(end(spec(policy), json!({"completedIndexes": "2"}), &[]), None);
    }

    #[test]
    fn what_was_announced_stays() {
        let status = json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy"}],
            "succeeded": 3});
        assert_eq!(
            end(json!({}), status, &[]),
            because(JobEnd::Failed, "PodFailurePolicy")
        );
    }
}
