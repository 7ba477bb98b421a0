//! `batch` (contract §18).
mod policies;

use super::definition::{Field, Read, Resource, STATUS};
use super::meaning::{fill, items};
use super::rules::Rules;
use super::validation::{self, not_negative};
use crate::status::{Cause, cause};
use jiff::tz::TimeZone;
use orlop_api::{conditions, defaults};
use serde_json::{Value, json};

const POLICIES: &[&str] = &["OnFailure", "Never"];
const MODES: [&str; 2] = ["NonIndexed", "Indexed"];
const REPLACEMENTS: [&str; 2] = ["Failed", "TerminatingOrFailed"];
/// Pods that a Job with indexes may have at once.
const INDEXES_AT_ONCE_MAX: i64 = 100_000;

pub const CRONJOBS: Resource = Resource::new("batch", "cronjobs", "cronjob", "CronJob")
    .short(&["cj"])
    .in_all()
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        default: default_cron_job,
        prepare_create: |job| job["status"] = json!({}),
        validate_create: |job| validate_cron_job(job, None),
        validate_update: |new, old| validate_cron_job(new, Some(old)),
        warnings: |job| {
            let path = "spec.jobTemplate.spec.template";
            validation::template_warnings(&job["spec"]["jobTemplate"]["spec"]["template"], path)
        },
        ..Rules::WITH_GENERATION
    });

pub const JOBS: Resource = Resource::new("batch", "jobs", "job", "Job")
    .in_all()
    .with_subresources(&[STATUS])
    .with_fields(&[Field {
        name: "status.successful",
        read: Read::Number("/status/succeeded"),
    }])
    .with_rules(Rules {
        leaves_dependents: true,
        leaving_warning: "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                          remove them or set propagationPolicy=Orphan to suppress this warning",
        default: default_job,
        prepare_create: |job| job["status"] = json!({}),
        validate_create: validate_job,
        validate_update: validate_job_update,
        warnings: |job| validation::template_warnings(&job["spec"]["template"], "spec.template"),
        ..Rules::WITH_GENERATION
    });

fn default_cron_job(job: &mut Value) {
    let spec = &mut job["spec"];
    fill(spec, "concurrencyPolicy", || json!("Allow"));
    fill(spec, "suspend", || json!(false));
    fill(spec, "successfulJobsHistoryLimit", || json!(3));
    fill(spec, "failedJobsHistoryLimit", || json!(1));
    let job = &mut spec["jobTemplate"]["spec"];
    default_failure_policy(job);
    defaults::pod_template(&mut job["template"]);
}

/// A rule on a condition is about pods of which it is true, if it doesn't say otherwise.
fn default_failure_policy(job: &mut Value) {
    let rules = job.pointer_mut("/podFailurePolicy/rules");
    for rule in rules.into_iter().flat_map(items) {
        let conditions = rule.get_mut("onPodConditions");
        for condition in conditions.into_iter().flat_map(items) {
            if condition["status"].as_str().unwrap_or_default().is_empty() {
                condition["status"] = json!("True");
            }
        }
    }
}

fn default_job(job: &mut Value) {
    let spec = &mut job["spec"];
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        fill(spec, "completions", || json!(1));
    }
    fill(spec, "parallelism", || json!(1));
    // Where indexes have limits of their own, the Job as a whole has none.
    let limit = match spec["backoffLimitPerIndex"].is_null() {
        true => 6,
        false => i32::MAX,
    };
    fill(spec, "backoffLimit", || json!(limit));
    fill(spec, "completionMode", || json!("NonIndexed"));
    fill(spec, "suspend", || json!(false));
    let replacement = match spec["podFailurePolicy"].is_object() {
        true => "Failed",
        false => "TerminatingOrFailed",
    };
    fill(spec, "podReplacementPolicy", || json!(replacement));
    default_failure_policy(spec);
    defaults::pod_template(&mut spec["template"]);
    own_pods(job);
}

