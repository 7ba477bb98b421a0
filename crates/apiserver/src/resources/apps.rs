//! Workload kinds of `apps` other than DaemonSet: stored and shown.
use super::definition::{Resource, SCALE, STATUS};
use super::rules::Rules;

pub const DEPLOYMENTS: Resource = Resource::new("apps", "deployments", "deployment", "Deployment")
    .short(&["deploy"])
    .in_all()
    .with_subresources(&[SCALE, STATUS])
    .with_rules(Rules::WITH_GENERATION);

pub const REPLICASETS: Resource = Resource::new("apps", "replicasets", "replicaset", "ReplicaSet")
    .short(&["rs"])
    .in_all()
    .with_subresources(&[SCALE, STATUS])
    .with_rules(Rules::WITH_GENERATION);

pub const STATEFULSETS: Resource = Resource::new("apps", "statefulsets", "statefulset", "StatefulSet")
    .short(&["sts"])
    .in_all()
    .with_subresources(&[SCALE, STATUS])
    .with_rules(Rules::WITH_GENERATION);
