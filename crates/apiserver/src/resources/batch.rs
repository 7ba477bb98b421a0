//! `batch`: stored and shown.
use super::definition::{Field, Read, Resource, STATUS};
use super::rules::Rules;

pub const CRONJOBS: Resource = Resource::new("batch", "cronjobs", "cronjob", "CronJob")
    .short(&["cj"])
    .in_all()
    .with_subresources(&[STATUS])
    .with_rules(Rules::WITH_GENERATION);

pub const JOBS: Resource = Resource::new("batch", "jobs", "job", "Job")
    .in_all()
    .with_subresources(&[STATUS])
    .with_fields(&[Field {
        name: "status.successful",
        read: Read::Number("/status/succeeded"),
    }])
    .with_rules(Rules::WITH_GENERATION);