/// Once a job has its identity, its pods are told from all others by it.
fn own_pods(job: &mut Value) {
    let text = |key: &str| job["metadata"][key].as_str().unwrap_or_default().to_owned();
    let (uid, name) = (text("uid"), text("name"));
    let spec = &mut job["spec"];
    if uid.is_empty() || spec["manualSelector"] == true || spec["selector"].is_object() {
        return;
    }
    spec["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        spec["template"]["metadata"]["labels"][key] = json!(value);
    }
}

fn validate_job(job: &Value) -> Vec<Cause> {
    validate_job_spec(&job["spec"])
}

/// The same of a Job that is yet to be made from `spec`.
fn validate_job_spec(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        causes.extend(not_negative(spec, key, &format!("spec.{key}")));
    }
    causes.extend(validate_modes(spec));
    causes.extend(policies::validate(spec));
    causes.extend(validate_template(&spec["template"]));
    causes
}

/// What asks for indexes has them, and what judges failures sees each of them.
fn validate_modes(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let is_given = |key: &str| !spec[key].is_null();
    for (key, known) in [("completionMode", MODES), ("podReplacementPolicy", REPLACEMENTS)] {
        let is_known = spec[key].as_str().is_none_or(|word| known.contains(&word));
        // Beside a podFailurePolicy there is another word about it.
        if !(is_known || key == "podReplacementPolicy" && is_given("podFailurePolicy")) {
            let word = spec[key].as_str().unwrap_or_default();
            causes.push(cause::unsupported(&format!("spec.{key}"), word, &known));
        }
    }
    if spec["completionMode"] == "Indexed" {
        if !is_given("completions") {
            causes.push(cause::required(
                "spec.completions",
                "when completion mode is Indexed",
            ));
        }
        if spec["parallelism"].as_i64().unwrap_or_default() > INDEXES_AT_ONCE_MAX {
            let hint = format!(
                "must be less than or equal to {INDEXES_AT_ONCE_MAX} when completion mode is Indexed"
            );
            causes.push(cause::invalid("spec.parallelism", &spec["parallelism"], &hint));
        }
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            if is_given(key) {
                let hint = "requires indexed completion mode";
                causes.push(cause::invalid(&format!("spec.{key}"), &spec[key], hint));
            }
        }
    }
    if is_given("maxFailedIndexes") && !is_given("backoffLimitPerIndex") {
        causes.push(cause::required(
            "spec.backoffLimitPerIndex",
            "when maxFailedIndexes is specified",
        ));
    }
    if is_given("podFailurePolicy") {
        let restart = &spec["template"]["spec"]["restartPolicy"];
        if restart != "Never" {
            let hint = "only \"Never\" is supported when podFailurePolicy is specified";
            causes.push(cause::invalid("spec.template.spec.restartPolicy", restart, hint));
        }
        let replacement = spec["podReplacementPolicy"].as_str().unwrap_or("Failed");
        if replacement != "Failed" {
            causes.push(cause::unsupported(
                "spec.podReplacementPolicy",
                replacement,
                &["Failed"],
            ));
        }
    }
    causes
}

fn validate_template(template: &Value) -> Vec<Cause> {
    let mut causes = validation::template(template, POLICIES);
    let field = "spec.template.spec.restartPolicy";
    if template["spec"]["restartPolicy"] == "Always" {
        causes.retain(|c| c.field != field);
        causes.push(cause::required(field, "valid values: \"OnFailure\", \"Never\""));
    }
    causes
}

/// Whether nothing of a job runs that its template could still be about.
fn is_at_rest(job: &Value) -> bool {
    let status = &job["status"];
    let active = status["active"].as_i64().unwrap_or_default();
    let is_told = conditions::is_true(job, "Suspended");
    job["spec"]["suspend"] == true && active == 0 && (status["startTime"].is_null() || is_told)
}

