//! What of a Job may change once it is there.
use super::jobs;
use crate::resources::meaning::items;
use crate::status::{Cause, cause};
use orlop_api::conditions;
use serde_json::Value;

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
pub fn validate(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = jobs::validate_spec(&new["spec"]);
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
    if new["spec"]["completions"] != old["spec"]["completions"] {
        causes.extend(jobs::validate_host_names(new));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fields, job};
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_job_with_indexes_changes_how_many_completions_it_wants() {
        let of = |mode: &str, number: i64| {
            job(json!({"completionMode": mode, "completions": number, "parallelism": number}))
        };
        assert!(validate(&of("Indexed", 3), &of("Indexed", 2)).is_empty());
        let causes = validate(&of("NonIndexed", 3), &of("NonIndexed", 2));
        assert_eq!(fields(&causes), ["spec.completions"]);
        let managed = job(json!({"managedBy": "example.com/others"}));
        assert_eq!(fields(&validate(&managed, &job(json!({})))), ["spec.managedBy"]);
    }

    #[test]
    fn a_job_that_grows_has_names_for_all_its_pods() {
        let of = |number: i64| {
            let mut job =
                job(json!({"completionMode": "Indexed", "completions": number, "parallelism": number}));
            job["metadata"]["name"] = json!("a".repeat(61));
            job
        };
        assert!(validate(&of(10), &of(9)).is_empty());
        assert_eq!(fields(&validate(&of(11), &of(10))), ["metadata.name"]);
        assert!(validate(&of(11), &of(11)).is_empty(), "it is stored");
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
            let causes = validate(&with(template, status.clone(), suspend), &old);
            assert_eq!(causes.is_empty(), may, "{status} {suspend}");
        }
    }
}
