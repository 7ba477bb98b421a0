//! What is refused of a Job.
use super::defaults::CONTROLLER_UID;
use super::policies;
use crate::resources::validation::{self, domain_prefixed_path, not_negative};
use crate::status::{Cause, cause};
use orlop_api::names::is_dns_label;
use serde_json::Value;

const POLICIES: &[&str] = &["OnFailure", "Never"];
const MODES: [&str; 2] = ["NonIndexed", "Indexed"];
const REPLACEMENTS: [&str; 2] = ["Failed", "TerminatingOrFailed"];
/// Pods that a Job with indexes may have at once, and indexes of it that may fail.
const INDEXES_AT_ONCE_MAX: i64 = 100_000;
/// Above so many completions a Job whose indexes fail each for itself is kept to [`OF_MANY_MAX`].
const MANY_COMPLETIONS: i64 = 100_000;
/// Pods that such a Job may have at once, and indexes of it that may fail.
const OF_MANY_MAX: i64 = 10_000;
/// Bytes of spec.managedBy.
const MANAGER_BYTES_MAX: usize = 63;

/// What is wrong with a new Job.
pub fn validate(job: &Value) -> Vec<Cause> {
    let mut causes = validate_selector(job);
    causes.extend(validate_spec(&job["spec"]));
    causes.extend(validate_host_names(job));
    causes
}

/// Which pods are the Job's: those with its uid, unless somebody answers for others (manualSelector).
fn validate_selector(job: &Value) -> Vec<Cause> {
    let (uid, spec) = (&job["metadata"]["uid"], &job["spec"]);
    let selector = &spec["selector"];
    if spec["manualSelector"] == true {
        // Of all kinds this one may select everything.
        return match selector.as_object() {
            Some(parts) if parts.is_empty() => Vec::new(),
            _ => validation::selector(spec, "job"),
        };
    }
    // One that another Job has left in a manifest would make its pods this one's.
    let own = &selector["matchLabels"][CONTROLLER_UID];
    let is_own = selector.is_null() || uid.is_null() || own == uid;
    match is_own {
        true => Vec::new(),
        false => vec![cause::invalid(
            "spec.selector",
            selector,
            "`selector` not auto-generated",
        )],
    }
}

/// A Job's pods are named for it and their indexes to each other: the last index has the longest name.
pub fn validate_host_names(job: &Value) -> Option<Cause> {
    let (name, spec) = (&job["metadata"]["name"], &job["spec"]);
    let last = spec["completions"].as_i64()?.checked_sub(1)?;
    if spec["completionMode"] != "Indexed" || last < 0 {
        return None;
    }
    let host = format!("{}-{last}", name.as_str()?);
    if is_dns_label(&host) {
        return None;
    }
    let hint = format!("will not able to create pod with invalid DNS label: {host}");
    Some(cause::invalid("metadata.name", name, &hint))
}

