//! Work that ends.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{NONE, age, containers, count, name, number, or, selector, text, time, truth};
use super::{AGE, Column, NAME, TableSpec, boolean, integer, string};
use crate::age;
use crate::conditions::is_true;

const CONTAINERS: Column = string("Containers", "Containers of the template.").wide();
const IMAGES: Column = string("Images", "Images of the template.").wide();
const SELECTOR: Column = string("Selector", "Which pods belong to it.").wide();

pub(super) static JOBS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Status", "How far it is."),
        string("Completions", "Pods that succeeded, of all that should."),
        string("Duration", "How long it has taken."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    |job, now| {
        let (names, images) = containers(job, "/spec/template/spec/containers");
        vec![
            name(job),
            job_status(job).into(),
            completions(job).into(),
            duration(job, now).into(),
            age(job, now),
            names.into(),
            images.into(),
            selector(job, "/spec/selector").into(),
        ]
    },
);

fn job_status(job: &Value) -> &'static str {
    for (condition, status) in [("Complete", "Complete"), ("Failed", "Failed")] {
        if is_true(job, condition) {
            return status;
        }
    }
    if !text(job, "/metadata/deletionTimestamp").is_empty() {
        return "Terminating";
    }
    for condition in ["Suspended", "FailureTarget", "SuccessCriteriaMet"] {
        if is_true(job, condition) {
            return condition;
        }
    }
    "Running"
}

fn completions(job: &Value) -> String {
    let succeeded = number(job, "/status/succeeded");
    let of = |path: &str| job.pointer(path).and_then(Value::as_i64);
    match (
        of("/spec/completions"),
        of("/spec/parallelism").unwrap_or_default(),
    ) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

/// Of what ended, from start to end; of what runs, until now.
fn duration(job: &Value, now: Timestamp) -> String {
    match time(job, "/status/startTime") {
        None => String::new(),
        Some(start) => {
            let end = time(job, "/status/completionTime").unwrap_or(now);
            age::since(Some(start), end)
        }
    }
}

pub(super) static CRON_JOBS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Schedule", "When it runs."),
        string("Timezone", "Whose clock that is."),
        boolean("Suspend", "Whether it is held back."),
        integer("Active", "Jobs that run now."),
        string("Last Schedule", "Time since the last run was due."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    |cron, now| {
        let (names, images) = containers(cron, "/spec/jobTemplate/spec/template/spec/containers");
        let last = time(cron, "/status/lastScheduleTime");
        vec![
            name(cron),
            text(cron, "/spec/schedule").into(),
            or(text(cron, "/spec/timeZone"), NONE).into(),
            // As upstream prints it: a word.
            if truth(cron, "/spec/suspend") {
                "True"
            } else {
                "False"
            }
            .into(),
            count(cron, "/status/active").into(),
            last.map_or_else(|| NONE.to_owned(), |last| age::since(Some(last), now))
                .into(),
            age(cron, now),
            names.into(),
            images.into(),
            selector(cron, "/spec/jobTemplate/spec/selector").into(),
        ]
    },
);
