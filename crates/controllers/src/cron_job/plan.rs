//! What became of a CronJob's Jobs, and whether it is time for another.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Zoned};
use k8s_openapi::api::batch::v1::{CronJobStatus, Job as ApiJob};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use orlop_client::events::EventType;

use super::missed::{self, MISSED_MAX};
use super::timetable::Timetable;
use crate::cache::{CronJobView, Job, JobEnd};

/// The annotation with the time that a Job is for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// How bad it is.
    pub event_type: EventType,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

impl News {
    fn normal(reason: &'static str, message: String) -> Self {
        Self {
            event_type: EventType::Normal,
            reason,
            message,
        }
    }

    pub(super) fn warning(reason: &'static str, message: String) -> Self {
        Self {
            event_type: EventType::Warning,
            reason,
            message,
        }
    }
}

/// Updates the list of active Jobs after what became of `jobs`, all owned. Those that are on the
/// list and not among `jobs` are returned: maybe they are gone.
pub fn follow(status: &mut CronJobStatus, jobs: &[Job], news: &mut Vec<News>) -> Vec<String> {
    let mut active = status.active.take().unwrap_or_default();
    for job in jobs {
        let name = &job.key.name;
        let listed = active.iter().any(|entry| entry.uid.as_deref() == Some(&*job.uid));
        match job.end() {
            None if !listed => news.push(News::warning(
                "UnexpectedJob",
                format!("Saw a job that the controller did not create or forgot: {name}"),
            )),
            None => {}
            Some((end, _)) => {
                if listed {
                    active.retain(|entry| entry.uid.as_deref() != Some(&*job.uid));
                    let condition = match end {
                        JobEnd::Complete => "Complete",
                        JobEnd::Failed => "Failed",
                    };
                    news.push(News::normal(
                        "SawCompletedJob",
                        format!("Saw completed job: {name}, condition: {condition}"),
                    ));
                }
                if end == JobEnd::Complete {
                    let completed = job.status.completion_time.clone();
                    if completed > status.last_successful_time {
                        status.last_successful_time = completed;
                    }
                }
            }
        }
    }
    let missing = active
        .iter()
        .filter(|entry| !jobs.iter().any(|job| entry.uid.as_deref() == Some(&*job.uid)))
        .filter_map(|entry| entry.name.clone())
        .collect();
    status.active = (!active.is_empty()).then_some(active);
    missing
}

/// Takes a Job off the list.
pub fn take_off(status: &mut CronJobStatus, name: &str) {
    let mut active = status.active.take().unwrap_or_default();
    active.retain(|entry| entry.name.as_deref() != Some(name));
    status.active = (!active.is_empty()).then_some(active);
}

/// Takes a Job that is gone off the list.
pub fn drop_missing(status: &mut CronJobStatus, name: &str, news: &mut Vec<News>) {
    take_off(status, name);
    news.push(News::normal(
        "MissingJob",
        format!("Active job went missing: {name}"),
    ));
}

/// The ended Jobs beyond the history limits, oldest first.
pub fn surplus(cron: &CronJobView, jobs: &[Job]) -> Vec<Job> {
    let of = |end: JobEnd, limit: Option<i32>| {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
            return Vec::new();
        };
        let mut ended: Vec<Job> = jobs
            .iter()
            .filter(|job| job.end().is_some_and(|(how, _)| how == end))
            .cloned()
            .collect();
        ended.sort_by(|a, b| {
            let started = |job: &Job| job.status.start_time.as_ref().map(|time| time.0);
            // Those that never started come last.
            (started(a).is_none(), started(a), &a.key.name).cmp(&(
                started(b).is_none(),
                started(b),
                &b.key.name,
            ))
        });
        ended.truncate(ended.len().saturating_sub(limit));
        ended
    };
    let mut surplus = of(JobEnd::Complete, cron.spec.successful_jobs_history_limit);
    surplus.extend(of(JobEnd::Failed, cron.spec.failed_jobs_history_limit));
    surplus
}

/// What to do now, and when to look again.
#[derive(Debug, Default)]
pub struct Due {
    /// The time for which a Job is to be created.
    pub start: Option<Zoned>,
    /// Whether the active Jobs go first.
    pub replace: bool,
    /// When the next time comes.
    pub wait: Option<Duration>,
    /// What there is to tell.
    pub news: Vec<News>,
}

