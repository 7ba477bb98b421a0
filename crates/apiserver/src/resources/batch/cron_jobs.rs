//! What is refused of a CronJob.
use super::jobs;
use crate::resources::validation::not_negative;
use crate::status::{Cause, cause};
use jiff::tz::TimeZone;
use serde_json::Value;

/// Bytes of a CronJob's name: the time that its Jobs have at the end of theirs takes eleven more.
const NAME_BYTES_MAX: usize = 52;

/// Whose clock a schedule goes by: a zone that is known.
fn validate_time_zone(zone: &Value) -> Option<Cause> {
    let name = zone.as_str()?;
    let hint = if name.is_empty() {
        "timeZone must be nil or non-empty string".to_owned()
    } else if name.eq_ignore_ascii_case("Local") {
        "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned()
    } else if TimeZone::get(name).is_err() {
        format!("unknown time zone {name}")
    } else {
        return None;
    };
    Some(cause::invalid("spec.timeZone", zone, &hint))
}

/// What is wrong with a CronJob; `old` is what it was.
pub fn validate(job: &Value, old: Option<&Value>) -> Vec<Cause> {
    let (name, spec) = (&job["metadata"]["name"], &job["spec"]);
    let mut causes = Vec::new();
    if old.is_none() && name.as_str().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
        let hint = format!("must be no more than {NAME_BYTES_MAX} characters");
        causes.push(cause::invalid("metadata.name", name, &hint));
    }
    let schedule = spec["schedule"].as_str().unwrap_or_default();
    // One that was there already may stay, from before there was a field for it.
    let had_zone = old
        .and_then(|old| old["spec"]["schedule"].as_str())
        .is_some_and(|old| old.contains("TZ"));
    if schedule.is_empty() {
        causes.push(cause::required("spec.schedule", ""));
    } else if schedule.contains("TZ") && had_zone && !spec["timeZone"].is_null() {
        causes.push(cause::invalid(
            "spec.schedule",
            &spec["schedule"],
            "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        ));
    } else if schedule.contains("TZ") && !had_zone {
        causes.push(cause::invalid(
            "spec.schedule",
            &spec["schedule"],
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ));
    } else if let Err(error) = orlop_api::cron::Schedule::parse_with_zone(schedule) {
        causes.push(cause::invalid(
            "spec.schedule",
            &spec["schedule"],
            &error.to_string(),
        ));
    }
    // One that was known once may stay.
    if old.is_none_or(|old| old["spec"]["timeZone"] != spec["timeZone"]) {
        causes.extend(validate_time_zone(&spec["timeZone"]));
    }
    let policy = spec["concurrencyPolicy"].as_str().unwrap_or_default();
    let policies = ["Allow", "Forbid", "Replace"];
    if !policies.contains(&policy) {
        causes.push(cause::unsupported("spec.concurrencyPolicy", policy, &policies));
    }
    for key in [
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
    ] {
        causes.extend(not_negative(spec, key, &format!("spec.{key}")));
    }
    let of_jobs = jobs::validate_spec(&spec["jobTemplate"]["spec"]);
    causes.extend(of_jobs.into_iter().map(|mut cause| {
        cause.field = cause.field.replacen("spec.", "spec.jobTemplate.spec.", 1);
        cause
    }));
    causes.extend(validate_selection(&spec["jobTemplate"]["spec"]));
    causes
}

/// Each Job has pods of its own.
fn validate_selection(of_jobs: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let path = "spec.jobTemplate.spec";
    if !of_jobs["selector"].is_null() {
        let hint = "`selector` will be auto-generated";
        causes.push(cause::invalid(
            &format!("{path}.selector"),
            &of_jobs["selector"],
            hint,
        ));
    }
    if of_jobs["manualSelector"] == true {
        let message = "Unsupported value: true: supported values: \"nil\", \"false\"";
        let field = format!("{path}.manualSelector");
        causes.push(Cause::new("FieldValueNotSupported", field, message));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::super::defaults;
    use super::super::testing::{fields, job};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schedule_goes_by_a_clock_that_is_known() {
        let cron = |zone: Value| {
            let mut cron =
                json!({"spec": {"schedule": "* * * * *", "timeZone": zone, "jobTemplate": job(json!({}))}});
            defaults::cron_job(&mut cron);
            cron
        };
        for zone in [json!(null), json!("Etc/UTC"), json!("America/New_York")] {
            assert!(validate(&cron(zone.clone()), None).is_empty(), "{zone}");
        }
        for zone in ["", "local", "bad-time-zone"] {
            let cron = cron(json!(zone));
            assert_eq!(fields(&validate(&cron, None)), ["spec.timeZone"], "{zone}");
            assert!(validate(&cron, Some(&cron)).is_empty());
        }
    }

    #[test]
    fn a_schedule_that_names_its_time_zone_may_stay_and_comes_no_more() {
        let cron = |schedule: &str, zone: Value| {
            let mut cron =
                json!({"spec": {"schedule": schedule, "timeZone": zone, "jobTemplate": job(json!({}))}});
            defaults::cron_job(&mut cron);
            cron
        };
        let plain = cron("0 1 * * *", json!(null));
        let stored = cron("TZ=Etc/UTC 0 1 * * *", json!(null));
        for (new, old, may) in [
            (&stored, None, false),
            (&stored, Some(&plain), false),
            (&stored, Some(&stored), true),
            (&plain, Some(&stored), true),
            (
                &cron("TZ=Etc/UTC 0 1 * * *", json!("Etc/UTC")),
                Some(&stored),
                false,
            ),
            (&cron("TZ=Nowhere 0 1 * * *", json!(null)), Some(&stored), false),
        ] {
            let causes = validate(new, old);
            let want: &[&str] = if may { &[] } else { &["spec.schedule"] };
            assert_eq!(fields(&causes), want, "{new} after {old:?}");
        }
    }

    #[test]
    fn jobs_of_a_schedule_have_names_and_pods_of_their_own() {
        let cron = |name: &str, of_jobs: Value| {
            let mut cron = json!({"metadata": {"name": name}, "spec": {"schedule": "* * * * *", "jobTemplate": job(of_jobs)}});
            defaults::cron_job(&mut cron);
            cron
        };
        let (longest, too_long) = ("a".repeat(52), "a".repeat(53));
        assert!(validate(&cron(&longest, json!({})), None).is_empty());
        let named = cron(&too_long, json!({}));
        assert_eq!(fields(&validate(&named, None)), ["metadata.name"]);
        assert!(validate(&named, Some(&named)).is_empty(), "it is stored");
        let selects = json!({"selector": {"matchLabels": {"a": "b"}}, "manualSelector": true});
        assert_eq!(
            fields(&validate(&cron("c", selects), None)),
            [
                "spec.jobTemplate.spec.selector",
                "spec.jobTemplate.spec.manualSelector"
            ]
        );
    }
}
