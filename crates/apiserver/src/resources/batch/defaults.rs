//! What Jobs and CronJobs mean where they don't say it.
use crate::resources::meaning::{fill, items};
use orlop_api::defaults::pod_template;
use serde_json::{Value, json};

/// The label by which a Job's pods are told from all others.
pub const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";

/// Fills in what a CronJob doesn't say.
pub fn cron_job(job: &mut Value) {
    let spec = &mut job["spec"];
    fill(spec, "concurrencyPolicy", || json!("Allow"));
    fill(spec, "suspend", || json!(false));
    fill(spec, "successfulJobsHistoryLimit", || json!(3));
    fill(spec, "failedJobsHistoryLimit", || json!(1));
    let job = &mut spec["jobTemplate"]["spec"];
    failure_policy(job);
    pod_template(&mut job["template"]);
}

/// A rule on a condition is about pods of which it is true, if it doesn't say otherwise.
fn failure_policy(job: &mut Value) {
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

/// Fills in what a Job doesn't say.
pub fn job(job: &mut Value) {
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
    failure_policy(spec);
    pod_template(&mut spec["template"]);
    own_pods(job);
}

/// Whether a selector says nothing, be it that it is not there.
fn is_blank(selector: &Value) -> bool {
    let says_nothing = |part: &Value| match part {
        Value::Array(terms) => terms.is_empty(),
        Value::Object(labels) => labels.is_empty(),
        _ => true,
    };
    selector
        .as_object()
        .is_none_or(|parts| parts.values().all(says_nothing))
}

/// Once a job has its identity, its pods are told from all others by it.
fn own_pods(job: &mut Value) {
    let text = |key: &str| job["metadata"][key].as_str().unwrap_or_default().to_owned();
    let (uid, name) = (text("uid"), text("name"));
    let spec = &mut job["spec"];
    if uid.is_empty() || spec["manualSelector"] == true || !is_blank(&spec["selector"]) {
        return;
    }
    spec["selector"] = json!({"matchLabels": {CONTROLLER_UID: uid}});
    for (key, value) in [
        (CONTROLLER_UID, &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        spec["template"]["metadata"]["labels"][key] = json!(value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_job_whose_selector_says_nothing_selects_its_own_pods() {
        let own = json!({"matchLabels": {CONTROLLER_UID: "u"}});
        let mine = json!({"matchLabels": {"a": "b"}});
        for (selector, manual, want) in [
            (json!(null), false, &own),
            (json!({}), false, &own),
            (json!({"matchLabels": {}, "matchExpressions": []}), false, &own),
            (json!({"matchLabels": null}), false, &own),
            (json!({}), true, &json!({})),
            (mine.clone(), false, &mine),
        ] {
            let mut given = json!({"metadata": {"name": "j", "uid": "u"},
                "spec": {"selector": selector, "manualSelector": manual, "template": {"spec": {}}}});
            job(&mut given);
            assert_eq!(given["spec"]["selector"], *want, "{selector} {manual}");
            let label = &given["spec"]["template"]["metadata"]["labels"][CONTROLLER_UID];
            assert_eq!(*label == "u", *want == own, "{selector} {manual}");
        }
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
        let job = testing::job(json!({"podFailurePolicy": {"rules": rules}}));
        assert_eq!(statuses(&job["spec"]), ["True", "True", "False"]);
        let mut cron = json!({"spec": {"jobTemplate": {"spec": {"podFailurePolicy": {"rules": rules}}}}});
        cron_job(&mut cron);
        assert_eq!(
            statuses(&cron["spec"]["jobTemplate"]["spec"]),
            ["True", "True", "False"]
        );
    }
}