/// What of a template doesn't change while the job is at rest: all but where its pods may run and what they need.
fn frozen_part(template: &Value) -> Value {
    let mut template = template.clone();
    let remove = |value: &mut Value, keys: &[&str]| {
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, _| !keys.contains(&key.as_str()));
        }
    };
    remove(&mut template["metadata"], &["annotations", "labels"]);
    let spec = &mut template["spec"];
    remove(spec, &["nodeSelector", "tolerations", "schedulingGates"]);
    remove(&mut spec["affinity"], &["nodeAffinity"]);
    // What has nothing left in it may not have been there.
    if spec["affinity"].as_object().is_none_or(serde_json::Map::is_empty) {
        remove(spec, &["affinity"]);
    }
    for key in ["containers", "initContainers"] {
        for container in spec.get_mut(key).into_iter().flat_map(items) {
            remove(container, &["resources"]);
        }
    }
    if template["metadata"]
        .as_object()
        .is_none_or(serde_json::Map::is_empty)
    {
        remove(&mut template, &["metadata"]);
    }
    template
}

/// A job keeps what its pods are; while it is suspended, where they may run can still change.
fn validate_job_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate_job(new);
    let indexed = old["spec"]["completionMode"] == "Indexed";
    for key in [
        "completions",
        "selector",
        "template",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "successPolicy",
        "managedBy",
    ] {
        let (was, is) = (&old["spec"][key], &new["spec"][key]);
        if is == was {
            continue;
        }
        let hint = match key {
            "completions" if indexed && *is == new["spec"]["parallelism"] => continue,
            "completions" if indexed => "can only be modified in tandem with spec.parallelism",
            "template" if is_at_rest(old) && frozen_part(is) == frozen_part(was) => continue,
            _ => "field is immutable",
        };
        causes.push(cause::invalid(&format!("spec.{key}"), is, hint));
    }
    causes
}

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

