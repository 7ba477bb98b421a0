//! `batch` (contract §18).
use super::definition::{Field, Read, Resource, STATUS};
use super::meaning::{fill, template};
use super::rules::Rules;
use super::validation::{self, not_negative};
use crate::status::{Cause, cause};
use serde_json::{Value, json};

const POLICIES: &[&str] = &["OnFailure", "Never"];

pub const CRONJOBS: Resource = Resource::new("batch", "cronjobs", "cronjob", "CronJob")
    .short(&["cj"])
    .in_all()
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        default: default_cron_job,
        prepare_create: |job| job["status"] = json!({}),
        validate_create: validate_cron_job,
        validate_update: |new, _| validate_cron_job(new),
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
    template(&mut spec["jobTemplate"]["spec"]["template"]);
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
    template(&mut spec["template"]);
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
    let spec = &job["spec"];
    let mut causes = Vec::new();
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        causes.extend(not_negative(spec, key, &format!("spec.{key}")));
    }
    causes.extend(validate_template(&spec["template"]));
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

/// A job keeps what its pods are; while it is suspended, where they may run can still change.
fn validate_job_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate_job(new);
    let suspended = old["spec"]["suspend"] == true;
    for key in ["completions", "selector", "template", "completionMode"] {
        let elastic = key == "completions" && new["spec"]["completions"] == new["spec"]["parallelism"];
        let movable = key == "template" && suspended;
        if new["spec"][key] != old["spec"][key] && !elastic && !movable {
            causes.push(cause::invalid(
                &format!("spec.{key}"),
                &new["spec"][key],
                "field is immutable",
            ));
        }
    }
    causes
}

fn validate_cron_job(job: &Value) -> Vec<Cause> {
    let spec = &job["spec"];
    let mut causes = Vec::new();
    let schedule = spec["schedule"].as_str().unwrap_or_default();
    if schedule.is_empty() {
        causes.push(cause::required("spec.schedule", ""));
    } else if schedule.contains("TZ") {
        causes.push(cause::invalid(
            "spec.schedule",
            &spec["schedule"],
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ));
    } else if let Err(error) = orlop_api::cron::Schedule::parse(schedule) {
        causes.push(cause::invalid(
            "spec.schedule",
            &spec["schedule"],
            &error.to_string(),
        ));
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
    let template = validate_template(&spec["jobTemplate"]["spec"]["template"]);
    causes.extend(template.into_iter().map(|mut cause| {
        cause.field = cause
            .field
            .replacen("spec.template", "spec.jobTemplate.spec.template", 1);
        cause
    }));
    causes
}
