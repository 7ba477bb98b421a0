//! Builders for the cases of this folder's tests.

use k8s_openapi::api::batch::v1::JobStatus;
use orlop_client::informer::Projection;
use serde_json::{Value, json};

use crate::cache::{ContainerExit, JobPod, JobView, Pod};
pub use crate::owned::testing::{PodBuilder, ago, names, now, pod};

/// Job `work` as the API server fills it in; `spec` is merged over its spec.
pub fn job(spec: Value) -> JobView {
    let mut job = json!({
        "metadata": {"name": "work", "namespace": "ns", "uid": "j"},
        "spec": {"parallelism": 2, "completions": 3, "backoffLimit": 6, "completionMode": "NonIndexed",
            "podReplacementPolicy": "TerminatingOrFailed",
            "template": {"metadata": {"labels": {"job": "work"}}, "spec": {"containers": [{"name": "main"}]}}},
    });
    orlop_api::patch::merge(&mut job["spec"], &spec);
    JobView::project(serde_json::from_value(job).unwrap())
}

/// The Job with that status.
pub fn with_status(mut job: JobView, status: Value) -> JobView {
    job.status = serde_json::from_value::<JobStatus>(status).unwrap();
    job
}

/// A pod that isn't counted yet.
pub fn tracked(name: &str) -> PodBuilder {
    pod(name).on("n").job(JobPod {
        tracked: true,
        ..JobPod::default()
    })
}

/// The same for an index.
pub fn indexed(name: &str, index: u32) -> PodBuilder {
    pod(name).on("n").job(JobPod {
        tracked: true,
        index: Some(index),
        ..JobPod::default()
    })
}

/// A failed pod of which `container` ended with `code`.
pub fn failed(name: &str, container: &str, code: i32, condition: Option<&str>) -> Pod {
    let details = JobPod {
        tracked: true,
        exits: [ContainerExit {
            container: container.into(),
            code,
            init: false,
        }]
        .into(),
        conditions: condition
            .map(|condition| (condition.into(), "True".into()))
            .into_iter()
            .collect(),
        ..JobPod::default()
    };
    pod(name).on("n").failed().job(details).build()
}
