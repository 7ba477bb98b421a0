//! `batch` (contract §18).
mod changes;
mod cron_jobs;
mod defaults;
mod indexes;
mod jobs;
mod policies;
mod progress;
#[cfg(test)]
mod testing;

use super::definition::{Field, Read, Resource, STATUS};
use super::rules::Rules;
use super::validation;
use serde_json::json;

pub const CRONJOBS: Resource = Resource::new("batch", "cronjobs", "cronjob", "CronJob")
    .short(&["cj"])
    .in_all()
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        default: defaults::cron_job,
        prepare_create: |job| job["status"] = json!({}),
        validate_create: |job| cron_jobs::validate(job, None),
        validate_update: |new, old| cron_jobs::validate(new, Some(old)),
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
        default: defaults::job,
        prepare_create: |job| job["status"] = json!({}),
        validate_create: jobs::validate,
        validate_update: changes::validate,
        validate_status: progress::validate,
        warnings: |job| validation::template_warnings(&job["spec"]["template"], "spec.template"),
        ..Rules::WITH_GENERATION
    });