fn validate_cron_job(job: &Value, old: Option<&Value>) -> Vec<Cause> {
    let spec = &job["spec"];
    let mut causes = Vec::new();
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
    let of_jobs = validate_job_spec(&spec["jobTemplate"]["spec"]);
    causes.extend(of_jobs.into_iter().map(|mut cause| {
        cause.field = cause.field.replacen("spec.", "spec.jobTemplate.spec.", 1);
        cause
    }));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(spec: Value) -> Value {
        let mut job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}});
        orlop_api::patch::merge(&mut job["spec"], &spec);
        default_job(&mut job);
        job
    }

    fn fields(causes: &[Cause]) -> Vec<&str> {
        causes.iter().map(|cause| cause.field.as_str()).collect()
    }

    #[test]
    fn a_rule_on_a_condition_is_about_its_being_true() {
        let rules = json!([
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}, {"type": "b", "status": ""}]},
            {"action": "FailJob", "onPodConditions": [{"type": "c", "status": "False"}]}]);
        let statuses = |job: &Value| -> Vec<Value> {
            let rules = job["podFailurePolicy"]["rules"].as_array().unwrap();
            rules
                .iter()
                .flat_map(|rule| rule["onPodConditions"].as_array().unwrap())
                .map(|condition| condition["status"].clone())
                .collect()
        };
        let job = job(json!({"podFailurePolicy": {"rules": rules}}));
        assert_eq!(statuses(&job["spec"]), ["True", "True", "False"]);
        let mut cron = json!({"spec": {"jobTemplate": {"spec": {"podFailurePolicy": {"rules": rules}}}}});
        default_cron_job(&mut cron);
        assert_eq!(
            statuses(&cron["spec"]["jobTemplate"]["spec"]),
            ["True", "True", "False"]
        );
    }

    #[test]
    fn what_needs_indexes_asks_for_them() {
        assert!(validate_job(&job(json!({}))).is_empty());
        for (spec, want) in [
            (
                json!({"completionMode": "Indexed", "parallelism": 2}),
                "spec.completions",
            ),
            (json!({"backoffLimitPerIndex": 1}), "spec.backoffLimitPerIndex"),
            (json!({"successPolicy": {"rules": []}}), "spec.successPolicy"),
            (json!({"completionMode": "indexed"}), "spec.completionMode"),
            (
                json!({"podReplacementPolicy": "Never"}),
                "spec.podReplacementPolicy",
            ),
            (
                json!({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}),
                "spec.podFailurePolicy.rules[0]",
            ),
            (
                json!({"completionMode": "Indexed", "completions": 2, "maxFailedIndexes": 1}),
                "spec.backoffLimitPerIndex",
            ),
            (
                json!({"podFailurePolicy": {"rules": []}, "podReplacementPolicy": "TerminatingOrFailed"}),
                "spec.podReplacementPolicy",
            ),
            (
                json!({"podFailurePolicy": {"rules": []}, "template": {"spec": {"restartPolicy": "OnFailure"}}}),
                "spec.template.spec.restartPolicy",
            ),
        ] {
            assert_eq!(fields(&validate_job(&job(spec.clone()))), [want], "{spec}");
        }
    }

    #[test]
    fn only_a_job_with_indexes_changes_how_many_completions_it_wants() {
        let of = |mode: &str, number: i64| {
            job(json!({"completionMode": mode, "completions": number, "parallelism": number}))
        };
        assert!(validate_job_update(&of("Indexed", 3), &of("Indexed", 2)).is_empty());
        let causes = validate_job_update(&of("NonIndexed", 3), &of("NonIndexed", 2));
        assert_eq!(fields(&causes), ["spec.completions"]);
        let managed = job(json!({"managedBy": "example.com/others"}));
        assert_eq!(
            fields(&validate_job_update(&managed, &job(json!({})))),
            ["spec.managedBy"]
        );
    }

    #[test]
    fn a_job_at_rest_may_be_told_where_its_pods_go_and_what_they_need() {
        let with = |template: Value, status: Value, suspend: bool| {
            let mut job = job(json!({"suspend": suspend, "template": template}));
            job["status"] = status;
            job
        };
        let bare = || json!({});
        let elsewhere = || {
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": {"zone": "a"},
                "affinity": {"nodeAffinity": {}}, "schedulingGates": [{"name": "g"}],
                "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]}})
        };
        let another = || json!({"spec": {"containers": [{"name": "c", "image": "other"}]}});
        let told = json!({"startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Suspended", "status": "True"}]});
        let started = json!({"startTime": "2026-01-01T00:00:00Z"});
        let mut active = told.clone();
        active["active"] = json!(1);
        for (template, status, suspend, may) in [
            (elsewhere(), json!({}), true, true),
            (elsewhere(), told, true, true),
            (elsewhere(), started, true, false),
            (elsewhere(), active, true, false),
            (elsewhere(), json!({}), false, false),
            (another(), json!({}), true, false),
        ] {
            let old = with(bare(), status.clone(), suspend);
            let causes = validate_job_update(&with(template, status.clone(), suspend), &old);
            assert_eq!(causes.is_empty(), may, "{status} {suspend}");
        }
    }

    #[test]
    fn a_schedule_goes_by_a_clock_that_is_known() {
        let cron = |zone: Value| {
            let mut cron =
                json!({"spec": {"schedule": "* * * * *", "timeZone": zone, "jobTemplate": job(json!({}))}});
            default_cron_job(&mut cron);
            cron
        };
        for zone in [json!(null), json!("Etc/UTC"), json!("America/New_York")] {
            assert!(validate_cron_job(&cron(zone.clone()), None).is_empty(), "{zone}");
        }
        for zone in ["", "local", "bad-time-zone"] {
            let cron = cron(json!(zone));
            assert_eq!(
                fields(&validate_cron_job(&cron, None)),
                ["spec.timeZone"],
                "{zone}"
            );
            assert!(validate_cron_job(&cron, Some(&cron)).is_empty());
        }
    }

    #[test]
    fn a_schedule_that_names_its_time_zone_may_stay_and_comes_no_more() {
        let cron = |schedule: &str, zone: Value| {
            let mut cron =
                json!({"spec": {"schedule": schedule, "timeZone": zone, "jobTemplate": job(json!({}))}});
            default_cron_job(&mut cron);
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
            let causes = validate_cron_job(new, old);
            let want: &[&str] = if may { &[] } else { &["spec.schedule"] };
            assert_eq!(fields(&causes), want, "{new} after {old:?}");
        }
    }
}