/// Whether it is time, when `status` is up to date.
pub fn due(cron: &CronJobView, status: &CronJobStatus, now: Timestamp) -> Due {
    let mut due = Due::default();
    if cron.metadata.deletion_timestamp.is_some() {
        return due;
    }
    let Some(times) = Timetable::of(&cron.spec, &mut due.news) else {
        return due;
    };
    let zoned_now = times.at(now);
    let deadline = cron.spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    let last = status.last_schedule_time.as_ref().map(|time| time.0);
    let created = cron.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mut since = last.or(created).unwrap_or(now);
    due.wait = times.wait(since, now);
    if due.wait.is_none() {
        due.news.push(News::warning(
            "InvalidSchedule",
            format!("invalid schedule: {} : no time matches it", cron.spec.schedule),
        ));
        return due;
    }
    if let Some(deadline) = deadline {
        since = since.max(now.checked_sub(deadline).unwrap_or(since));
    }
    let Some(missed) = missed::last(&times.schedule, &times.at(since), &zoned_now) else {
        return due;
    };
    if missed.count > MISSED_MAX {
        due.news.push(News::warning(
            "TooManyMissedTimes",
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
                .to_owned(),
        ));
    }
    let time = missed.last;
    let too_late = deadline.is_some_and(|deadline| {
        time.timestamp()
            .checked_add(deadline)
            .is_ok_and(|latest| latest < now)
    });
    if too_late {
        due.news.push(News::warning(
            "MissSchedule",
            format!(
                "Missed scheduled time to start a job: {}",
                time.strftime("%a, %d %b %Y %H:%M:%S %z")
            ),
        ));
        return due;
    }
    let active = status.active.as_deref().unwrap_or_default();
    let name = job_name(cron, &time);
    let started = active.iter().any(|entry| entry.name.as_ref() == Some(&name));
    if started || last == Some(time.timestamp()) {
        return due;
    }
    match cron.spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            due.news.push(News::normal(
                "JobAlreadyActive",
                "Not starting job because prior execution is running and concurrency policy is Forbid"
                    .to_owned(),
            ));
            return due;
        }
        Some("Replace") => due.replace = true,
        _ => {}
    }
    due.start = Some(time);
    due
}

/// The name of the Job for that time: creating it twice fails.
fn job_name(cron: &CronJobView, time: &Zoned) -> String {
    let name = cron.metadata.name.as_deref().unwrap_or_default();
    format!("{name}-{}", time.timestamp().as_second() / 60)
}

