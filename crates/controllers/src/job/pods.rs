//! What a Job's pods look like.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};
use orlop_api::names::GENERATE_NAME_BASE_BYTES_MAX;

use super::manage::Create;
use crate::cache::{COMPLETION_INDEX, INDEX_FAILURES, INDEX_IGNORED_FAILURES, JOB_TRACKING, JobView};
use crate::owned::from_template;

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// The pod to create.
pub fn pod(job: &JobView, create: Create) -> core::Pod {
    let owner = job.owner_reference();
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = from_template(&job.spec.template, &owner, namespace);
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == JOB_TRACKING) {
        finalizers.push(JOB_TRACKING.to_owned());
    }
    let Some(index) = create.index else { return pod };
    let number = index.to_string();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(COMPLETION_INDEX.to_owned(), number.clone());
    if job.spec.backoff_limit_per_index.is_some() {
        annotations.insert(INDEX_FAILURES.to_owned(), create.failures.to_string());
        if create.ignored > 0 {
            annotations.insert(INDEX_IGNORED_FAILURES.to_owned(), create.ignored.to_string());
        }
    }
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(COMPLETION_INDEX.to_owned(), number.clone());
    let suffix = format!("-{number}-");
    let room = GENERATE_NAME_BASE_BYTES_MAX.saturating_sub(suffix.len());
    let name: String = owner.name.chars().take(room).collect();
    pod.metadata.generate_name = Some(format!("{name}{suffix}"));
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(format!("{}-{number}", owner.name));
        let containers = spec.containers.iter_mut();
        for container in containers.chain(spec.init_containers.iter_mut().flatten()) {
            tell_index(container.env.get_or_insert_default());
        }
    }
    pod
}

/// Tells a container which index it works on, unless it says so itself.
fn tell_index(variables: &mut Vec<EnvVar>) {
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    variables.push(EnvVar {
        name: INDEX_VARIABLE.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: format!("metadata.labels['{COMPLETION_INDEX}']"),
            }),
            ..EnvVarSource::default()
        }),
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::job;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_kept_until_it_is_counted() {
        let pod = pod(&job(json!({})), Create::default());
        assert_eq!(pod.metadata.finalizers.unwrap(), [JOB_TRACKING]);
        assert_eq!(pod.metadata.generate_name.unwrap(), "work-");
        assert_eq!(pod.metadata.owner_references.unwrap()[0].kind, "Job");
    }

    #[test]
    fn a_pod_with_an_index_knows_it() {
        let create = Create {
            index: Some(4),
            failures: 1,
            ignored: 0,
        };
        let job = job(json!({"completionMode": "Indexed", "backoffLimitPerIndex": 2}));
        let pod = serde_json::to_value(pod(&job, create)).unwrap();
        assert_eq!(pod["metadata"]["generateName"], "work-4-");
        assert_eq!(
            pod["metadata"]["annotations"],
            json!({COMPLETION_INDEX: "4", INDEX_FAILURES: "1"})
        );
        assert_eq!(
            pod["metadata"]["labels"],
            json!({"job": "work", COMPLETION_INDEX: "4"})
        );
        assert_eq!(pod["spec"]["hostname"], "work-4");
        assert_eq!(
            pod["spec"]["containers"][0]["env"],
            json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef":
                {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}])
        );
    }
}
