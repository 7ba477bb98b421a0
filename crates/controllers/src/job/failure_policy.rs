//! What a pod's failure means for its Job.

use k8s_openapi::api::batch::v1::{
    PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
};

use crate::cache::{JobPod, JobView, Pod};

/// What to do about a failed pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It counts towards the limits.
    Count,
    /// It is replaced and doesn't count.
    Ignore,
    /// Its index is given up.
    FailIndex,
    /// The Job is given up, and this is why.
    FailJob(String),
}

/// What the first rule that matches says; a failure counts if none does.
pub fn judge(job: &JobView, pod: &Pod) -> Failure {
    let Some(details) = pod.job.as_deref() else {
        return Failure::Count;
    };
    let policy = job.spec.pod_failure_policy.as_ref();
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    for (number, rule) in rules.iter().enumerate() {
        let matched = match (&rule.on_exit_codes, &rule.on_pod_conditions) {
            (Some(codes), _) => exit_code(codes, details).map(|(container, code)| {
                format!(
                    "Container {container} for pod {} failed with exit code {code}",
                    pod.key
                )
            }),
            (None, Some(patterns)) => condition(patterns, details)
                .map(|condition| format!("Pod {} has condition {condition}", pod.key)),
            (None, None) => None,
        };
        let Some(why) = matched else { continue };
        return match rule.action.as_str() {
            "Ignore" => Failure::Ignore,
            "FailIndex" if job.spec.backoff_limit_per_index.is_some() => Failure::FailIndex,
            "FailJob" => Failure::FailJob(format!("{why} matching FailJob rule at index {number}")),
            _ => Failure::Count,
        };
    }
    Failure::Count
}

fn exit_code<'a>(codes: &PodFailurePolicyOnExitCodesRequirement, pod: &'a JobPod) -> Option<(&'a str, i32)> {
    pod.exits
        .iter()
        .filter(|exit| {
            codes
                .container_name
                .as_deref()
                .is_none_or(|name| *name == *exit.container)
        })
        .find(|exit| {
            let listed = codes.values.contains(&exit.code);
            exit.code != 0
                && match codes.operator.as_str() {
                    "In" => listed,
                    "NotIn" => !listed,
                    _ => false,
                }
        })
        .map(|exit| (&*exit.container, exit.code))
}

fn condition<'a>(patterns: &'a [PodFailurePolicyOnPodConditionsPattern], pod: &JobPod) -> Option<&'a str> {
    patterns
        .iter()
        .find(|pattern| {
            let wanted = pattern.status.as_deref().unwrap_or("True");
            pod.conditions
                .iter()
                .any(|(type_, status)| **type_ == *pattern.type_ && **status == *wanted)
        })
        .map(|pattern| pattern.type_.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{failed, job};
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let job = job(json!({"backoffLimitPerIndex": 1, "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [7, 42]}},
            {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}},
        ]}}));
        for (container, code, condition, want) in [
            ("main", 42, Some("DisruptionTarget"), Failure::Ignore),
            (
                "main",
                42,
                None,
                Failure::FailJob(
                    "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 1"
                        .into(),
                ),
            ),
            ("side", 42, None, Failure::FailIndex),
            ("side", 3, None, Failure::Count),
            ("side", 1, None, Failure::Count),
            ("main", 0, None, Failure::Count),
        ] {
            let pod = failed("p", container, code, condition);
            assert_eq!(judge(&job, &pod), want, "{container} {code} {condition:?}");
        }
    }

    #[test]
    fn a_condition_can_end_the_job() {
        let job = job(json!({"podFailurePolicy": {"rules": [
            {"action": "FailJob", "onPodConditions": [{"type": "ConfigIssue", "status": "True"}]}]}}));
        let pod = failed("p", "main", 1, Some("ConfigIssue"));
        let want = "Pod ns/p has condition ConfigIssue matching FailJob rule at index 0";
        assert_eq!(judge(&job, &pod), Failure::FailJob(want.into()));
        assert_eq!(judge(&job, &failed("p", "main", 1, None)), Failure::Count);
    }
}