/// The Job for that time.
pub fn job(cron: &CronJobView, time: &Zoned) -> ApiJob {
    let template = cron.spec.job_template.clone();
    let from = template.metadata.unwrap_or_default();
    let mut annotations = from.annotations.unwrap_or_default();
    annotations.insert(
        SCHEDULED.to_owned(),
        time.strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string()
            .replace("+00:00", "Z"),
    );
    ApiJob {
        metadata: ObjectMeta {
            name: Some(job_name(cron, time)),
            namespace: cron.metadata.namespace.clone(),
            labels: from.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![cron.owner_reference()]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// The moment as the status has it.
pub fn status_time(time: &Zoned) -> Time {
    Time(time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::JobView;
    use jiff::tz::TimeZone;
    use orlop_client::informer::{Cached, ObjectKey, Projection};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron(spec: Value, status: Value) -> CronJobView {
        let mut cron = json!({
            "metadata": {"name": "c", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"schedule": "0 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 1, "jobTemplate": {"metadata": {"labels": {"a": "b"}},
                "spec": {"template": {}}}},
            "status": status,
        });
        orlop_api::patch::merge(&mut cron["spec"], &spec);
        CronJobView::project(serde_json::from_value(cron).unwrap())
    }

    fn outcome(spec: Value, status: Value, now: &str) -> String {
        let cron = cron(spec, status);
        let due = due(&cron, &cron.status, at(now));
        let start = due
            .start
            .map_or("-".to_owned(), |time| time.timestamp().to_string());
        let news: Vec<&str> = due.news.iter().map(|news| news.reason).collect();
        format!("{start} {}", news.join(",")).trim().to_owned()
    }

    #[test]
    fn a_job_is_due_once_at_each_time() {
        let never = json!({});
        assert_eq!(outcome(json!({}), never.clone(), "2026-01-01T00:30:00Z"), "-");
        assert_eq!(
            outcome(json!({}), never.clone(), "2026-01-01T01:00:00Z"),
            "2026-01-01T01:00:00Z"
        );
        assert_eq!(
            outcome(json!({}), never, "2026-01-01T05:10:00Z"),
            "2026-01-01T05:00:00Z",
            "only the last one that was missed"
        );
        let done = json!({"lastScheduleTime": "2026-01-01T01:00:00Z"});
        assert_eq!(outcome(json!({}), done, "2026-01-01T01:00:30Z"), "-");
    }

    #[test]
    fn what_keeps_a_job_from_starting_is_told() {
        let now = "2026-01-01T01:10:00Z";
        let running = json!({"active": [{"name": "c-1", "uid": "1"}]});
        for (spec, status, want) in [
            (json!({"suspend": true}), json!({}), "-"),
            (json!({"schedule": "x"}), json!({}), "- UnparseableSchedule"),
            (json!({"timeZone": "Nowhere"}), json!({}), "- UnknownTimeZone"),
            (
                json!({"schedule": "59 23 31 2 *"}),
                json!({}),
                "- InvalidSchedule",
            ),
            (
                json!({"schedule": "TZ=Asia/Kolkata 0 6 * * *", "timeZone": "Europe/Rome"}),
                json!({}),
                "2026-01-01T00:30:00Z UnsupportedSchedule",
            ),
            (
                json!({"schedule": "TZ=Nowhere 0 6 * * *"}),
                json!({}),
                "- UnsupportedSchedule,UnparseableSchedule",
            ),
            (json!({"startingDeadlineSeconds": 60}), json!({}), "-"),
            (
                json!({"concurrencyPolicy": "Forbid"}),
                running.clone(),
                "- JobAlreadyActive",
            ),
            (
                json!({"concurrencyPolicy": "Forbid"}),
                json!({}),
                "2026-01-01T01:00:00Z",
            ),
            (json!({}), running, "2026-01-01T01:00:00Z"),
            (
                json!({"timeZone": "Asia/Kolkata", "schedule": "0 6 * * *"}),
                json!({}),
                "2026-01-01T00:30:00Z",
            ),
        ] {
            assert_eq!(outcome(spec.clone(), status, now), want, "{spec}");
        }
        assert_eq!(
            outcome(
                json!({"schedule": "* * * * *"}),
                json!({}),
                "2026-01-02T00:00:00Z"
            ),
            "2026-01-02T00:00:00Z TooManyMissedTimes"
        );
    }

    #[test]
    fn the_next_time_is_slept_until() {
        let cron = cron(json!({}), json!({}));
        let wait = due(&cron, &cron.status, at("2026-01-01T00:30:00Z")).wait;
        assert_eq!(wait, Some(Duration::from_millis(1_800_100)));
    }

    #[test]
    fn a_job_is_named_after_its_time() {
        let time = at("2026-01-01T01:00:00Z").to_zoned(TimeZone::UTC);
        let job = serde_json::to_value(job(&cron(json!({}), json!({})), &time)).unwrap();
        assert_eq!(job["metadata"]["name"], "c-29453820");
        assert_eq!(job["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(
            job["metadata"]["annotations"],
            json!({SCHEDULED: "2026-01-01T01:00:00Z"})
        );
    }

    fn ended(name: &str, condition: &str, started: &str) -> Job {
        let job = json!({"metadata": {"name": name, "uid": name}, "spec": {"template": {}}, "status": {
            "startTime": started, "completionTime": started, "conditions": [{"type": condition, "status": "True"}]}});
        Arc::new(Cached {
            key: ObjectKey::new("ns", name),
            uid: name.into(),
            resource_version: 1,
            object: JobView::project(serde_json::from_value(job).unwrap()),
        })
    }

    #[test]
    fn ended_jobs_leave_the_list_and_the_oldest_are_deleted() {
        let cron = cron(
            json!({}),
            json!({"active": [{"name": "a", "uid": "a"}, {"name": "gone", "uid": "gone"}]}),
        );
        let jobs = [
            ended("a", "Complete", "2026-01-01T01:00:00Z"),
            ended("b", "Failed", "2026-01-01T02:00:00Z"),
            ended("c", "Complete", "2026-01-01T03:00:00Z"),
        ];
        let mut status = cron.status.clone();
        let mut news = Vec::new();
        let missing = follow(&mut status, &jobs, &mut news);
        assert_eq!(missing, ["gone"]);
        assert_eq!(news[0].message, "Saw completed job: a, condition: Complete");
        assert_eq!(
            status.last_successful_time,
            Some(Time(at("2026-01-01T03:00:00Z")))
        );
        drop_missing(&mut status, "gone", &mut news);
        assert_eq!(status.active, None);
        let surplus: Vec<String> = surplus(&cron, &jobs)
            .iter()
            .map(|job| job.key.name.to_string())
            .collect();
        assert_eq!(surplus, ["a"]);
    }

    #[test]
    fn of_ended_jobs_one_that_never_started_is_the_youngest() {
        let cron = cron(json!({}), json!({}));
        let unstarted = json!({"metadata": {"name": "a", "uid": "a"}, "spec": {"template": {}}, "status": {
            "conditions": [{"type": "Failed", "status": "True"}]}});
        let unstarted = Arc::new(Cached {
            key: ObjectKey::new("ns", "a"),
            uid: "a".into(),
            resource_version: 1,
            object: JobView::project(serde_json::from_value(unstarted).unwrap()),
        });
        let jobs = [unstarted, ended("b", "Failed", "2026-01-01T02:00:00Z")];
        let surplus = surplus(&cron, &jobs);
        assert_eq!(surplus.len(), 1);
        assert_eq!(&*surplus[0].key.name, "b");
    }
}