/// What is wrong with a Job's `spec`, also of one that is yet to be made from a CronJob's template.
pub fn validate_spec(spec: &Value) -> Vec<Cause> {
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
    causes.extend(validate_manager(&spec["managedBy"]));
    causes.extend(validate_modes(spec));
    causes.extend(validate_bounds(spec));
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

/// Who else than our controller brings about what the Job asks for: `domain/path`.
fn validate_manager(manager: &Value) -> Vec<Cause> {
    let Some(name) = manager.as_str() else {
        return Vec::new();
    };
    let field = "spec.managedBy";
    let mut causes = domain_prefixed_path(field, name);
    if name.len() > MANAGER_BYTES_MAX {
        causes.push(cause::too_long(field, MANAGER_BYTES_MAX));
    }
    causes
}

/// How many indexes a Job may have at once, and how many may fail, so that its status can list them.
fn validate_bounds(spec: &Value) -> Vec<Cause> {
    if spec["completionMode"] != "Indexed" {
        return Vec::new();
    }
    let mut causes = Vec::new();
    let mut at_most = |key: &str, most: i64, hint: &str| {
        if spec[key].as_i64().is_some_and(|number| number > most) {
            causes.push(cause::invalid(&format!("spec.{key}"), &spec[key], hint));
        }
    };
    let of_all = format!("must be less than or equal to {INDEXES_AT_ONCE_MAX}");
    let at_once = format!("{of_all} when completion mode is Indexed");
    at_most("parallelism", INDEXES_AT_ONCE_MAX, &at_once);
    let completions = spec["completions"].as_i64();
    if let Some(completions) = completions {
        let hint = "must be less than or equal to completions";
        at_most("maxFailedIndexes", completions, hint);
    }
    at_most("maxFailedIndexes", INDEXES_AT_ONCE_MAX, &of_all);
    if completions.is_some_and(|completions| completions > MANY_COMPLETIONS)
        && !spec["backoffLimitPerIndex"].is_null()
    {
        let hint = format!(
            "must be less than or equal to {OF_MANY_MAX} when completions are above {MANY_COMPLETIONS} and used with \
             backoff limit per index"
        );
        at_most("parallelism", OF_MANY_MAX, &hint);
        at_most("maxFailedIndexes", OF_MANY_MAX, &hint);
        if spec["maxFailedIndexes"].is_null() {
            let hint = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            causes.push(cause::required("spec.maxFailedIndexes", &hint));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fields, job};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_needs_indexes_asks_for_them() {
        assert!(validate(&job(json!({}))).is_empty());
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
            assert_eq!(fields(&validate(&job(spec.clone()))), [want], "{spec}");
        }
    }

    #[test]
    fn who_manages_a_job_is_a_path_in_a_domain() {
        let shown = |name: &str| cause::shown(&validate(&job(json!({"managedBy": name}))));
        let long = format!("example.com/{}", "a".repeat(51));
        let longer = format!("{long}a");
        for name in ["example.com/queue", "a.b/c/d:e%20", long.as_str()] {
            assert!(shown(name).is_empty(), "{name}");
        }
        for (name, why) in [
            ("", "Required value"),
            (
                "queue",
                "Invalid value: \"queue\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
            (
                "example.com/a b",
                "Invalid value: \"a b\": Invalid path (regex used for validation is \
                 '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
            ),
            (longer.as_str(), "Too long: may not be more than 63 bytes"),
        ] {
            assert_eq!(shown(name), [format!("spec.managedBy: {why}")], "{name}");
        }
        assert_eq!(
            fields(&validate(&job(json!({"managedBy": "Example.com/a"})))),
            ["spec.managedBy"]
        );
    }

    #[test]
    fn indexes_are_no_more_than_the_status_can_list() {
        let (all, many) = (
            INDEXES_AT_ONCE_MAX,
            "when completions are above 100000 and used with backoff limit per index",
        );
        for (completions, more, want) in [
            (2, json!({"maxFailedIndexes": 2}), vec![]),
            (
                2,
                json!({"maxFailedIndexes": 3}),
                vec!["spec.maxFailedIndexes: Invalid value: 3: must be less than or equal to completions".to_owned()],
            ),
            (all, json!({}), vec![]),
            (
                all,
                json!({"parallelism": all + 1}),
                vec!["spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is \
                      Indexed".to_owned()],
            ),
            (all + 1, json!({"maxFailedIndexes": 10_000, "parallelism": 10_000}), vec![]),
            (
                all + 1,
                json!({"maxFailedIndexes": 10_001, "parallelism": 10_001}),
                vec![
                    format!("spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 {many}"),
                    format!("spec.maxFailedIndexes: Invalid value: 10001: must be less than or equal to 10000 {many}"),
                ],
            ),
            (
                all + 1,
                json!({}),
                vec!["spec.maxFailedIndexes: Required value: must be specified when completions is above 100000".to_owned()],
            ),
            (
                all + 2,
                json!({"maxFailedIndexes": all + 1}),
                vec![
                    "spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 100000".to_owned(),
                    format!("spec.maxFailedIndexes: Invalid value: 100001: must be less than or equal to 10000 {many}"),
                ],
            ),
        ] {
            let mut spec = json!({"completionMode": "Indexed", "completions": completions, "backoffLimitPerIndex": 1});
            orlop_api::patch::merge(&mut spec, &more);
            assert_eq!(cause::shown(&validate(&job(spec))), want, "{completions} {more}");
        }
        let unbounded = job(json!({"completionMode": "Indexed", "completions": all + 1}));
        assert!(
            validate(&unbounded).is_empty(),
            "its indexes don't fail each for itself"
        );
    }

    #[test]
    fn the_name_of_a_job_with_indexes_leaves_room_for_them() {
        let mut job = job(json!({"completionMode": "Indexed", "completions": 11}));
        let name = "a".repeat(60);
        job["metadata"]["name"] = json!(name);
        assert!(validate(&job).is_empty());
        job["spec"]["completions"] = json!(1001);
        assert_eq!(
            cause::shown(&validate(&job)),
            [format!(
                "metadata.name: Invalid value: {name:?}: will not able to create pod with invalid DNS label: {name}-1000"
            )]
        );
    }

    #[test]
    fn the_pods_of_other_jobs_are_selected_only_by_who_answers_for_it() {
        let own = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}});
        let others = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "other"}});
        let mine = json!({"matchLabels": {"a": "b"}});
        let labels = json!({"template": {"metadata": {"labels": {"a": "b"}}}});
        for (selector, manual, more, want) in [
            (json!(null), false, json!({}), vec![]),
            (own, false, json!({}), vec![]),
            (others, false, json!({}), vec!["spec.selector"]),
            (mine.clone(), false, labels.clone(), vec!["spec.selector"]),
            (mine.clone(), true, labels, vec![]),
            (mine, true, json!({}), vec!["spec.template.metadata.labels"]),
        ] {
            let mut job = job(more);
            job["metadata"]["uid"] = json!("u");
            job["spec"]["selector"] = selector.clone();
            job["spec"]["manualSelector"] = json!(manual);
            assert_eq!(fields(&validate(&job)), want, "{selector} {manual}");
        }
    }
}
